package resourcemanager

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// What an agent declares under a name of YARN's is asked for by that name, and counted.
func TestGPUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 8192)
		a := &fakeAgent{r: r, byName: map[string]*fakeTask{}, info: &v1.AgentInfo{
			Host: "g1", Rack: "/r1", BootId: "boot", DataAddress: "g1:1", Total: &v1.Resources{CpuMilli: 8000, MemoryBytes: 8192 * mib, Gpus: 2},
			Attributes: map[string]string{addressAttribute: "g1:8041", httpAttribute: "g1:8042"},
		}}
		r.agents = append(r.agents, a)
		a.connect()
		r.sleep(1100 * time.Millisecond) // a snapshot
		i := r.submit(nil)
		am := r.master(i)
		most, err := amountFrom(am.register().MaximumCapability)
		if err != nil || most.count(gpuName) != 2 {
			t.Errorf("the most is %s, %v", most, err)
		}
		row := want(20, "*", 3, 1024)
		row.Capability.ResourceValueMap = append(row.Capability.ResourceValueMap, &wire.ResourceInformationProto{Key: proto.String(gpuName), Value: proto.Int64(1)})
		answer := am.allocate(asking(row))
		if got := hostsOf(answer); !slices.Equal(got, []string{"g1", "g1"}) {
			t.Errorf("three containers with a GPU are on %v", got)
		}
		for _, c := range answer.AllocatedContainers {
			x, err := amountFrom(c.Resource)
			if err != nil || x.count(gpuName) != 1 {
				t.Errorf("a container of %s, %v", x, err)
			}
			if task := r.grants(i)[containerName(c)]; task == nil || task.spec.Resources.GetGpus() != 1 {
				t.Errorf("the task of %s: %v", containerName(c), task)
			}
		}
	})
}
