package server

import (
	"context"
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

	"golang.org/x/sync/errgroup"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
)

// echo is a broker that answers what it was asked, and by whom. Methods that are not overridden panic.
type echo struct {
	api.Broker
	mu      sync.Mutex
	callers []api.Caller
}

func (e *echo) saw(c api.Caller) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.callers = append(e.callers, c)
}

func (e *echo) last() api.Caller {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.callers[len(e.callers)-1]
}

func (e *echo) GetCluster(_ context.Context, c api.Caller) (*v1.Cluster, error) {
	e.saw(c)
	return &v1.Cluster{Version: "test"}, nil
}

func (e *echo) GetJob(_ context.Context, _ api.Caller, id string) (*v1.Job, error) {
	for class, err := range map[string]error{"missing": api.ErrNotFound, "denied": api.ErrDenied, "busy": api.ErrUnavailable, "bad": api.ErrInvalid} {
		if id == class {
			return nil, fmt.Errorf("job %s: %w", id, err)
		}
	}
	return &v1.Job{Id: id}, nil
}

func (e *echo) WatchJob(_ context.Context, _ api.Caller, id string, each func(*v1.Job) error) error {
	for i := range 3 {
		if err := each(&v1.Job{Id: id, Attempt: uint32(i)}); err != nil {
			return err
		}
	}
	return nil
}

func (e *echo) OpenFramework(_ context.Context, c api.Caller) (api.FrameworkSession, error) {
	e.saw(c)
	return &echoSession{events: make(chan *v1.FrameworkEvent, 16)}, nil
}

// echoSession answers each Register with the framework's name as its id; its mailbox is full at every other call.
type echoSession struct {
	events chan *v1.FrameworkEvent
	mu     sync.Mutex
	calls  int
	full   bool
	closed bool
}

func (s *echoSession) Send(c *v1.FrameworkCall) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full = !s.full; s.full {
		return api.ErrUnavailable
	}
	s.calls++
	if r := c.GetRegister(); r != nil {
		s.events <- &v1.FrameworkEvent{Event: &v1.FrameworkEvent_Registered{Registered: &v1.FrameworkRegistered{FrameworkId: r.Name}}}
	}
	if c.GetUnregister() != nil && !s.closed {
		s.closed = true
		close(s.events)
	}
	return nil
}
func (s *echoSession) Events() <-chan *v1.FrameworkEvent { return s.events }
func (s *echoSession) Err() error                        { return fmt.Errorf("by the framework: %w", api.ErrSessionEnded) }
func (s *echoSession) Close() error                      { return nil }

func serve(t *testing.T, o Options) (*Server, *echo) {
	t.Helper()
	e := &echo{}
	o.Broker = e
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s, e
}

func dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestUnixCallersAreKnownByTheKernel(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "b.sock")
	_, e := serve(t, Options{Socket: sock})
	c := dial(t, client.Options{Address: "unix://" + sock})
	if _, err := c.GetCluster(t.Context(), api.Caller{User: "mallory", Operator: true}); err != nil {
		t.Fatal(err)
	}
	if got := e.last(); got.UID != os.Geteuid() || !got.Operator || got.User == "mallory" {
		t.Errorf("caller = %+v", got)
	}
}

func TestTCPNeedsTheToken(t *testing.T) {
	token := strings.Repeat("t", 32)
	s, e := serve(t, Options{Listen: "127.0.0.1:0", Token: token, VerifyJob: func(s string) (api.Caller, bool) {
		return api.Caller{User: "ann", JobID: "job-1"}, s == "job:job-1:ok"
	}})
	for _, tc := range []struct {
		token string
		want  error
		user  string
	}{{"", api.ErrDenied, ""}, {"wrong", api.ErrDenied, ""}, {token, nil, ""}, {"job:job-1:ok", nil, "ann"}} {
		c := dial(t, client.Options{Address: s.Address(), Token: tc.token})
		_, err := c.GetCluster(t.Context(), api.Caller{})
		if !errors.Is(err, tc.want) {
			t.Errorf("token %q: %v, want %v", tc.token, err, tc.want)
		}
		if err == nil && e.last().User != tc.user {
			t.Errorf("token %q: caller %+v", tc.token, e.last())
		}
	}
}

