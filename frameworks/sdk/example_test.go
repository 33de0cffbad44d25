package sdk_test

import (
	"context"
	"fmt"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/sdk"
	"fairway/frameworks/sdk/sdktest"
)

// hello is a framework that runs one task three times.
type hello struct {
	sdk.Base
	left int // not yet finished
}

func (h *hello) Registered(d *sdk.Driver, r *v1.FrameworkRegistered) {
	d.Request(&v1.RequestGroup{Id: 1, Total: uint32(h.left), Shape: &v1.Resources{CpuMilli: 100, MemoryBytes: 16 << 20}})
}

func (h *hello) Offers(d *sdk.Driver, offers []*v1.Offer) {
	for _, o := range offers {
		d.Accept(o.Id, 0, &v1.TaskSpec{Name: "hello", Resources: o.Resources, Command: &v1.Command{Argv: []string{"echo", "hello"}}})
	}
}

func (h *hello) Status(d *sdk.Driver, s *v1.TaskStatus) {
	if s.State != v1.TaskState_TASK_STATE_FINISHED {
		return
	}
	fmt.Println("a task has finished")
	if h.left--; h.left == 0 {
		d.Unregister(&v1.Unregister{Phase: v1.JobPhase_JOB_PHASE_SUCCEEDED})
	}
}

func Example() {
	// A real framework dials with sdk.Opener(client, api.Caller{}).
	broker := sdktest.New(func(context.Context, sdktest.Agent, *v1.TaskSpec) sdktest.Exit { return sdktest.Exit{} },
		sdktest.Agent{ID: "agent-1", Host: "host1", CPUMilli: 1000, Memory: 1 << 30})
	defer broker.Close()
	driver := sdk.New(sdk.Config{Dial: broker.Dial, Scheduler: &hello{left: 3}, Register: &v1.RegisterFramework{Name: "hello"}})
	fmt.Println("ended:", driver.Run(context.Background()))
	// Output:
	// a task has finished
	// a task has finished
	// a task has finished
	// ended: <nil>
}
