package nodemanager

import (
	"testing"

	hadoop "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

func (r *rig) resize(n int64, vcores, memory int64, revision uint64) {
	r.say(&v1.AgentCommand{Command: &v1.AgentCommand_Resize{Resize: &v1.TaskResized{
		Task: &v1.TaskID{Framework: "f-7", Sequence: uint64(n)}, Resources: &v1.Resources{CpuMilli: vcores * 1000, MemoryBytes: memory << 20}, Revision: revision,
	}}})
}

// A master that comes with a container's new token is answered once the container has what the token says.
func TestUpdateContainer(t *testing.T) {
	r := newRig(t, nil)
	r.launch(2, "nobody", nil)
	c := r.client(r.nm())
	q := r.permit(2, nil)
	q.ContainerLaunchContext = said("sleep 1000")
	var begun wire.StartContainersResponseProto
	if err := c.Call(t.Context(), "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{q}}, &begun); err != nil || len(begun.SucceededRequests) != 1 {
		t.Fatalf("%v %v", &begun, err)
	}
	r.running(2)
	update := func(n int64, version int32, memory int64) *wire.ContainerUpdateResponseProto {
		t.Helper()
		x := r.permit(n, func(k *token.Container) { k.Version, k.MemoryMB, k.VCores = version, memory, 2 })
		var a wire.ContainerUpdateResponseProto
		if err := c.Call(t.Context(), "updateContainer", &wire.ContainerUpdateRequestProto{UpdateContainerToken: []*hadoop.TokenProto{x.ContainerToken}}, &a); err != nil {
			t.Fatal(err)
		}
		return &a
	}
	has := func(what string, memory int64, vcores int32) {
		t.Helper()
		var a wire.GetContainerStatusesResponseProto
		if err := c.Call(t.Context(), "getContainerStatuses", &wire.GetContainerStatusesRequestProto{ContainerId: []*wire.ContainerIdProto{cid(2).Proto()}}, &a); err != nil || len(a.Status) != 1 {
			t.Fatalf("%s: %v %v", what, &a, err)
		}
		if k := a.Status[0].GetCapability(); k.GetMemory() != memory || k.GetVirtualCores() != vcores {
			t.Errorf("%s: %v", what, k)
		}
		r.manager.mu.Lock()
		defer r.manager.mu.Unlock()
		if k := r.manager.containers[cid(2)]; k.limit != memory<<20 {
			t.Errorf("%s: watched for %d bytes", what, k.limit)
		}
	}
	has("at its start", 256, 1)
	done := make(chan *wire.ContainerUpdateResponseProto)
	go func() { done <- update(2, 1, 512) }() // it may come before the broker's word
	r.resize(2, 2, 512, 1)
	if a := <-done; len(a.SucceededRequests) != 1 || len(a.FailedRequests) != 0 {
		t.Fatalf("%v", a)
	}
	has("more", 512, 2)
	if a := update(2, 0, 256); len(a.FailedRequests) != 1 {
		t.Errorf("with an older token: %v", a)
	}
	if a := update(3, 1, 512); len(a.FailedRequests) != 1 {
		t.Errorf("one that is not there: %v", a)
	}
	has("after the refusals", 512, 2)

	// An agent that comes after this one, and a master that asks it, with the same token.
	r.end()
	r.start(nil)
	c = r.client(r.nm())
	r.takenUp(2)
	has("after a restart", 512, 2)
	if a := update(2, 1, 512); len(a.SucceededRequests) != 1 {
		t.Errorf("after a restart: %v", a)
	}
	r.resize(2, 1, 128, 2)
	var a wire.IncreaseContainersResourceResponseProto
	x := r.permit(2, func(k *token.Container) { k.Version, k.MemoryMB = 2, 128 })
	if err := c.Call(t.Context(), "increaseContainersResource", &wire.IncreaseContainersResourceRequestProto{IncreaseContainers: []*hadoop.TokenProto{x.ContainerToken}}, &a); err != nil || len(a.SucceededRequests) != 1 {
		t.Errorf("less, by the older call: %v %v", &a, err)
	}
	has("less", 128, 1)
}

// After less memory the rule ends what no longer fits.
func TestResizedBelowItsUse(t *testing.T) {
	r := newRig(t, nil)
	lc := said("x=$(head -c 60000000 /dev/zero | tr '\\0' x); sleep 1000")
	r.launch(1, "nobody", lc)
	r.running(1)
	r.resize(1, 1, 16, 1)
	if _, o := r.outcome(1); o.ExitStatus != statusMemory {
		t.Errorf("outcome %v", o)
	}
}
