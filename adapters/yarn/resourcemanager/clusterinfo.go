package resourcemanager

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
)

// What clients ask about the cluster: all from the last snapshot.

// queues are all roles as queues, parents before children, root first.
func (m *Manager) queues(s *snapshot) []QueueInfo {
	running, waiting, pending := map[string]int{}, map[string]int{}, map[string]int{}
	for _, a := range m.all() {
		a.mu.Lock()
		if !a.closing && a.queue != nil {
			for _, p := range upward(a.queue.role) {
				if a.state == wire.YarnApplicationStateProto_RUNNING {
					running[p]++
				} else {
					waiting[p]++
				}
				if t := a.current(); t != nil {
					pending[p] += int(min(t.asks.outstanding(), maxWanted))
				}
			}
		}
		a.mu.Unlock()
	}
	paths := make([]string, 0, len(s.roles)+1)
	for p := range s.roles {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	root := QueueInfo{
		Name: "root", Path: "root", Stopped: m.isStopped(""), Capacity: 1, Absolute: 1, Maximum: 1, Used: float32(dominant(s.used, s.total)),
		AbsoluteUsed: float32(dominant(s.used, s.total)), Memory: s.used.memory, VCores: int64(s.used.vcores), Running: running[""], Waiting: waiting[""],
		Pending: pending[""], Available: s.free.memory, AvailableCPU: int64(s.free.vcores),
	}
	out := []QueueInfo{root}
	at := map[string]int{"": 0}
	for _, p := range paths {
		r := s.roles[p]
		used := dominant(r.used, s.total)
		x := QueueInfo{
			Name: p[strings.LastIndexByte(p, '/')+1:], Path: queueOf(p).name, Stopped: m.isStopped(p), Absolute: float32(r.absolute), Maximum: float32(r.maximum),
			AbsoluteUsed: float32(used), Memory: r.used.memory, VCores: int64(r.used.vcores), Containers: int(r.role.TasksRunning), Running: running[p],
			Waiting: waiting[p], Pending: pending[p], Available: r.headroom.memory, AvailableCPU: int64(r.headroom.vcores),
		}
		up := parentOf(p)
		above := float64(1)
		if k := s.roles[up]; k != nil {
			above = k.absolute
		}
		if above > 0 {
			x.Capacity = float32(r.absolute / above)
		}
		if r.absolute > 0 {
			x.Used = float32(used / r.absolute)
		}
		at[p] = len(out)
		out = append(out, x)
		if up == "" {
			out[0].Containers += x.Containers
		}
		if i, ok := at[up]; ok {
			out[i].Children = append(out[i].Children, x.Path)
		}
	}
	return out
}

func (m *Manager) metricsOf(s *snapshot) Metrics {
	x := Metrics{
		AvailableMB: s.free.memory, AllocatedMB: s.used.memory, TotalMB: s.total.memory, AvailableVCores: int64(s.free.vcores), AllocatedVCores: int64(s.used.vcores),
		TotalVCores: int64(s.total.vcores), Nodes: s.active + s.leaving + s.left + s.lost, Active: s.active, Lost: s.lost,
		Decommissioning: s.leaving, Decommissioned: s.left,
	}
	for _, n := range s.nodes {
		if n.State != wire.NodeStateProto_NS_LOST {
			x.Containers += int64(n.Containers)
		}
	}
	m.mu.Lock()
	x.Submitted, x.Completed, x.Failed, x.Killed = m.counts.submitted, m.counts.completed, m.counts.failed, m.counts.killed
	m.mu.Unlock()
	for _, a := range m.all() {
		a.mu.Lock()
		if !a.closing {
			switch a.state {
			case wire.YarnApplicationStateProto_RUNNING:
				x.Running++
			case wire.YarnApplicationStateProto_ACCEPTED:
				x.Pending++
			}
			if t := a.current(); t != nil {
				memory, vcores := t.asks.wanted()
				x.PendingMB += memory
				x.PendingVCores += vcores
				x.PendingContainers += t.asks.outstanding()
				if t.masterAsk != 0 {
					x.PendingMB, x.PendingVCores, x.PendingContainers = x.PendingMB+a.shape.memory, x.PendingVCores+int64(a.shape.vcores), x.PendingContainers+1
				}
			}
		}
		a.mu.Unlock()
	}
	return x
}

func (m *Manager) getClusterMetrics(ctx context.Context, c *hadooprpc.Caller, q *wire.GetClusterMetricsRequestProto) (proto.Message, error) {
	s := m.cluster()
	return &wire.GetClusterMetricsResponseProto{ClusterMetrics: &wire.YarnClusterMetricsProto{
		NumNodeManagers: proto.Int32(int32(s.active + s.leaving)), NumActiveNms: proto.Int32(int32(s.active)), NumLostNms: proto.Int32(int32(s.lost)),
		NumDecommissionedNms: proto.Int32(int32(s.left)), NumUnhealthyNms: proto.Int32(0), NumRebootedNms: proto.Int32(0),
		NumDecommissioningNms: proto.Int32(int32(s.leaving)),
		NumShutdownNms:        proto.Int32(0),
	}}, nil
}

func (m *Manager) getClusterNodes(ctx context.Context, c *hadooprpc.Caller, q *wire.GetClusterNodesRequestProto) (proto.Message, error) {
	if len(q.GetNodeStates()) > maxFilters {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "a filter of %d values", len(q.GetNodeStates()))
	}
	r := &wire.GetClusterNodesResponseProto{}
	for _, n := range m.cluster().nodes {
		if len(q.GetNodeStates()) == 0 || slices.Contains(q.GetNodeStates(), n.State) {
			r.NodeReports = append(r.NodeReports, nodeReport(n))
		}
	}
	return r, nil
}

