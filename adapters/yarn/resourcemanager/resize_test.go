package resourcemanager

import (
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core"
)

const (
	increase = wire.ContainerUpdateTypeProto_INCREASE_RESOURCE
	decrease = wire.ContainerUpdateTypeProto_DECREASE_RESOURCE
)

func updating(c *wire.ContainerIdProto, kind wire.ContainerUpdateTypeProto, version int32, memory int64, vcores int32) *wire.AllocateRequestProto {
	return &wire.AllocateRequestProto{UpdateRequests: []*wire.UpdateContainerRequestProto{{
		ContainerVersion: proto.Int32(version), ContainerId: c, UpdateType: kind.Enum(), Capability: token.Resource(memory, vcores),
	}}}
}

// update makes an update and returns what the master hears of it, in this call or the next.
func (x *fakeMaster) update(q *wire.AllocateRequestProto) (*wire.UpdatedContainerProto, *wire.UpdateContainerErrorProto) {
	x.r.t.Helper()
	for range 2 {
		a := x.allocate(q)
		if len(a.UpdatedContainers)+len(a.UpdateErrors) > 1 {
			x.r.t.Fatalf("told more than once: %v", a)
		}
		if len(a.UpdatedContainers) == 1 {
			return a.UpdatedContainers[0], nil
		}
		if len(a.UpdateErrors) == 1 {
			return nil, a.UpdateErrors[0]
		}
		q = &wire.AllocateRequestProto{}
	}
	return nil, nil
}

// grown is a master with one running container of 1 GiB and a core, and the application's resources as the manager counts.
func grown(t *testing.T, r *rig) (*fakeMaster, *wire.ContainerProto, func() (int64, int32)) {
	t.Helper()
	i := r.submit(nil)
	r.sleep(1)
	am := r.master(i)
	am.register()
	a := am.allocate(asking(want(20, "*", 1, 1024)))
	for range 3 {
		if len(a.AllocatedContainers) > 0 {
			break
		}
		a = am.allocate(&wire.AllocateRequestProto{})
	}
	if len(a.AllocatedContainers) != 1 {
		t.Fatalf("%v", a)
	}
	return am, a.AllocatedContainers[0], func() (int64, int32) {
		u := r.report(i).GetAppResource_Usage().GetUsedResources()
		return u.GetMemory(), u.GetVirtualCores()
	}
}

func (r *rig) has(name string, memory int64, vcores int64, revision uint64) {
	r.t.Helper()
	x := r.where(name).task(name)
	if s := x.spec; s.Resources.MemoryBytes != memory*mib || s.Resources.CpuMilli != vcores*1000 || s.Revision != revision {
		r.t.Errorf("%s has %v at revision %d on its agent, want %d MiB, %d vcores, %d", name, s.Resources, s.Revision, memory, vcores, revision)
	}
}

func TestContainerUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 8192)
		am, c, used := grown(t, r)
		name := containerName(c)
		if c.GetVersion() != 0 {
			t.Errorf("version %d", c.GetVersion())
		}
		u, e := am.update(updating(c.Id, increase, 0, 2048, 3))
		if e != nil || u.GetUpdateType() != increase || u.GetContainer().GetVersion() != 1 || u.Container.Resource.GetMemory() != 2048 || u.Container.Resource.GetVirtualCores() != 3 {
			t.Fatalf("%v %v", u, e)
		}
		x, err := token.ParseContainer(u.Container.ContainerToken.GetIdentifier())
		if err != nil || x.Version != 1 || x.MemoryMB != 2048 || x.VCores != 3 || x.ID.String() != name {
			t.Errorf("token %+v %v", x, err)
		}
		r.has(name, 2048, 3, 1)
		if m, v := used(); m != 1536+2048 && m != 2048+2048 || v != 4 {
			t.Errorf("the application holds %d MiB and %d vcores", m, v)
		}
		if a := am.allocate(&wire.AllocateRequestProto{}); len(a.UpdatedContainers)+len(a.UpdateErrors) != 0 {
			t.Errorf("told again: %v", a)
		}
		master, _ := id.ParseContainer(am.container)
		foreign := id.NewContainer(id.AttemptID{Application: id.ApplicationID{Timestamp: 5, Number: 1}, Number: 1}, 0, 2)
		for what, y := range map[string]struct {
			q    *wire.AllocateRequestProto
			want string
		}{
			"an older version":         {updating(c.Id, increase, 0, 4096, 3), saidWrongVersion},
			"a version to come":        {updating(c.Id, increase, 2, 4096, 3), saidWrongVersion},
			"another's container":      {updating(foreign.Proto(), increase, 1, 4096, 3), saidInvalidContainer},
			"its own":                  {updating(master.Proto(), increase, 0, 4096, 3), saidInvalidContainer},
			"no container":             {updating(&wire.ContainerIdProto{}, increase, 0, 4096, 3), saidInvalidContainer},
			"more than any node has":   {updating(c.Id, increase, 1, 65536, 3), saidOutsideRange},
			"an increase that is less": {updating(c.Id, increase, 1, 1024, 3), saidOutsideRange},
			"a decrease that is more":  {updating(c.Id, decrease, 1, 1024, 4), saidOutsideRange},
			"negative":                 {updating(c.Id, decrease, 1, -1, 1), saidOutsideRange},
			"another execution type":   {updating(c.Id, wire.ContainerUpdateTypeProto_DEMOTE_EXECUTION_TYPE, 1, 1024, 1), "execution type"},
			"more than is free":        {updating(c.Id, increase, 1, 8192, 3), "host h1 has"},
		} {
			u, e := am.update(y.q)
			if u != nil || !strings.Contains(e.GetReason(), y.want) || !proto.Equal(e.GetUpdateRequest().GetContainerId(), y.q.UpdateRequests[0].ContainerId) {
				t.Errorf("%s: %v %v, want %s", what, u, e, y.want)
			}
			if y.want == saidWrongVersion && e.GetCurrentContainerVersion() != 1 {
				t.Errorf("%s: the present version is said to be %d", what, e.GetCurrentContainerVersion())
			}
		}
		r.has(name, 2048, 3, 1)
		// Two in one call: the second is outstanding until the broker has answered the first.
		q := updating(c.Id, decrease, 1, 1024, 1)
		q.UpdateRequests = append(q.UpdateRequests, updating(c.Id, decrease, 1, 1024, 2).UpdateRequests...)
		a := am.allocate(q)
		if len(a.UpdateErrors) != 1 || a.UpdateErrors[0].GetReason() != saidOutstanding {
			t.Errorf("two in one call: %v", a)
		}
		if a = am.allocate(&wire.AllocateRequestProto{}); len(a.UpdatedContainers) != 1 || a.UpdatedContainers[0].Container.GetVersion() != 2 || a.UpdatedContainers[0].GetUpdateType() != decrease {
			t.Errorf("less: %v", a)
		}
		r.has(name, 1024, 1, 2)
		// What was given back can be had by others: the agent has 8 cores, the master one.
		if a = am.allocate(asking(want(20, "*", 6, 1024))); len(a.AllocatedContainers) < 3 {
			t.Errorf("%d more containers", len(a.AllocatedContainers))
		}
	})
}

func TestUpdateUnderALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, _ *Options) {
			c.Roles = []core.Role{{Path: "default", Limit: &v1.Resources{MemoryBytes: 5120 * mib}}}
		})
		r.agent("h1", "/r1", 16, 32768)
		am, c, _ := grown(t, r)
		if u, e := am.update(updating(c.Id, increase, 0, 4096, 1)); u != nil || !strings.Contains(e.GetReason(), "limit of memory") {
			t.Errorf("%v %v", u, e)
		}
		if u, e := am.update(updating(c.Id, increase, 0, 3072, 1)); u == nil {
			t.Errorf("%v", e)
		}
	})
}

// Versions and resources survive the broker; an update that was under way when it fell is as if it had not been asked for,
// or done.
func TestUpdatesSurviveTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 8192)
		am, c, used := grown(t, r)
		name := containerName(c)
		if u, e := am.update(updating(c.Id, increase, 0, 2048, 2)); u == nil {
			t.Fatal(e)
		}
		held, cores := used()
		r.journal.hold()
		if a := am.allocate(updating(c.Id, increase, 1, 3072, 2)); len(a.UpdatedContainers)+len(a.UpdateErrors) != 0 {
			t.Errorf("told before it is durable: %v", a)
		}
		r.has(name, 2048, 2, 1)
		r.journal.drop()
		r.restart()
		r.sleep(2e9)
		am.register()
		r.has(name, 2048, 2, 1)
		if m, v := used(); m != held || v != cores {
			t.Errorf("after the restart it holds %d MiB, %d vcores; before %d, %d", m, v, held, cores)
		}
		if u, e := am.update(updating(c.Id, increase, 0, 3072, 2)); u != nil || e.GetReason() != saidWrongVersion || e.GetCurrentContainerVersion() != 1 {
			t.Errorf("an older version: %v %v", u, e)
		}
		u, e := am.update(updating(c.Id, increase, 1, 3072, 2))
		if u.GetContainer().GetVersion() != 2 {
			t.Fatalf("%v %v", u, e)
		}
		r.has(name, 3072, 2, 2)
	})
}

// A session that breaks while an update is under way: it is asked for again, and done once.
func TestUpdateOverABrokenSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 8192)
		am, c, _ := grown(t, r)
		name := containerName(c)
		i, _ := id.ParseContainer(name)
		app := r.m.find(i.Application())
		for version := range int32(2) {
			r.journal.hold()
			if a := am.allocate(updating(c.Id, increase, version, int64(2048+1024*version), 1)); len(a.UpdatedContainers)+len(a.UpdateErrors) != 0 {
				t.Errorf("told before it is durable: %v", a)
			}
			app.mu.Lock()
			_ = app.session.Close()
			app.mu.Unlock()
			r.sleep(1e9)
			r.journal.release()
			r.sleep(1e9)
			a := am.allocate(&wire.AllocateRequestProto{})
			if len(a.UpdatedContainers) != 1 || a.UpdatedContainers[0].Container.GetVersion() != version+1 || len(a.UpdateErrors) != 0 {
				t.Fatalf("%v", a)
			}
			r.has(name, int64(2048+1024*version), 1, uint64(version+1))
		}
	})
}

// A container that ends while its update is under way is told as ended only.
func TestUpdateOfOneThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		h := r.agent("h1", "/r1", 8, 8192)
		am, c, _ := grown(t, r)
		r.journal.hold()
		am.allocate(updating(c.Id, increase, 0, 2048, 1))
		h.finish(containerName(c), 0, "")
		r.journal.release()
		r.sleep(1e9)
		a := am.allocate(&wire.AllocateRequestProto{})
		if len(a.CompletedContainerStatuses) != 1 || len(a.UpdatedContainers)+len(a.UpdateErrors) != 0 {
			t.Errorf("%v", a)
		}
	})
}
