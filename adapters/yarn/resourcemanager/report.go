package resourcemanager

import (
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
)

// Reports as messages. Java's getters give null for what is not set, and clients fall over it: all is set.

// report is the application as clients see it, or as those see it who may not.
func (a *application) report(who string, sees bool) *wire.ApplicationReportProto {
	x := a.describe()
	if !sees {
		x = x.Hidden()
	}
	r := &wire.ApplicationReportProto{
		ApplicationId: x.ID.Proto(), User: proto.String(x.User), Queue: proto.String(x.Queue), Name: proto.String(x.Name), Host: proto.String(x.Host), RpcPort: proto.Int32(x.RPCPort),
		YarnApplicationState: x.State.Enum(), TrackingUrl: proto.String(x.TrackingURL), OriginalTrackingUrl: proto.String(x.OriginalURL),
		Diagnostics: proto.String(x.Diagnostics), StartTime: proto.Int64(millis(x.Submitted)), SubmitTime: proto.Int64(millis(x.Submitted)),
		LaunchTime: proto.Int64(millis(x.Launched)), FinishTime: proto.Int64(millis(x.Finished)), FinalApplicationStatus: x.FinalStatus.Enum(),
		CurrentApplicationAttemptId: attemptProto(x), Progress: proto.Float32(x.Progress), ApplicationType: proto.String(x.Type), ApplicationTags: x.Tags,
		UnmanagedApplication: proto.Bool(x.Unmanaged), Priority: &wire.PriorityProto{Priority: proto.Int32(x.Priority)},
		AppNodeLabelExpression: proto.String(expressionText(x.Label)), AmNodeLabelExpression: proto.String(expressionText(x.MasterLabel)),
		AppTimeouts: []*wire.AppTimeoutsMapProto{timeout(x, time.Now())},
	}
	usage := &wire.ApplicationResourceUsageReportProto{
		NumUsedContainers: proto.Int32(int32(x.Containers)), NumReservedContainers: proto.Int32(0), UsedResources: token.Resource(x.Memory, int32(x.VCores)),
		ReservedResources: token.Resource(0, 0), NeededResources: token.Resource(x.Memory, int32(x.VCores)), MemorySeconds: proto.Int64(x.MemorySecs),
		VcoreSeconds: proto.Int64(x.VCoreSecs), QueueUsagePercentage: proto.Float32(x.QueueShare), ClusterUsagePercentage: proto.Float32(x.ClusterShare),
		PreemptedMemorySeconds: proto.Int64(x.Preempted.MemorySecs), PreemptedVcoreSeconds: proto.Int64(x.Preempted.VCoreSecs),
	}
	if sees {
		usage.ApplicationResourceUsageMap = usageMap(x.MemorySecs, x.VCoreSecs)
		usage.ApplicationPreemptedResourceUsageMap = usageMap(x.Preempted.MemorySecs, x.Preempted.VCoreSecs)
	}
	if !x.Live {
		// YARN's own report of an application without an attempt that lives.
		usage.NumUsedContainers, usage.NumReservedContainers = proto.Int32(-1), proto.Int32(-1)
		none := token.Resource(-1, -1)
		usage.UsedResources, usage.ReservedResources, usage.NeededResources = none, none, none
	}
	r.AppResource_Usage = usage
	if x.LogStatus != 0 { // else the client prints N/A
		r.LogAggregationStatus = x.LogStatus.Enum()
	}
	if a.isUnmanaged && who == a.user { // he sees it
		a.mu.Lock()
		if t := a.current(); t != nil && t.state == wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_LAUNCHED && a.keys.AMRM != nil {
			r.AmRmToken = a.masterToken(t).Proto()
		}
		a.mu.Unlock()
	}
	return r
}

func usageMap(memory, vcores int64) []*wire.StringLongMapProto {
	return []*wire.StringLongMapProto{{Key: proto.String(memoryName), Value: proto.Int64(memory)}, {Key: proto.String(vcoresName), Value: proto.Int64(vcores)}}
}

// attemptProto is the current attempt, number -1 if there is none.
func attemptProto(x Application) *wire.ApplicationAttemptIdProto {
	if x.Attempt.IsZero() {
		return &wire.ApplicationAttemptIdProto{ApplicationId: x.ID.Proto(), AttemptId: proto.Int32(-1)}
	}
	return x.Attempt.Proto()
}

const expiryFormat = "2006-01-02T15:04:05.000-0700"

