package core

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/journal"
)

// serveDisk runs a broker on the real journal until the returned function is called.
func serveDisk(t *testing.T, dir string) (*Broker, func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	j, err := journal.Open(ctx, journal.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	select {
	case <-b.Ready():
	case err := <-ended:
		t.Fatalf("the broker ended: %v", err)
	}
	return b, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A job, its coordinator and its tasks on the real journal; after a restart all is as it was.
func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	b, stop := serveDisk(t, dir)
	ctx := context.Background()
	s, err := b.OpenAgent(ctx, operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Register{Register: &v1.RegisterAgent{Info: &v1.AgentInfo{
		Host: "h1", BootId: "b", Total: shape(4000, 4096),
	}}}}); err != nil {
		t.Fatal(err)
	}
	id := (<-s.Commands()).GetRegistered().GetAgentId()
	j, err := b.SubmitJob(ctx, user("ann"), &v1.SubmitJobRequest{Name: "j", RequestId: "r", Coordinator: coordinator(100, 256)})
	if err != nil {
		t.Fatal(err)
	}
	launch := (<-s.Commands()).GetLaunch()
	if launch.GetJobId() != j.Id {
		t.Fatalf("launched %v", launch)
	}
	stop()

	b, stop = serveDisk(t, dir)
	defer stop()
	again, err := b.SubmitJob(ctx, user("ann"), &v1.SubmitJobRequest{Name: "j", RequestId: "r", Coordinator: coordinator(100, 256)})
	if err != nil || again.Id != j.Id || again.Coordinator.GetState() != v1.TaskState_TASK_STATE_STAGING {
		t.Fatalf("after a restart %v, %v", again, err)
	}
	if s, err = b.OpenAgent(ctx, operator); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Register{Register: &v1.RegisterAgent{
		AgentId: id, Info: &v1.AgentInfo{Host: "h1", BootId: "b", Total: shape(4000, 4096)},
		Tasks: []*v1.RunningTask{{Task: launch.Task, State: v1.TaskState_TASK_STATE_RUNNING, Resources: launch.Resources}},
	}}}); err != nil {
		t.Fatal(err)
	}
	if r := (<-s.Commands()).GetRegistered(); r.GetAgentId() != id || len(r.Kill) != 0 || len(r.LiveJobs) != 1 {
		t.Fatalf("the agent was told %v", r)
	}
}
