package web

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"time"

	"fairway/adapters/yarn/resourcemanager"
	"fairway/adapters/yarn/wire"
)

// The types of this file are YARN's JSON, in YARN's order of keys.

type clusterInfo struct {
	ID                 int64  `json:"id"`
	StartedOn          int64  `json:"startedOn"`
	State              string `json:"state"`
	HAState            string `json:"haState"`
	StateStore         string `json:"rmStateStoreName"`
	Version            string `json:"resourceManagerVersion"`
	BuildVersion       string `json:"resourceManagerBuildVersion"`
	BuiltOn            string `json:"resourceManagerVersionBuiltOn"`
	HadoopVersion      string `json:"hadoopVersion"`
	HadoopBuildVersion string `json:"hadoopBuildVersion"`
	HadoopBuiltOn      string `json:"hadoopVersionBuiltOn"`
	ZooKeeper          string `json:"haZooKeeperConnectionState"`
}

type clusterMetrics struct {
	Submitted           int   `json:"appsSubmitted"`
	Completed           int   `json:"appsCompleted"`
	Pending             int   `json:"appsPending"`
	Running             int   `json:"appsRunning"`
	Failed              int   `json:"appsFailed"`
	Killed              int   `json:"appsKilled"`
	ReservedMB          int64 `json:"reservedMB"`
	AvailableMB         int64 `json:"availableMB"`
	AllocatedMB         int64 `json:"allocatedMB"`
	PendingMB           int64 `json:"pendingMB"`
	ReservedVCores      int64 `json:"reservedVirtualCores"`
	AvailableVCores     int64 `json:"availableVirtualCores"`
	AllocatedVCores     int64 `json:"allocatedVirtualCores"`
	PendingVCores       int64 `json:"pendingVirtualCores"`
	ContainersAllocated int64 `json:"containersAllocated"`
	ContainersReserved  int64 `json:"containersReserved"`
	ContainersPending   int64 `json:"containersPending"`
	TotalMB             int64 `json:"totalMB"`
	TotalVCores         int64 `json:"totalVirtualCores"`
	// The nodes' load is not known to the broker: 0, as YARN says before its nodes have told it.
	UtilizedMBPercent     int       `json:"utilizedMBPercent"`
	UtilizedVCoresPercent int       `json:"utilizedVirtualCoresPercent"`
	BusyPercent           int       `json:"rmSchedulerBusyPercent"`
	TotalNodes            int       `json:"totalNodes"`
	LostNodes             int       `json:"lostNodes"`
	UnhealthyNodes        int       `json:"unhealthyNodes"`
	DecommissioningNodes  int       `json:"decommissioningNodes"`
	DecommissionedNodes   int       `json:"decommissionedNodes"`
	RebootedNodes         int       `json:"rebootedNodes"`
	ActiveNodes           int       `json:"activeNodes"`
	ShutdownNodes         int       `json:"shutdownNodes"`
	Used                  resources `json:"totalUsedResourcesAcrossPartition"`
	Cluster               resources `json:"totalClusterResourcesAcrossPartition"`
	Reserved              resources `json:"totalReservedResourcesAcrossPartition"`
	Containers            int64     `json:"totalAllocatedContainersAcrossPartition"`
	CrossPartition        bool      `json:"crossPartitionMetricsAvailable"`
}

func metricsOf(m resourcemanager.Metrics) clusterMetrics {
	return clusterMetrics{
		Submitted: m.Submitted, Completed: m.Completed, Pending: m.Pending, Running: m.Running, Failed: m.Failed, Killed: m.Killed,
		AvailableMB: m.AvailableMB, AllocatedMB: m.AllocatedMB, PendingMB: m.PendingMB, TotalMB: m.TotalMB,
		AvailableVCores: m.AvailableVCores, AllocatedVCores: m.AllocatedVCores, PendingVCores: m.PendingVCores, TotalVCores: m.TotalVCores,
		ContainersAllocated: m.Containers, ContainersPending: m.PendingContainers,
		TotalNodes: m.Nodes, ActiveNodes: m.Active, LostNodes: m.Lost, DecommissioningNodes: m.Decommissioning, DecommissionedNodes: m.Decommissioned,
		Used: resourcesOf(m.AllocatedMB, m.AllocatedVCores), Cluster: resourcesOf(m.TotalMB, m.TotalVCores), Reserved: resourcesOf(0, 0),
		Containers: m.Containers, CrossPartition: true,
	}
}

