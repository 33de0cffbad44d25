package umbilical

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
	pb "fairway/frameworks/mapreduce/umbilical/umbilicalv1"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

// script is a coordinator that answers as a test says.
type script struct {
	server *Server
	mu     sync.Mutex
	heard  []string
	answer func(s *script, seq uint64, m *pb.TaskMessage)
}

func (s *script) Message(seq uint64, m *pb.TaskMessage) {
	s.mu.Lock()
	s.heard = append(s.heard, strings.TrimPrefix(fmt.Sprintf("%T", m.Message), "*umbilicalv1.TaskMessage_"))
	s.mu.Unlock()
	if s.answer != nil {
		s.answer(s, seq, m)
	}
}

func (s *script) kinds() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, k := range s.heard {
		if k != "Report" {
			out = append(out, k)
		}
	}
	return strings.Join(out, " ")
}

// setUp starts a coordinator's end, and the environment of one task.
func setUp(t *testing.T, answer func(s *script, seq uint64, m *pb.TaskMessage)) (*script, map[string]string) {
	t.Helper()
	s := &script{answer: answer}
	s.server = NewServer(s, nil)
	s.server.SetSecret([]byte("secret"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, map[string]string{"FAIRWAY_TASK_ID": "f/1", "FAIRWAY_TASK": "1", "FAIRWAY_SANDBOX": dir, "FAIRWAY_JOB_DIR": dir,
		"FAIRWAY_SECRET_FILE": file, AddressEnv: l.Addr().String()}
}

func run(t *testing.T, env map[string]string, reg *mapreduce.Registry) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	mux := storage.NewMux(map[string]storage.Opener{"file": local.Opener()}, "")
	defer mux.Close()
	return RunTask(ctx, TaskConfig{Mux: mux, Registry: reg, Getenv: func(k string) string { return env[k] }, Shared: true})
}

func send(s *script, seq uint64, m *pb.CoordinatorMessage) { s.server.Send(seq, m) }

func assignment(job spec.Job, n int64) *pb.CoordinatorMessage {
	j, _ := json.Marshal(job)
	split, _ := json.Marshal(spec.Split{Length: n})
	return &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Assignment{Assignment: &pb.Assignment{Job: j, JobId: "job-1", Kind: spec.Map, Split: split, Maps: 1}}}
}

var finished = &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Finished{Finished: &pb.Finished{}}}

func registry(f func(*mapreduce.Context) error) *mapreduce.Registry {
	r := mapreduce.NewRegistry()
	r.Mapper("test", mapreduce.Map(func(c *mapreduce.Context, _, _ []byte, _ mapreduce.Emitter) error { return f(c) }))
	return r
}

var noOutput = spec.Job{InputFormat: "none", OutputFormat: "none", Mapper: spec.Stage{Function: "test"}}

func TestAttempt(t *testing.T) {
	s, env := setUp(t, func(s *script, seq uint64, m *pb.TaskMessage) {
		switch {
		case m.GetHello() != nil:
			send(s, seq, assignment(noOutput, 3))
		case m.GetCommitAsk() != nil:
			send(s, seq, &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Commit{Commit: &pb.CommitAnswer{Granted: true}}})
		case m.GetDone() != nil:
			for _, c := range m.GetDone().Report.Counters {
				if c.Name == "mine" && c.Value == 3 {
					send(s, seq, finished)
				}
			}
		}
	})
	reg := registry(func(c *mapreduce.Context) error { c.Counter("test", "mine").Add(1); return nil })
	if err := run(t, env, reg); err != nil {
		t.Fatal(err)
	}
	if k := s.kinds(); k != "Hello Done" && k != "Hello CommitAsk Done" {
		t.Errorf("heard %s", k)
	}
}

func TestFailureIsTold(t *testing.T) {
	var told *pb.Failed
	_, env := setUp(t, func(s *script, seq uint64, m *pb.TaskMessage) {
		switch {
		case m.GetHello() != nil:
			send(s, seq, assignment(noOutput, 1))
		case m.GetFailed() != nil:
			told = m.GetFailed()
			send(s, seq, finished)
		}
	})
	err := run(t, env, registry(func(*mapreduce.Context) error { return errors.New("bad luck") }))
	if err == nil || told == nil || !strings.Contains(told.Message, "bad luck") || told.Killed || told.Fatal {
		t.Errorf("err = %v, told %v", err, told)
	}
}