func TestErrorsKeepTheirClass(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "b.sock")
	serve(t, Options{Socket: sock})
	c := dial(t, client.Options{Address: sock})
	for id, want := range map[string]error{"missing": api.ErrNotFound, "denied": api.ErrDenied, "busy": api.ErrUnavailable, "bad": api.ErrInvalid} {
		if _, err := c.GetJob(t.Context(), api.Caller{}, id); !errors.Is(err, want) || !strings.Contains(err.Error(), "job "+id) {
			t.Errorf("%s: %v", id, err)
		}
	}
	n := 0
	if err := c.WatchJob(t.Context(), api.Caller{}, "j", func(*v1.Job) error { n++; return nil }); err != nil || n != 3 {
		t.Errorf("watched %d, %v", n, err)
	}
}

func TestFrameworkSession(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "b.sock")
	serve(t, Options{Socket: sock})
	c := dial(t, client.Options{Address: sock})
	s, err := c.OpenFramework(t.Context(), api.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Register{Register: &v1.RegisterFramework{Name: "f"}}}); err != nil {
		t.Fatal(err)
	}
	if e := <-s.Events(); e.GetRegistered().GetFrameworkId() != "f" {
		t.Fatalf("event = %v", e)
	}
	if err := s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Unregister{Unregister: &v1.Unregister{}}}); err != nil {
		t.Fatal(err)
	}
	if _, open := <-s.Events(); open {
		t.Error("the session goes on after the broker ended it")
	}
	if err := s.Err(); !errors.Is(err, api.ErrSessionEnded) {
		t.Errorf("Err = %v", err)
	}
	if err := s.Send(&v1.FrameworkCall{}); err == nil {
		t.Error("an ended session takes calls")
	}
}

func TestCloseSendsWhatWaits(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "b.sock")
	serve(t, Options{Socket: sock})
	c := dial(t, client.Options{Address: sock})
	s, err := c.OpenFramework(t.Context(), api.Caller{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Heartbeat{Heartbeat: &v1.Heartbeat{}}}); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	s.Close()
	if d := time.Since(start); d > time.Second {
		t.Errorf("Close took %v", d)
	}
}

func TestGarbageOnThePorts(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "b.sock")
	s, _ := serve(t, Options{Socket: sock, Listen: "127.0.0.1:0", Token: strings.Repeat("t", 32)})
	var g errgroup.Group
	for _, junk := range []string{"GET / HTTP/1.1\r\n\r\n", "hrpc\x09\x00\x00", strings.Repeat("\x00\xff", 1<<15), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x00"} {
		for network, address := range map[string]string{"tcp": s.Address(), "unix": sock} {
			g.Go(func() error {
				c, err := net.Dial(network, address)
				if err != nil {
					return err
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(3 * handshakeTimeout))
				_, _ = c.Write([]byte(junk))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					return fmt.Errorf("%s: garbage %.20q was not cut off", network, junk)
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	c := dial(t, client.Options{Address: sock})
	if _, err := c.GetCluster(t.Context(), api.Caller{}); err != nil {
		t.Errorf("after garbage: %v", err)
	}
}

func TestRefusedOptions(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "b.sock")
	serve(t, Options{Socket: sock})
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"beyond loopback": {Options{Listen: "0.0.0.0:0", Token: "x"}, "--insecure"},
		"no token":        {Options{Listen: "127.0.0.1:0"}, "token file"},
		"nothing":         {Options{}, "neither"},
		"served already":  {Options{Socket: sock}, "already serves"},
		"not a socket":    {Options{Socket: plain}, "no socket"},
		"long path":       {Options{Socket: "/" + strings.Repeat("x", 120)}, "longer than"},
		"bad TLS":         {Options{Listen: "127.0.0.1:0", Token: "x", CertFile: plain, KeyFile: plain}, "TLS material"},
	} {
		tc.o.Broker = &echo{}
		if _, err := New(tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestTokenFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "sub", "token")
	a, err := LoadToken(p)
	if err != nil || len(a) != 64 {
		t.Fatalf("%q, %v", a, err)
	}
	if b, err := LoadToken(p); err != nil || a != b {
		t.Errorf("read again: %q, %v", b, err)
	}
	if st, _ := os.Stat(p); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if err := os.Chmod(p, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadToken(p); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("open token file: %v", err)
	}
	if err := os.WriteFile(p, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadToken(p); err == nil || !strings.Contains(err.Error(), "5 characters") {
		t.Errorf("short token: %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	c := dial(t, client.Options{Address: "unix://" + filepath.Join(t.TempDir(), "none.sock")})
	_, err := c.GetCluster(t.Context(), api.Caller{})
	if !errors.Is(err, api.ErrUnavailable) || !strings.Contains(err.Error(), "no broker answers at") {
		t.Errorf("%v", err)
	}
	if _, err := client.Dial(client.Options{Address: "nonsense"}); err == nil {
		t.Error("an address without port was accepted")
	}
}