func (m *Manager) getQueueInfo(ctx context.Context, c *hadooprpc.Caller, q *wire.GetQueueInfoRequestProto) (proto.Message, error) {
	s := m.cluster()
	name := cmp.Or(q.GetQueueName(), "root")
	if name != "root" {
		found := s.findQueue(name)
		if found == nil {
			return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Unknown queue: %.255s", name)
		}
		name = found.name
	}
	all := map[string]*QueueInfo{}
	list := m.queues(s)
	for i := range list {
		list[i].unpreempted = m.o.PreemptionGrace <= 0
		all[list[i].Path] = &list[i]
	}
	x := all[name]
	if x == nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Unknown queue: %.255s", name)
	}
	var applications map[string][]*application
	v := m.viewer(shortName(c.User))
	if q.GetIncludeApplications() {
		applications = map[string][]*application{}
		for _, a := range m.all() {
			a.mu.Lock()
			live, in := !a.closing && a.queue != nil, ""
			if live {
				in = a.queue.name
			}
			a.mu.Unlock()
			if live && v.sees(a) {
				applications[in] = append(applications[in], a)
			}
		}
	}
	return &wire.GetQueueInfoResponseProto{QueueInfo: queueProto(all, x, applications, v.name, q.GetIncludeChildQueues(), q.GetRecursive())}, nil
}