func timeout(x Application, now time.Time) *wire.AppTimeoutsMapProto {
	t := &wire.ApplicationTimeoutProto{
		ApplicationTimeoutType: wire.ApplicationTimeoutTypeProto_APP_TIMEOUT_LIFETIME.Enum(), ExpireTime: proto.String("UNLIMITED"), RemainingTime: proto.Int64(-1),
	}
	if !x.Expires.IsZero() {
		t.ExpireTime = proto.String(x.Expires.UTC().Format(expiryFormat))
		t.RemainingTime = proto.Int64(int64(max(x.Expires.Sub(now), 0) / time.Second))
		if x.State >= wire.YarnApplicationStateProto_FINISHED {
			t.RemainingTime = proto.Int64(0)
		}
	}
	return &wire.AppTimeoutsMapProto{ApplicationTimeoutType: t.ApplicationTimeoutType, ApplicationTimeout: t}
}

func attemptReport(x Attempt) *wire.ApplicationAttemptReportProto {
	r := &wire.ApplicationAttemptReportProto{
		ApplicationAttemptId: x.ID.Proto(), Host: proto.String(x.Host), RpcPort: proto.Int32(x.RPCPort), TrackingUrl: proto.String(x.TrackingURL),
		OriginalTrackingUrl: proto.String(x.OriginalURL), Diagnostics: proto.String(x.Diagnostics), YarnApplicationAttemptState: x.State.Enum(),
		StartTime: proto.Int64(millis(x.Started)), FinishTime: proto.Int64(millis(x.Finished)),
	}
	if !x.Master.IsZero() {
		r.AmContainerId = x.Master.Proto()
	}
	return r
}

func containerReport(x Container) *wire.ContainerReportProto {
	return &wire.ContainerReportProto{
		ContainerId: x.ID.Proto(), Resource: token.Resource(x.Memory, x.VCores), NodeId: x.Node.Proto(), Priority: &wire.PriorityProto{Priority: proto.Int32(x.Priority)},
		CreationTime: proto.Int64(millis(x.Created)), FinishTime: proto.Int64(millis(x.Finished)), DiagnosticsInfo: proto.String(x.Diagnostics),
		LogUrl: proto.String(x.LogsURL), ContainerExitStatus: proto.Int32(x.ExitStatus), ContainerState: x.State.Enum(),
		NodeHttpAddress: proto.String("http://" + x.NodeHTTP), ExecutionType: wire.ExecutionTypeProto_GUARANTEED.Enum(), ExposedPorts: proto.String("{}"),
	}
}

func nodeReport(n *node) *wire.NodeReportProto {
	utilization := &wire.ResourceUtilizationProto{Pmem: proto.Int32(int32(min(n.UsedMemory, 1<<30))), Vmem: proto.Int32(int32(min(n.UsedMemory, 1<<30))), Cpu: proto.Float32(0)}
	r := &wire.NodeReportProto{
		NodeId: n.ID.Proto(), HttpAddress: proto.String(n.HTTP), RackName: proto.String(n.Rack), Used: token.Resource(n.UsedMemory, int32(n.UsedVCores)),
		Capability: token.Resource(n.Memory, int32(n.VCores)), NumContainers: proto.Int32(int32(n.Containers)), NodeState: n.State.Enum(),
		HealthReport: proto.String(n.Health), LastHealthReportTime: proto.Int64(millis(n.heard())), ContainersUtilization: utilization, NodeUtilization: utilization,
	}
	if n.Label != "" {
		r.NodeLabels = []string{n.Label}
	}
	switch n.State {
	case wire.NodeStateProto_NS_RUNNING:
		r.NodeUpdateType = wire.NodeUpdateTypeProto_NODE_USABLE.Enum()
	case wire.NodeStateProto_NS_DECOMMISSIONING:
		r.NodeUpdateType = wire.NodeUpdateTypeProto_NODE_DECOMMISSIONING.Enum()
		if n.Draining > 0 {
			r.DecommissioningTimeout = proto.Uint32(uint32(n.Draining / time.Second))
		}
	default:
		r.NodeUpdateType = wire.NodeUpdateTypeProto_NODE_UNUSABLE.Enum()
	}
	return r
}

// containerOf is a container that lives, or one of the last that have ended.
func (a *application) containerOf(i id.ContainerID) (Container, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.containers {
		if c.id == i && c.state >= granted {
			return a.describeContainer(c), true
		}
	}
	for _, c := range a.recent {
		if c.id == i {
			return a.describeContainer(c), true
		}
	}
	return Container{}, false
}
