package resourcemanager

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core"
)

// A master hears that a node is being decommissioned, and that it is not any more; its containers go on.
func TestDrainedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		am := r.master(r.submit(nil))
		am.register()
		r.drain("h1", time.Hour)
		b := am.allocate(&wire.AllocateRequestProto{})
		if len(b.UpdatedNodes) != 1 || b.UpdatedNodes[0].GetNodeState() != wire.NodeStateProto_NS_DECOMMISSIONING ||
			b.UpdatedNodes[0].GetDecommissioningTimeout() != 3600 || b.UpdatedNodes[0].GetNodeUpdateType() != wire.NodeUpdateTypeProto_NODE_DECOMMISSIONING {
			t.Fatalf("%v", b)
		}
		if b = am.allocate(&wire.AllocateRequestProto{}); len(b.UpdatedNodes) != 0 {
			t.Errorf("told twice: %v", b)
		}
		if x := r.m.ClusterMetrics(); x.Decommissioning != 1 || x.Active != 0 || x.Nodes != 1 {
			t.Errorf("%+v", x)
		}
		r.undrain("h1")
		if b = am.allocate(&wire.AllocateRequestProto{}); len(b.UpdatedNodes) != 1 || b.UpdatedNodes[0].GetNodeState() != wire.NodeStateProto_NS_RUNNING {
			t.Errorf("%v", b)
		}
		// The master ends; then nothing holds the node.
		r.drain("h1", 0)
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(am.container).finish(am.container, 0, "")
		r.sleep(10 * time.Second)
		if x := r.m.ClusterMetrics(); x.Decommissioned != 1 || x.Decommissioning != 0 || x.TotalMB != 0 {
			t.Errorf("%+v", x)
		}
	})
}

// drain has an operator drain a host, and waits until a snapshot knows it.
func (r *rig) drain(host string, timeout time.Duration) {
	r.t.Helper()
	if _, err := r.broker.DrainAgent(context.Background(), operator, &v1.DrainAgentRequest{Agent: host, TimeoutNanos: int64(timeout)}); err != nil {
		r.t.Fatal(err)
	}
	r.sleep(2 * time.Second)
}

func (r *rig) undrain(host string) {
	r.t.Helper()
	if _, err := r.broker.UndrainAgent(context.Background(), operator, &v1.UndrainAgentRequest{Agent: host}); err != nil {
		r.t.Fatal(err)
	}
	r.sleep(2 * time.Second)
}

// nodesIn are the hosts of `yarn node -list -states`.
func (r *rig) nodesIn(states ...wire.NodeStateProto) (hosts []string) {
	r.t.Helper()
	x, err := r.m.getClusterNodes(context.Background(), as("ann"), &wire.GetClusterNodesRequestProto{NodeStates: states})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, n := range x.(*wire.GetClusterNodesResponseProto).NodeReports {
		hosts = append(hosts, n.NodeId.GetHost())
	}
	return hosts
}

// told are the states of nodes that a master hears of, and how its containers ended, over a few calls.
func (x *fakeMaster) told() (nodes []wire.NodeStateProto, ended []*wire.ContainerStatusProto) {
	x.r.t.Helper()
	for range 3 {
		a := x.allocate(&wire.AllocateRequestProto{})
		for _, n := range a.UpdatedNodes {
			nodes = append(nodes, n.GetNodeState())
		}
		ended = append(ended, a.CompletedContainerStatuses...)
	}
	return nodes, ended
}

const (
	running         = wire.NodeStateProto_NS_RUNNING
	decommissioning = wire.NodeStateProto_NS_DECOMMISSIONING
	decommissioned  = wire.NodeStateProto_NS_DECOMMISSIONED
)

// What runs on a node that is decommissioned goes on, nothing comes to it, and each change is told once to those who have or had
// containers there. Who comes later finds it in the list.
func TestDrainedNodeGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 4, 8192) // the masters
		i := r.submit(nil)
		h2 := r.agent("h2", "/r1", 8, 32768)
		am := r.master(i)
		am.register()
		name := am.get(1, asking(want(20, "*", 1, 16384)))[0]
		r.drain("h2", 2*time.Minute)
		if got, _ := am.told(); !slices.Equal(got, []wire.NodeStateProto{decommissioning}) {
			t.Fatalf("told %v", got)
		}
		if got := r.nodesIn(decommissioning); !slices.Equal(got, []string{"h2"}) {
			t.Errorf("decommissioning: %v", got)
		}
		if got := r.nodesIn(running); !slices.Equal(got, []string{"h1"}) {
			t.Errorf("running: %v", got)
		}
		later := r.run("default")
		if got, _ := later.told(); len(got) != 0 {
			t.Errorf("one that has nothing there was told %v", got)
		}
		if a := am.allocate(asking(want(20, "*", 1, 16384))); len(a.AllocatedContainers) != 0 {
			t.Fatalf("%v", a)
		}
		r.sleep(30 * time.Second)
		if a := am.allocate(&wire.AllocateRequestProto{}); len(a.AllocatedContainers) != 0 {
			t.Fatalf("%v", a)
		}
		// Its output may still be wanted, until the time is over.
		h2.finish(name, 0, "")
		r.sleep(10 * time.Second)
		if got, ended := am.told(); len(got) != 0 || len(ended) != 1 || ended[0].GetExitStatus() != 0 {
			t.Errorf("told %v, ended %v", got, ended)
		}
		r.sleep(2 * time.Minute)
		if got, _ := am.told(); !slices.Equal(got, []wire.NodeStateProto{decommissioned}) {
			t.Errorf("told %v", got)
		}
		if got := r.nodesIn(decommissioned); !slices.Equal(got, []string{"h2"}) {
			t.Errorf("decommissioned: %v", got)
		}
		r.undrain("h2")
		a := am.allocate(&wire.AllocateRequestProto{})
		if len(a.UpdatedNodes) != 1 || a.UpdatedNodes[0].GetNodeState() != running || len(a.AllocatedContainers) != 1 {
			t.Errorf("put back: %v", a)
		}
	})
}

