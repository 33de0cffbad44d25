package core

import (
	"context"
	"testing"
	"testing/synctest"

	v1 "fairway/broker/api/fairwayv1"
)

func TestTaskFromRequestToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		a := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 3})
		ids := f.accept()
		if len(ids) != 3 {
			t.Fatalf("%d tasks: %v", len(ids), f.events)
		}
		w.check()
		for _, id := range ids {
			if got := f.state(id); got != v1.TaskState_TASK_STATE_RUNNING {
				t.Errorf("task %v is %v", id, got)
			}
			a.finish(id, v1.TaskState_TASK_STATE_FINISHED, 0, "")
			if got := f.state(id); got != v1.TaskState_TASK_STATE_FINISHED {
				t.Errorf("task %v is %v", id, got)
			}
		}
		w.check()
		f.unregister(v1.JobPhase_JOB_PHASE_SUCCEEDED, "")
		j, err := w.broker.GetJob(context.Background(), user("ann"), f.job)
		if err != nil || j.Phase != v1.JobPhase_JOB_PHASE_SUCCEEDED {
			t.Fatalf("%v %v", j, err)
		}
		w.halt()
	})
}

func coordinator(cpu, mem int64) *v1.TaskSpec {
	return &v1.TaskSpec{Resources: shape(cpu, mem), Command: &v1.Command{Argv: []string{"{fairway}", "coordinator"}}}
}

func TestJobWithCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		a := w.agent("h1", "/r1", 4000, 4096)
		j, err := w.broker.SubmitJob(context.Background(), user("ann"), &v1.SubmitJobRequest{Name: "j", Kind: "mapreduce", Coordinator: coordinator(100, 256)})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var spec *v1.TaskSpec
		for _, c := range a.commands {
			if c.GetLaunch() != nil {
				spec = c.GetLaunch()
			}
		}
		if spec == nil {
			t.Fatal("no coordinator was launched")
		}
		token := string(spec.Command.Files[0].Content)
		caller, ok := w.broker.VerifyJobToken(token)
		if !ok || caller.JobID != j.Id || spec.Command.User != "ann" || spec.Command.Env["FAIRWAY_JOB_ATTEMPT"] != "1" {
			t.Fatalf("%v %v %v", ok, caller, spec)
		}
		f := w.framework(caller, &v1.RegisterFramework{JobId: j.Id, Attempt: 1, Name: "j"})
		if f.job != j.Id {
			t.Fatalf("%v", f.events)
		}
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 512), Total: 2})
		ids := f.accept()
		if len(ids) != 2 {
			t.Fatalf("%v", f.events)
		}
		w.check()
		f.unregister(v1.JobPhase_JOB_PHASE_SUCCEEDED, "")
		a.finish(spec.Task, v1.TaskState_TASK_STATE_FINISHED, 0, "")
		if j, err = w.broker.GetJob(context.Background(), user("ann"), j.Id); err != nil || j.Phase != v1.JobPhase_JOB_PHASE_SUCCEEDED {
			t.Fatalf("%v %v", j, err)
		}
		if len(a.tasks) != 0 || len(a.ended) != 1 {
			t.Fatalf("the agent holds %v, jobs ended: %v", a.tasks, a.ended)
		}
		w.check()
		w.restart()
		w.halt()
	})
}
