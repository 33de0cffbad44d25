package resourcemanager

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// Exit statuses with a meaning of their own: org.apache.hadoop.yarn.api.records.ContainerExitStatus.
const (
	exitInvalid   = -1000
	exitAborted   = -100
	exitDisks     = -101
	exitPreempted = -102
	exitMemory    = -104
	exitByRM      = -106
	exitAppEnded  = -107
)

// Texts that YARN puts into the status of a container that it ended itself: SchedulerUtils.
const (
	saidReleased  = "Container released by application"
	saidLost      = "Container released on a *lost* node"
	saidExpired   = "Container expired since it was unused"
	saidPreempted = "Container preempted by scheduler"
	saidEnded     = "Container Killed by ResourceManager"
)

type stage uint8

const (
	offered   stage = iota // accepted; the broker has not confirmed the launch
	granted                // launched durably; its master does not know
	delivered              // in a reply to its master
)

// container is a task of the application.
type container struct {
	id         id.ContainerID
	task       uint64
	agent      string
	node       id.NodeID
	nodeHTTP   string
	hosts      []string // names of its host, lower case
	rack       string
	amount     amount
	version    int32     // how often amount was changed
	resizing   *resizing // nil: no change is under way
	priority   int32
	requestID  int64
	label      string // of its agent; "": none
	tags       []string
	group      uint64 // that it was granted for; 0: none now
	placed     place  // which rows it was counted in
	isMaster   bool
	state      stage
	running    bool
	released   bool // by its master
	lost       bool // told as lost; it is killed when its agent is back
	killing    bool
	preempted  bool
	created    time.Time
	asked      time.Time // the call that wanted it; zero: not known
	finished   time.Time
	wasWaiting bool // found after a restart, not begun then

	status   *wire.ContainerStatusProto // set when it has ended
	terminal *v1.TaskStatus             // to acknowledge once the master knows
}

// outcome says how a container ended in YARN's words, from what its agent's service said or the broker found.
func (c *container) outcome(s *v1.TaskStatus) (exit int32, diagnostics string) {
	var o grant.Outcome
	known := len(s.GetData()) > 0 && proto.Unmarshal(s.Data, &o) == nil
	switch {
	case c.released:
		return exitAborted, saidReleased
	case c.preempted && s.GetState() == v1.TaskState_TASK_STATE_KILLED:
		return exitPreempted, saidPreempted
	case s.GetState() == v1.TaskState_TASK_STATE_KILLED && s.GetReason() == v1.TaskReason_TASK_REASON_PREEMPTED:
		if s.GetMessage() == "" {
			return exitPreempted, saidPreempted
		}
		return exitPreempted, saidPreempted + ": " + s.GetMessage() // the agent's service knows only that it was asked to
	case known:
		return o.ExitStatus, o.Diagnostics
	}
	switch s.GetReason() {
	case v1.TaskReason_TASK_REASON_AGENT_GONE, v1.TaskReason_TASK_REASON_UNKNOWN_TASK, v1.TaskReason_TASK_REASON_AGENT_RESTARTED:
		return exitAborted, saidLost
	case v1.TaskReason_TASK_REASON_MEMORY_LIMIT:
		return exitMemory, s.Message
	case v1.TaskReason_TASK_REASON_DISK_LIMIT:
		return exitDisks, s.Message
	case v1.TaskReason_TASK_REASON_KILL_ASKED:
		return exitByRM, strings.TrimSpace(saidEnded + " " + s.Message)
	case v1.TaskReason_TASK_REASON_JOB_ENDED, v1.TaskReason_TASK_REASON_FRAMEWORK_GONE:
		return exitAppEnded, s.Message
	case v1.TaskReason_TASK_REASON_LAUNCH_FAILED, v1.TaskReason_TASK_REASON_FETCH_FAILED:
		if s.GetSequence() == 0 {
			return exitAborted, s.Message // the agent never had it
		}
		return exitInvalid, s.Message
	}
	if s.GetSignal() != 0 {
		return 128 + s.GetSignal(), s.Message
	}
	return s.GetExitCode(), s.Message
}

// statusProto is the container as it ended.
func (c *container) statusProto(exit int32, diagnostics string) *wire.ContainerStatusProto {
	return &wire.ContainerStatusProto{
		ContainerId: c.id.Proto(), State: wire.ContainerStateProto_C_COMPLETE.Enum(), Diagnostics: proto.String(bounded(diagnostics)), ExitStatus: proto.Int32(exit),
		Capability: c.amount.proto(), ExecutionType: wire.ExecutionTypeProto_GUARANTEED.Enum(),
	}
}

// proto is the container as its master gets it.
func (c *container) proto(a *application, now time.Time) *wire.ContainerProto {
	kind := wire.ContainerTypeProto_TASK
	if c.isMaster {
		kind = wire.ContainerTypeProto_APPLICATION_MASTER
	}
	t := token.Container{
		ID: c.id, Node: c.node.String(), User: a.user, MemoryMB: c.amount.memory, VCores: c.amount.vcores, Resources: c.amount.rows(),
		Expires: now.Add(a.m.o.AskExpiry), KeyID: token.KeyID, ResourceManager: a.m.started.UnixMilli(), Priority: c.priority, Created: c.created,
		LogAggregation: a.submission.GetLogAggregationContext(), Type: kind, Execution: wire.ExecutionTypeProto_GUARANTEED, AllocationRequestID: c.requestID,
		NodeLabel: c.label, Tags: c.tags, Version: c.version,
	}
	return &wire.ContainerProto{
		Id: c.id.Proto(), NodeId: c.node.Proto(), NodeHttpAddress: proto.String(c.nodeHTTP), Resource: c.amount.proto(),
		Priority:       &wire.PriorityProto{Priority: proto.Int32(c.priority)},
		ContainerToken: token.Issue(token.KindContainer, c.node.String(), a.keys.Container, t.Marshal()).Proto(),
		ExecutionType:  wire.ExecutionTypeProto_GUARANTEED.Enum(), AllocationRequestId: proto.Int64(c.requestID), Version: proto.Int32(c.version), AllocationTags: c.tags,
	}
}

// nodeProof lets an attempt speak to an agent. With mu held.
func (a *application) nodeProof(t *attempt, n id.NodeID) writable.Token {
	b := token.NM{Attempt: t.id, Node: n, User: a.user, KeyID: token.KeyID}.Marshal()
	return token.Issue(token.KindNM, n.String(), a.keys.NM, b)
}

func (a *application) nodeToken(t *attempt, n id.NodeID) *wire.NMTokenProto {
	return &wire.NMTokenProto{NodeId: n.Proto(), Token: a.nodeProof(t, n).Proto()}
}

const maxText = 32 << 10 // bytes of one diagnostic text that are kept

// bounded cuts a text that somebody else wrote, and makes it valid UTF-8.
func bounded(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