// resources is an amount in YARN's two forms.
type resources struct {
	Memory int64         `json:"memory"`
	VCores int64         `json:"vCores"`
	All    resourceInfos `json:"resourceInformations"`
}

type resourceInfos struct {
	Info []resourceInfo `json:"resourceInformation"`
}

type resourceInfo struct {
	Attributes struct{} `json:"attributes"`
	Maximum    int64    `json:"maximumAllocation"`
	Minimum    int64    `json:"minimumAllocation"`
	Name       string   `json:"name"`
	Type       string   `json:"resourceType"`
	Units      string   `json:"units"`
	Value      int64    `json:"value"`
}

func resourcesOf(memory, vcores int64) resources {
	return resources{Memory: memory, VCores: vcores, All: resourceInfos{[]resourceInfo{
		{Maximum: 1<<63 - 1, Name: "memory-mb", Type: "COUNTABLE", Units: "Mi", Value: memory},
		{Maximum: 1<<63 - 1, Name: "vcores", Type: "COUNTABLE", Value: vcores},
	}}}
}

// entries is a map as a list of keys and values.
type entries struct {
	Entry []entry `json:"entry,omitempty"`
}

// repeated is such a map with the key "entry" once for each: one of YARN's mappings does so, and its readers know it.
type repeated []entry

func (r repeated) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, e := range r {
		if i > 0 {
			b = append(b, ',')
		}
		text, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `"entry":`...), text...)
	}
	return append(b, '}'), nil
}

type entry struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type application struct {
	ID              string   `json:"id"`
	User            string   `json:"user"`
	Name            string   `json:"name"`
	Queue           string   `json:"queue"`
	State           string   `json:"state"`
	FinalStatus     string   `json:"finalStatus"`
	Progress        float32  `json:"progress"` // 0 to 100
	TrackingUI      string   `json:"trackingUI"`
	TrackingURL     string   `json:"trackingUrl,omitempty"`
	Diagnostics     string   `json:"diagnostics"`
	ClusterID       int64    `json:"clusterId"`
	Type            string   `json:"applicationType"`
	Tags            string   `json:"applicationTags"`
	Priority        int32    `json:"priority"`
	Started         int64    `json:"startedTime"`
	Launched        int64    `json:"launchTime"`
	Finished        int64    `json:"finishedTime"`
	Elapsed         int64    `json:"elapsedTime"`
	Logs            string   `json:"amContainerLogs,omitempty"`
	MasterHTTP      string   `json:"amHostHttpAddress,omitempty"`
	MasterRPC       string   `json:"amRPCAddress,omitempty"`
	MasterNode      string   `json:"masterNodeId"`
	AllocatedMB     int64    `json:"allocatedMB"`
	AllocatedVCores int64    `json:"allocatedVCores"`
	ReservedMB      int64    `json:"reservedMB"`
	ReservedVCores  int64    `json:"reservedVCores"`
	Containers      int      `json:"runningContainers"`
	MemorySeconds   int64    `json:"memorySeconds"`
	VCoreSeconds    int64    `json:"vcoreSeconds"`
	QueueShare      float32  `json:"queueUsagePercentage"`
	ClusterShare    float32  `json:"clusterUsagePercentage"`
	Seconds         repeated `json:"resourceSecondsMap"`
	PreemptedMB     int64    `json:"preemptedResourceMB"`
	PreemptedVCores int64    `json:"preemptedResourceVCores"`
	PreemptedTasks  int      `json:"numNonAMContainerPreempted"`
	PreemptedAMs    int      `json:"numAMContainerPreempted"`
	PreemptedMBs    int64    `json:"preemptedMemorySeconds"`
	PreemptedVCs    int64    `json:"preemptedVcoreSeconds"`
	PreemptedMap    repeated `json:"preemptedResourceSecondsMap"`
	LogAggregation  string   `json:"logAggregationStatus,omitempty"`
	Unmanaged       bool     `json:"unmanagedApplication"`
	Label           string   `json:"amNodeLabelExpression"`
	AsksLabel       string   `json:"appNodeLabelExpression,omitempty"`
	Timeouts        timeouts `json:"timeouts"`
}