func TestStopEndsTheWork(t *testing.T) {
	var told *pb.Failed
	working := make(chan struct{})
	s, env := setUp(t, func(s *script, seq uint64, m *pb.TaskMessage) {
		switch {
		case m.GetHello() != nil:
			send(s, seq, assignment(noOutput, 1))
		case m.GetFailed() != nil:
			told = m.GetFailed()
			send(s, seq, finished)
		}
	})
	go func() {
		<-working
		send(s, 1, &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Stop{Stop: &pb.Stop{Reason: "for a test"}}})
	}()
	err := run(t, env, registry(func(c *mapreduce.Context) error {
		close(working)
		<-c.Done()
		return c.Err()
	}))
	if !errors.Is(err, errStopped) || told == nil || !told.Killed {
		t.Errorf("err = %v, told %v", err, told)
	}
}

// TestCallsAgain breaks the stream in the middle of the work: the attempt says hello again, and that it goes on.
func TestCallsAgain(t *testing.T) {
	hellos, again := 0, make(chan struct{})
	s, env := setUp(t, nil)
	proxy := newProxy(t, env[AddressEnv])
	env[AddressEnv] = proxy.l.Addr().String()
	s.answer = func(s *script, seq uint64, m *pb.TaskMessage) {
		switch {
		case m.GetHello() != nil:
			if hellos++; hellos == 1 {
				send(s, seq, assignment(noOutput, 1))
				return
			}
			if !m.GetHello().Resumed {
				t.Error("a second attempt began")
			}
			close(again)
		case m.GetCommitAsk() != nil:
			send(s, seq, &pb.CoordinatorMessage{Message: &pb.CoordinatorMessage_Commit{Commit: &pb.CommitAnswer{Granted: true}}})
		case m.GetDone() != nil:
			send(s, seq, finished)
		}
	}
	err := run(t, env, registry(func(c *mapreduce.Context) error {
		proxy.cut()
		select {
		case <-again:
			return nil
		case <-c.Done():
			return c.Err()
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
}

// proxy forwards to an address until it is told to cut what goes through it.
type proxy struct {
	l  net.Listener
	mu sync.Mutex
	c  []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			p.mu.Lock()
			p.c = append(p.c, a, b)
			p.mu.Unlock()
			pipe := func(x, y net.Conn) {
				buf := make([]byte, 4096)
				for {
					n, err := x.Read(buf)
					if n > 0 {
						y.Write(buf[:n])
					}
					if err != nil {
						y.Close()
						return
					}
				}
			}
			go pipe(a, b)
			go pipe(b, a)
		}
	}()
	return p
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.c {
		c.Close()
	}
	p.c = nil
}

func TestStrangersAreRefused(t *testing.T) {
	s, env := setUp(t, nil)
	conn, err := grpc.NewClient("passthrough:///"+env[AddressEnv], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := func(framework string, seq uint64) *pb.TaskMessage {
		return &pb.TaskMessage{Message: &pb.TaskMessage_Hello{Hello: &pb.Hello{Framework: framework, Sequence: seq}}}
	}
	for name, tc := range map[string]struct {
		secret, task string
		say          *pb.TaskMessage
		want         codes.Code
	}{
		"wrong secret":     {"guess", "f/1", hello("f", 1), codes.Unauthenticated},
		"no secret":        {"", "f/1", hello("f", 1), codes.Unauthenticated},
		"another's hello":  {"secret", "f/1", hello("f", 2), codes.InvalidArgument},
		"no hello":         {"secret", "f/1", &pb.TaskMessage{Message: &pb.TaskMessage_CommitAsk{CommitAsk: &pb.CommitAsk{}}}, codes.InvalidArgument},
		"no task id":       {"secret", "f", hello("f", 1), codes.InvalidArgument},
		"an empty message": {"secret", "f/1", &pb.TaskMessage{}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			stream, err := pb.NewUmbilicalServiceClient(conn).Attempt(withCredentials(ctx, []byte(tc.secret), tc.task))
			if err != nil {
				t.Fatal(err)
			}
			stream.Send(tc.say)
			if _, err := stream.Recv(); status.Code(err) != tc.want {
				t.Errorf("err = %v, want %v", err, tc.want)
			}
		})
	}
	if k := s.kinds(); k != "" {
		t.Errorf("the coordinator heard %s", k)
	}
}

// Garbage is cut off, and attempts are served as before.
func TestGarbageOnThePort(t *testing.T) {
	s, env := setUp(t, nil)
	for _, junk := range []string{"\x00\x01\xff", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("A", 1<<20), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1<<16)} {
		c, err := net.Dial("tcp", env[AddressEnv])
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write([]byte(junk))
		c.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, c); os.IsTimeout(err) {
			t.Errorf("%.20q was not cut off", junk)
		}
		c.Close()
	}
	if k := s.kinds(); k != "" {
		t.Errorf("the coordinator heard %s", k)
	}
}

