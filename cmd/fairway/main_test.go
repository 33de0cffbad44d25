package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/rogpeppe/go-internal/testscript"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/integration/ports"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fairway": main, "fakespark": fakeSpark})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"waitbroker": waitBroker, "interrupt": interrupt, "metrics": metrics,
			"awaitrunning": awaitRunning, "withid": withID, "noprofiles": noProfiles, "garbage": garbage,
			"submityarn": submitYARN, "submitgang": submitGang,
			"awaitlog": awaitLog, "awaitexplain": awaitExplain, "exits": exits, "awaitfile": awaitFile},
		Condition: func(c string) (bool, error) {
			if c == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", c)
		},
		Setup: func(e *testscript.Env) error {
			// Short, for a Unix socket's path has a bound.
			dir, err := os.MkdirTemp("", "fw")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil { // other accounts pass through it
				return err
			}
			e.Setenv("SOCKDIR", dir)
			e.Setenv("FAIRWAY_BROKER_SOCKET", dir+"/b.sock")
			e.Setenv("FAIRWAY_BROKER", "unix://"+dir+"/b.sock")
			return freePorts(e, filepath.Join(e.WorkDir, "fairway.yaml"))
		},
	})
}

// waitBroker waits until the script's broker answers and has an agent.
func waitBroker(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		c, err := client.Dial(client.Options{Address: ts.Getenv("FAIRWAY_BROKER"), Timeout: time.Second})
		ts.Check(err)
		r, err := c.ListAgents(context.Background(), api.Caller{}, &v1.ListAgentsRequest{})
		c.Close()
		if err == nil && (len(r.Agents) > 0 || len(args) > 0) { // "waitbroker none": an agent is not needed yet
			return
		}
		<-time.After(20 * time.Millisecond) // another process: it cannot push to us before its door is open
	}
	ts.Fatalf("no broker answers")
}

// interrupt sends what Ctrl-C sends to a background command.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	list := ts.BackgroundCmds()
	if args[0] == "agent" { // started last; the broker goes after it
		list = list[len(list)-1:]
	}
	for _, c := range list {
		ts.Check(c.Process.Signal(os.Interrupt))
	}
}

// awaitRunning waits until a map of the named job runs.
func awaitRunning(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Dial(client.Options{Address: ts.Getenv("FAIRWAY_BROKER")})
	ts.Check(err)
	defer c.Close()
	enough := errors.New("enough")
	if err := c.WatchJobs(ctx, api.Caller{}, true, func(j *v1.Job) error {
		if j.Name == args[0] && j.TasksRunning >= 2 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		ts.Fatalf("job %s: %v", args[0], err)
	}
}

// withID runs a command with the job id that a file holds as its last argument.
func withID(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(args[1], append(args[2:], strings.TrimSpace(ts.ReadFile(args[0])))...)
	if (err != nil) != neg {
		ts.Fatalf("%v: %v", args[1:], err)
	}
}

// freePorts puts five free ports into PORT1 to PORT5 and into the script's configuration, if it has one.
func freePorts(e *testscript.Env, file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	out := strings.ReplaceAll(string(text), "WORK", e.WorkDir)
	free, err := ports.Free(5)
	if err != nil {
		return err
	}
	for i, p := range free {
		name, port := fmt.Sprintf("PORT%d", i+1), strconv.Itoa(p)
		e.Setenv(name, port)
		out = strings.ReplaceAll(out, name, port)
	}
	return os.WriteFile(file, []byte(out), 0o600)
}

// metrics reads an admin address: health, readiness, and metrics that keep Prometheus's naming rules and have all the
// given prefixes.
func metrics(ts *testscript.TestScript, neg bool, args []string) {
	get := func(path string) string {
		r, err := http.Get("http://" + args[0] + path)
		ts.Check(err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		ts.Check(err)
		if r.StatusCode != http.StatusOK {
			ts.Fatalf("%s: %s %s", path, r.Status, b)
		}
		return string(b)
	}
	get("/healthz")
	get("/readyz")
	get("/debug/pprof/cmdline")
	text := get("/metrics")
	for _, prefix := range args[1:] {
		if !strings.Contains(text, "\n"+prefix) {
			ts.Fatalf("no metric begins with %s", prefix)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	ts.Check(err)
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "fairway_") {
			ts.Fatalf("%s: %s", p.Metric, p.Text)
		}
	}
}

// noProfiles ADDRESS...: neither those addresses nor the agents' data servers show what only the admin address may.
func noProfiles(ts *testscript.TestScript, neg bool, args []string) {
	c, err := client.Dial(client.Options{Address: ts.Getenv("FAIRWAY_BROKER")})
	ts.Check(err)
	defer c.Close()
	r, err := c.ListAgents(context.Background(), api.Caller{}, &v1.ListAgentsRequest{})
	ts.Check(err)
	for _, a := range r.Agents {
		args = append(args, a.Info.DataAddress)
	}
	h := &http.Client{Timeout: 10 * time.Second}
	for _, address := range args {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap", "/metrics"} {
			r, err := h.Get("http://" + address + path)
			if err != nil {
				continue // it does not speak HTTP/1
			}
			r.Body.Close()
			if r.StatusCode < 400 {
				ts.Fatalf("%s serves %s: %s", address, path, r.Status)
			}
		}
	}
}

// garbage ADDRESS...: what no protocol knows is cut off by each of those ports.
func garbage(ts *testscript.TestScript, neg bool, args []string) {
	for _, address := range args {
		for _, junk := range []string{"\x00\x01\xff\xfe", "GET / HTTP/9.9\r\n\r\n", "hrpc\x09\x00\xdf" + strings.Repeat("\xff", 4096), strings.Repeat("A", 1<<20) + "\r\n\r\n"} {
			c, err := net.Dial("tcp", address)
			ts.Check(err)
			ts.Check(c.SetDeadline(time.Now().Add(20 * time.Second)))
			_, _ = c.Write([]byte(junk)) // it may be cut off before the last byte
			_ = c.(*net.TCPConn).CloseWrite()
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				ts.Fatalf("%s: garbage %.20q was not cut off", address, junk)
			}
			c.Close()
		}
	}
}

// awaitLog asks for a job's logs until they hold a text: a program's first line comes after it is said to run.
func awaitLog(ts *testscript.TestScript, neg bool, args []string) { awaitText(ts, "logs", args) }

// awaitExplain asks why a job waits until the answer holds a text: its coordinator must have begun.
func awaitExplain(ts *testscript.TestScript, neg bool, args []string) { awaitText(ts, "explain", args) }

func awaitText(ts *testscript.TestScript, command string, args []string) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		withID(ts, false, []string{args[0], "fairway", command})
		if strings.Contains(ts.ReadFile("stdout"), args[1]) {
			return
		}
	}
	ts.Fatalf("%s does not say %q", command, args[1])
}

// awaitFile waits until another program has written a file.
func awaitFile(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if text, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && len(text) > 0 {
			return
		}
	}
	ts.Fatalf("nobody writes %s", args[0])
}

// exits CODE COMMAND... runs a command that must end with an exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = e.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