// A master that registers after its node began to drain hears of it too.
func TestDrainedBeforeItRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		am := r.master(r.submit(nil))
		r.drain("h1", 0)
		am.register()
		b := am.allocate(&wire.AllocateRequestProto{})
		if len(b.UpdatedNodes) != 1 || b.UpdatedNodes[0].GetNodeState() != decommissioning || b.UpdatedNodes[0].DecommissioningTimeout != nil {
			t.Errorf("%v", b)
		}
	})
}

// At the deadline containers end as preempted ones, which counts against nobody: a master with one attempt gets another.
func TestDrainDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		h1 := r.agent("h1", "/r1", 2, 4096)
		i := r.submit(func(x *wire.ApplicationSubmissionContextProto) { x.MaxAppAttempts = proto.Int32(1) })
		r.agent("h2", "/r1", 8, 16384)
		am := r.master(i)
		am.register()
		name := am.get(1, asking(want(20, "*", 1, 8192)))[0]
		r.drain("h2", time.Minute)
		r.sleep(50 * time.Second)
		if got, ended := am.told(); !slices.Equal(got, []wire.NodeStateProto{decommissioning}) || len(ended) != 0 {
			t.Fatalf("too early: told %v, ended %v", got, ended)
		}
		r.sleep(15 * time.Second)
		got, ended := am.told()
		if len(ended) != 1 || ended[0].GetExitStatus() != exitPreempted || !strings.HasPrefix(ended[0].GetDiagnostics(), saidPreempted) {
			t.Fatalf("%s: %v", name, ended)
		}
		if !slices.Equal(got, []wire.NodeStateProto{decommissioned}) {
			t.Errorf("told %v", got)
		}
		r.undrain("h2")
		r.drain("h1", time.Minute)
		r.sleep(65 * time.Second)
		if next := r.master(i); next.container == am.container || r.where(next.container) == h1 {
			t.Errorf("%s on %s", next.container, r.where(next.container).info.Host)
		}
	})
}

// A host that is drained and switched off is decommissioned, not lost; one that is cut off before it was drained is lost.
func TestDrainedNodeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, o *Options) { c.AgentTimeout, o.AgentTimeout = 15*time.Second, 15*time.Second })
		r.agent("h1", "/r1", 4, 8192)
		am := r.master(r.submit(nil))
		am.register()
		h2 := r.agent("h2", "/r1", 8, 32768)
		h3 := r.agent("h3", "/r1", 8, 65536)
		if name := am.get(1, asking(want(20, "*", 1, 49152)))[0]; r.where(name) != h3 {
			t.Fatal("it does not run on h3")
		}
		r.drain("h2", 0)
		r.drain("h3", 0)
		if x := r.m.ClusterMetrics(); x.Decommissioned != 1 || x.Decommissioning != 1 || x.Active != 1 || x.Nodes != 3 {
			t.Errorf("%+v", x)
		}
		am.told()
		h2.disconnect()
		h3.disconnect()
		r.sleep(40 * time.Second)
		if got, _ := am.told(); len(got) != 0 {
			t.Errorf("cut off: told %v", got)
		}
		if x := r.m.ClusterMetrics(); x.Decommissioned != 1 || x.Decommissioning != 1 || x.Active != 1 || x.Lost != 0 {
			t.Errorf("cut off: %+v", x)
		}
		r.sleep(time.Minute)
		if got, ended := am.told(); !slices.Equal(got, []wire.NodeStateProto{wire.NodeStateProto_NS_LOST}) || len(ended) != 1 || ended[0].GetExitStatus() != exitAborted {
			t.Errorf("after the expiry: told %v, ended %v", got, ended)
		}
		if x := r.m.ClusterMetrics(); x.Decommissioned != 1 || x.Decommissioning != 0 || x.Active != 1 || x.Lost != 1 {
			t.Errorf("after the expiry: %+v", x)
		}
	})
}

// rmadmin -refreshNodes has no list to read again: what would decommission by one says what does so instead.
func TestRefreshNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		refresh := r.m.adminProtocol().Methods["refreshNodes"]
		for _, c := range []struct {
			name string
			q    *wire.RefreshNodesRequestProto
			ok   bool
		}{
			{"by default", &wire.RefreshNodesRequestProto{}, true},
			{"normal", &wire.RefreshNodesRequestProto{DecommissionType: wire.DecommissionTypeProto_NORMAL.Enum()}, true},
			{"graceful", &wire.RefreshNodesRequestProto{DecommissionType: wire.DecommissionTypeProto_GRACEFUL.Enum()}, false},
			{"with a timeout", &wire.RefreshNodesRequestProto{DecommissionType: wire.DecommissionTypeProto_GRACEFUL.Enum(), DecommissionTimeout: proto.Int32(60)}, false},
			{"forceful", &wire.RefreshNodesRequestProto{DecommissionType: wire.DecommissionTypeProto_FORCEFUL.Enum()}, false},
		} {
			b, err := proto.Marshal(c.q)
			if err != nil {
				t.Fatal(err)
			}
			_, err = refresh(context.Background(), as("admin"), b)
			if c.ok != (err == nil) || !c.ok && (class(err) != hadooprpc.YarnException || !strings.Contains(err.Error(), "fairway drain AGENT")) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if x := r.m.ClusterMetrics(); x.Active != 1 {
			t.Errorf("%+v", x)
		}
	})
}