func queueProto(all map[string]*QueueInfo, x *QueueInfo, applications map[string][]*application, who string, children, recursive bool) *wire.QueueInfoProto {
	state := wire.QueueStateProto_Q_RUNNING
	if x.Stopped {
		state = wire.QueueStateProto_Q_STOPPED
	}
	r := &wire.QueueInfoProto{
		QueueName: proto.String(x.Name), QueuePath: proto.String(x.Path), Capacity: proto.Float32(x.Capacity), MaximumCapacity: proto.Float32(x.Maximum),
		CurrentCapacity: proto.Float32(x.Used), State: state.Enum(), SchedulerType: proto.String("CapacityScheduler"), PreemptionDisabled: proto.Bool(x.unpreempted),
		IntraQueuePreemptionDisabled: proto.Bool(true), DefaultNodeLabelExpression: proto.String(""), AccessibleNodeLabels: []string{"*"}, Weight: proto.Float32(-1),
		MaxParallelApps: proto.Int32(1<<31 - 1),
		QueueStatistics: &wire.QueueStatisticsProto{
			NumAppsSubmitted: proto.Int64(int64(x.Running + x.Waiting)), NumAppsRunning: proto.Int64(int64(x.Running)), NumAppsPending: proto.Int64(int64(x.Waiting)),
			NumAppsCompleted: proto.Int64(0), NumAppsKilled: proto.Int64(0), NumAppsFailed: proto.Int64(0), NumActiveUsers: proto.Int64(0),
			AvailableMemoryMB: proto.Int64(x.Available), AllocatedMemoryMB: proto.Int64(x.Memory), PendingMemoryMB: proto.Int64(0), ReservedMemoryMB: proto.Int64(0),
			AvailableVCores: proto.Int64(x.AvailableCPU), AllocatedVCores: proto.Int64(x.VCores), PendingVCores: proto.Int64(0), ReservedVCores: proto.Int64(0),
			AllocatedContainers: proto.Int64(int64(x.Containers)), PendingContainers: proto.Int64(int64(x.Pending)), ReservedContainers: proto.Int64(0),
		},
		QueueConfigurationsMap: []*wire.QueueConfigurationsMapProto{{PartitionName: proto.String(""), QueueConfigurations: &wire.QueueConfigurationsProto{
			Capacity: proto.Float32(x.Capacity), AbsoluteCapacity: proto.Float32(x.Absolute), MaxCapacity: proto.Float32(x.Maximum),
			AbsoluteMaxCapacity: proto.Float32(x.Maximum), MaxAMPercentage: proto.Float32(0.2), EffectiveMinCapacity: token.Resource(0, 0),
			EffectiveMaxCapacity: token.Resource(x.Memory+x.Available, int32(x.VCores+x.AvailableCPU)), ConfiguredMinCapacity: token.Resource(0, 0),
			ConfiguredMaxCapacity: token.Resource(0, 0),
		}}},
	}
	for _, a := range applications[x.Path] {
		r.Applications = append(r.Applications, a.report(who, true))
	}
	if children || recursive {
		for _, path := range x.Children {
			r.ChildQueues = append(r.ChildQueues, queueProto(all, all[path], applications, who, recursive, recursive))
		}
	}
	return r
}

func (m *Manager) getQueueUserAcls(ctx context.Context, c *hadooprpc.Caller, q *wire.GetQueueUserAclsInfoRequestProto) (proto.Message, error) {
	r := &wire.GetQueueUserAclsInfoResponseProto{}
	who := shortName(c.User)
	for _, x := range m.queues(m.cluster()) {
		path := strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(x.Path, "root"), "."), ".", "/")
		acl := &wire.QueueUserACLInfoProto{QueueName: proto.String(x.Name)}
		if m.maySubmit(who, path) {
			acl.UserAcls = append(acl.UserAcls, wire.QueueACLProto_QACL_SUBMIT_APPLICATIONS)
		}
		if m.mayAdminister(who, path) {
			acl.UserAcls = append(acl.UserAcls, wire.QueueACLProto_QACL_ADMINISTER_QUEUE)
		}
		r.QueueUserAcls = append(r.QueueUserAcls, acl)
	}
	return r, nil
}

// resourceTypes are the kinds that containers may ask for; memory and vcores always.
func (m *Manager) resourceTypes() []*wire.ResourceTypeInfoProto {
	kind := func(name, units string) *wire.ResourceTypeInfoProto {
		return &wire.ResourceTypeInfoProto{Name: proto.String(name), Units: proto.String(units), Type: wire.ResourceTypesProto_COUNTABLE.Enum()}
	}
	out := []*wire.ResourceTypeInfoProto{kind(memoryName, "Mi"), kind(vcoresName, "")}
	m.cluster().largest.each(func(name string, _ int64) { out = append(out, kind(name, "")) })
	return out
}

func (m *Manager) getResourceTypes(ctx context.Context, c *hadooprpc.Caller, q *wire.GetAllResourceTypeInfoRequestProto) (proto.Message, error) {
	return &wire.GetAllResourceTypeInfoResponseProto{ResourceTypeInfo: m.resourceTypes()}, nil
}
