package main

import (
	"context"
	"os"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/sdk"
)

// ganging is a framework that asks for some tasks of a core each that begin together, and runs none.
type ganging struct {
	sdk.Base
	tasks uint32
	job   chan string
}

func (g *ganging) Registered(d *sdk.Driver, r *v1.FrameworkRegistered) {
	d.Request(&v1.RequestGroup{Id: 1, Total: g.tasks, Minimum: g.tasks, Shape: &v1.Resources{CpuMilli: 1000, MemoryBytes: 64 << 20}})
	select {
	case g.job <- r.JobId:
	default: // it had lost its session
	}
}

// submitGang FILE N registers a framework that asks for a gang of N tasks, until it is killed or the script ends. The id of its job
// is in the file then.
func submitGang(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	c, err := client.Dial(client.Options{Address: ts.Getenv("FAIRWAY_BROKER")})
	ts.Check(err)
	g := &ganging{tasks: uint32(n), job: make(chan string, 1)}
	d := sdk.New(sdk.Config{Dial: sdk.Opener(c, api.Caller{}), Scheduler: g, Register: &v1.RegisterFramework{Name: args[0]}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		<-ended
		c.Close()
	})
	select {
	case job := <-g.job:
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(job), 0o600))
	case err := <-ended:
		ended <- err
		ts.Fatalf("gang: %v", err)
	case <-time.After(30 * time.Second):
		ts.Fatalf("gang: not registered")
	}
}