func ended(s wire.YarnApplicationStateProto) bool {
	switch s {
	case wire.YarnApplicationStateProto_FINISHED, wire.YarnApplicationStateProto_FAILED, wire.YarnApplicationStateProto_KILLED:
		return true
	}
	return false
}

func finalStatus(s wire.FinalApplicationStatusProto) string {
	return strings.TrimPrefix(s.String(), "APP_")
}

// logStatus is how logs fare; empty: unknown.
func logStatus(s wire.LogAggregationStatusProto) string {
	if s == 0 {
		return ""
	}
	return strings.TrimPrefix(s.String(), "LOG_")
}

func hasURL(url string) bool { return url != "" && url != "N/A" }

// applicationOf is an application, or what YARN's AppInfo shows of it to those who may not see it: its state and how it
// fares, but not when, where and with how much it runs.
func applicationOf(a *resourcemanager.Application, sees bool, cluster int64, now time.Time) application {
	j := application{
		ID: a.ID.String(), User: a.User, Name: a.Name, Queue: a.Queue, State: a.State.String(), FinalStatus: finalStatus(a.FinalStatus),
		Progress: a.Progress * 100, TrackingUI: "UNASSIGNED", Diagnostics: a.Diagnostics, ClusterID: cluster, Type: a.Type, Tags: strings.Join(a.Tags, ","),
		Priority: a.Priority, Started: millis(a.Submitted), Launched: millis(a.Launched), Finished: millis(a.Finished),
		Elapsed: elapsed(a.Submitted, a.Finished, now), Logs: a.LogsURL, MasterHTTP: a.MasterHTTP, MasterNode: a.MasterNode,
		AllocatedMB: -1, AllocatedVCores: -1, ReservedMB: -1, ReservedVCores: -1, Containers: -1,
		MemorySeconds: a.MemorySecs, VCoreSeconds: a.VCoreSecs, LogAggregation: logStatus(a.LogStatus), Unmanaged: a.Unmanaged, Label: a.MasterLabel, AsksLabel: a.Label, Timeouts: timeoutsOf(a, now),
	}
	if ended(a.State) {
		j.Progress, j.TrackingUI, j.TrackingURL = 100, "History", a.TrackingURL
	} else {
		if hasURL(a.OriginalURL) {
			j.TrackingUI, j.TrackingURL = "ApplicationMaster", a.TrackingURL
		}
		if a.RPCPort > 0 {
			j.MasterRPC = net.JoinHostPort(a.Host, strconv.Itoa(int(a.RPCPort)))
		}
	}
	if a.Live {
		j.AllocatedMB, j.AllocatedVCores, j.ReservedMB, j.ReservedVCores, j.Containers = a.Memory, a.VCores, 0, 0, a.Containers
		j.QueueShare, j.ClusterShare = a.QueueShare, a.ClusterShare
	}
	if a.MemorySecs > 0 || a.VCoreSecs > 0 {
		j.Seconds = secondsOf(a.MemorySecs, a.VCoreSecs)
	}
	if x := a.Preempted; x != (resourcemanager.Preempted{}) {
		j.PreemptedMB, j.PreemptedVCores, j.PreemptedTasks, j.PreemptedAMs = x.Memory, x.VCores, x.Containers, x.Masters
		j.PreemptedMBs, j.PreemptedVCs, j.PreemptedMap = x.MemorySecs, x.VCoreSecs, secondsOf(x.MemorySecs, x.VCoreSecs)
	}
	if !sees {
		j.Started, j.Launched, j.Finished, j.Elapsed, j.LogAggregation = 0, 0, 0, 0, ""
		j.Logs, j.MasterHTTP, j.MasterRPC, j.MasterNode = "", "", "", ""
		j.AllocatedMB, j.AllocatedVCores, j.ReservedMB, j.ReservedVCores, j.Containers, j.QueueShare, j.ClusterShare = 0, 0, 0, 0, 0, 0, 0
	}
	return j
}