func TestMissingEnvironment(t *testing.T) {
	_, env := setUp(t, nil)
	delete(env, "FAIRWAY_TASK_ID")
	if err := run(t, env, nil); err == nil || !strings.Contains(err.Error(), "FAIRWAY_TASK_ID") {
		t.Errorf("err = %v", err)
	}
}

func FuzzTaskMessage(f *testing.F) {
	for _, m := range []*pb.TaskMessage{
		{Message: &pb.TaskMessage_Hello{Hello: &pb.Hello{Framework: "f", Sequence: 1}}},
		{Message: &pb.TaskMessage_Report{Report: &pb.Report{Fraction: 2, Status: "a\nb", Counters: []*pb.Count{{Group: "g", Name: "n", Value: 1}}}}},
		{Message: &pb.TaskMessage_MapDone{MapDone: &pb.MapDone{File: "../x", Partitions: []*pb.Range{{Offset: -1}}}}},
		{Message: &pb.TaskMessage_MapDone{MapDone: &pb.MapDone{File: "map-0.out", Partitions: []*pb.Range{{Offset: 1, Length: 2, Records: 3}, nil}}}},
		{Message: &pb.TaskMessage_FetchFailure{FetchFailure: &pb.FetchFailure{Message: "\xff"}}},
		{Message: &pb.TaskMessage_Failed{Failed: &pb.Failed{Message: strings.Repeat("x", 100_000)}}},
		{Message: &pb.TaskMessage_Done{}},
	} {
		b, _ := proto.Marshal(m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(pb.TaskMessage)
		if proto.Unmarshal(b, m) != nil || clean(m) != nil {
			return
		}
		for _, r := range []*pb.Report{m.GetReport(), m.GetDone().GetReport(), m.GetFailed().GetReport(), m.GetMapDone().GetReport()} {
			if r != nil && (!(r.Fraction >= 0 && r.Fraction <= 1) || len(r.Counters) > maxCounters || strings.Contains(r.Status, "\n")) {
				t.Errorf("report %v", r)
			}
		}
		if d := m.GetMapDone(); d != nil && (strings.Contains(d.File, "/") || d.File == ".." || d.File == "") {
			t.Errorf("file %q", d.File)
		}
		if len(m.GetFailed().GetMessage()) > maxText {
			t.Error("long message")
		}
	})
}

func FuzzTaskID(f *testing.F) {
	for _, s := range []string{"framework-1/2", "/1", "a/b/3", "a/-1", "a/18446744073709551616", "a/+1", "a/01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		framework, sequence, err := parseTask(s)
		if err != nil {
			return
		}
		if again, n, err := parseTask(fmt.Sprintf("%s/%d", framework, sequence)); framework == "" || again != framework || n != sequence || err != nil {
			t.Errorf("%q is %q, %d; again %q, %d, %v", s, framework, sequence, again, n, err)
		}
	})
}
