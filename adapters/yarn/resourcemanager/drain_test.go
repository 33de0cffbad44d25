package resourcemanager

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// A master hears that a node is being decommissioned, and that it is not any more; its containers go on.
func TestDrainedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		am := r.master(r.submit(nil))
		am.register()
		ctx := context.Background()
		drain := func(timeout time.Duration) {
			if _, err := r.broker.DrainAgent(ctx, operator, &v1.DrainAgentRequest{Agent: "h1", TimeoutNanos: int64(timeout)}); err != nil {
				t.Fatal(err)
			}
			r.sleep(2 * time.Second)
		}
		drain(time.Hour)
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
		if _, err := r.broker.UndrainAgent(ctx, operator, &v1.UndrainAgentRequest{Agent: "h1"}); err != nil {
			t.Fatal(err)
		}
		r.sleep(2 * time.Second)
		if b = am.allocate(&wire.AllocateRequestProto{}); len(b.UpdatedNodes) != 1 || b.UpdatedNodes[0].GetNodeState() != wire.NodeStateProto_NS_RUNNING {
			t.Errorf("%v", b)
		}
		// The master ends; then nothing holds the node.
		drain(0)
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(am.container).finish(am.container, 0, "")
		r.sleep(10 * time.Second)
		if x := r.m.ClusterMetrics(); x.Decommissioned != 1 || x.Decommissioning != 0 || x.TotalMB != 0 {
			t.Errorf("%+v", x)
		}
	})
}