func secondsOf(memory, vcores int64) repeated {
	return repeated{{"memory-mb", number(memory)}, {"vcores", number(vcores)}}
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// elapsed from a start to an end, or to now if there is none yet.
func elapsed(start, end, now time.Time) int64 {
	if start.IsZero() {
		return 0
	}
	if end.IsZero() {
		end = now
	}
	return max(0, end.Sub(start).Milliseconds())
}

type timeouts struct {
	Timeout []timeout `json:"timeout"`
}

type timeout struct {
	Type      string `json:"type"`
	Expiry    string `json:"expiryTime"`
	Remaining int64  `json:"remainingTimeInSeconds"`
}

func timeoutsOf(a *resourcemanager.Application, now time.Time) timeouts {
	t := timeout{Type: "LIFETIME", Expiry: "UNLIMITED", Remaining: -1}
	if !a.Expires.IsZero() {
		t.Expiry = a.Expires.UTC().Format("2006-01-02T15:04:05.000-0700")
		t.Remaining = 0
		if !ended(a.State) {
			t.Remaining = max(0, int64(a.Expires.Sub(now)/time.Second))
		}
	}
	return timeouts{[]timeout{t}}
}

type attemptRow struct {
	ID          int32   `json:"id"`
	Started     int64   `json:"startTime"`
	Finished    int64   `json:"finishedTime"`
	Container   string  `json:"containerId"`
	NodeHTTP    string  `json:"nodeHttpAddress"`
	Node        string  `json:"nodeId"`
	Logs        string  `json:"logsLink"`
	Blacklisted string  `json:"blacklistedNodes"`
	BySystem    *string `json:"nodesBlacklistedBySystem,omitempty"`
	AttemptID   string  `json:"appAttemptId"`
	Ports       string  `json:"exportPorts"`
	State       string  `json:"appAttemptState"`
}

func attemptState(s wire.YarnApplicationAttemptStateProto) string {
	return strings.TrimPrefix(s.String(), "APP_ATTEMPT_")
}

// attemptRowOf is an attempt; where its master runs is for those who may see the application.
func attemptRowOf(t *resourcemanager.Attempt, sees bool) attemptRow {
	r := attemptRow{ID: t.ID.Number, Started: millis(t.Started), Finished: millis(t.Finished), AttemptID: t.ID.String(), State: attemptState(t.State)}
	if sees && !t.Master.IsZero() {
		r.Container, r.NodeHTTP, r.Node, r.Logs, r.Ports, r.BySystem = t.Master.String(), t.NodeHTTP, t.Node, t.LogsURL, "null", new(string)
	}
	return r
}

// attempt has numbers as strings: YARN writes it by another mapping.
type attempt struct {
	ID          string `json:"appAttemptId"`
	Host        string `json:"host"`
	RPCPort     string `json:"rpcPort"`
	TrackingURL string `json:"trackingUrl"`
	OriginalURL string `json:"originalTrackingUrl"`
	Diagnostics string `json:"diagnosticsInfo"`
	State       string `json:"appAttemptState"`
	Container   string `json:"amContainerId,omitempty"`
	Started     string `json:"startedTime"`
	Finished    string `json:"finishedTime"`
}

func attemptOf(t *resourcemanager.Attempt) attempt {
	j := attempt{ID: t.ID.String(), Host: t.Host, RPCPort: strconv.Itoa(int(t.RPCPort)), TrackingURL: t.TrackingURL, OriginalURL: t.OriginalURL,
		Diagnostics: t.Diagnostics, State: attemptState(t.State), Started: number(millis(t.Started)), Finished: number(millis(t.Finished))}
	if !t.Master.IsZero() {
		j.Container = t.Master.String()
	}
	return j
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

type container struct {
	ID          string  `json:"containerId"`
	MB          string  `json:"allocatedMB"`
	VCores      string  `json:"allocatedVCores"`
	Node        string  `json:"assignedNodeId"`
	Priority    string  `json:"priority"`
	Started     string  `json:"startedTime"`
	Finished    string  `json:"finishedTime"`
	Elapsed     string  `json:"elapsedTime"`
	Diagnostics string  `json:"diagnosticsInfo,omitempty"`
	Logs        string  `json:"logUrl"`
	Exit        string  `json:"containerExitStatus"`
	State       string  `json:"containerState"`
	NodeHTTP    string  `json:"nodeHttpAddress"`
	NodeID      string  `json:"nodeId"`
	Resources   entries `json:"allocatedResources"`
	Ports       string  `json:"exposedPorts"`
}

func containerOf(c *resourcemanager.Container, now time.Time) container {
	return container{ID: c.ID.String(), MB: number(c.Memory), VCores: number(int64(c.VCores)), Node: c.Node.String(), Priority: number(int64(c.Priority)),
		Started: number(millis(c.Created)), Finished: number(millis(c.Finished)), Elapsed: number(elapsed(c.Created, c.Finished, now)),
		Diagnostics: c.Diagnostics, Logs: c.LogsURL, Exit: number(int64(c.ExitStatus)), State: strings.TrimPrefix(c.State.String(), "C_"),
		NodeHTTP: "http://" + c.NodeHTTP, NodeID: c.Node.String(),
		Resources: entries{[]entry{{"memory-mb", number(c.Memory)}, {"vcores", number(int64(c.VCores))}}}}
}

type node struct {
	Rack            string   `json:"rack"`
	State           string   `json:"state"`
	ID              string   `json:"id"`
	Host            string   `json:"nodeHostName"`
	HTTP            string   `json:"nodeHTTPAddress"`
	LastHealth      int64    `json:"lastHealthUpdate"`
	Version         string   `json:"version"`
	Health          string   `json:"healthReport"`
	Labels          []string `json:"nodeLabels,omitempty"`
	Containers      int      `json:"numContainers"`
	UsedMB          int64    `json:"usedMemoryMB"`
	AvailableMB     int64    `json:"availMemoryMB"`
	UsedVCores      int64    `json:"usedVirtualCores"`
	AvailableVCores int64    `json:"availableVirtualCores"`
	// There are no opportunistic containers, tags or attributes.
	Opportunistic       int       `json:"numRunningOpportContainers"`
	OpportunisticGB     int       `json:"usedMemoryOpportGB"`
	OpportunisticVCores int       `json:"usedVirtualCoresOpport"`
	Queued              int       `json:"numQueuedContainers"`
	Tags                struct{}  `json:"allocationTags"`
	Used                resources `json:"usedResource"`
	Available           resources `json:"availableResource"`
	Attributes          struct{}  `json:"nodeAttributesInfo"`
	Total               resources `json:"totalResource"`
}

func nodeOf(n *resourcemanager.Node) node {
	r := node{Rack: n.Rack, State: strings.TrimPrefix(n.State.String(), "NS_"), ID: n.ID.String(), Host: n.ID.Host, HTTP: n.HTTP,
		LastHealth: millis(n.Heard), Version: n.Version, Health: n.Health, Containers: n.Containers,
		UsedMB: n.UsedMemory, AvailableMB: n.Memory - n.UsedMemory, UsedVCores: n.UsedVCores, AvailableVCores: n.VCores - n.UsedVCores,
		Used: resourcesOf(n.UsedMemory, n.UsedVCores), Available: resourcesOf(n.Memory-n.UsedMemory, n.VCores-n.UsedVCores), Total: resourcesOf(n.Memory, n.VCores)}
	if n.Label != "" {
		r.Labels = []string{n.Label}
	}
	return r
}
