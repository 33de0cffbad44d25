package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fairway": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"waitbroker": waitBroker, "interrupt": interrupt},
		Setup: func(e *testscript.Env) error {
			// Short, for a Unix socket's path has a bound.
			dir, err := os.MkdirTemp("", "fw")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(dir) })
			e.Setenv("SOCKDIR", dir)
			e.Setenv("FAIRWAY_BROKER_SOCKET", dir+"/b.sock")
			e.Setenv("FAIRWAY_BROKER", "unix://"+dir+"/b.sock")
			return nil
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
		if err == nil && len(r.Agents) > 0 {
			return
		}
		<-time.After(20 * time.Millisecond) // another process: it cannot push to us before its door is open
	}
	ts.Fatalf("no broker answers")
}

// interrupt sends what Ctrl-C sends to a background command.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(os.Interrupt))
	}
}
