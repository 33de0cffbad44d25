package state

import "fmt"

var kindNames = [...]string{
	ClusterCreated: "ClusterCreated", EpochBegun: "EpochBegun", KindNamed: "KindNamed",
	AgentAdmitted: "AgentAdmitted", AgentUpdated: "AgentUpdated", AgentChanged: "AgentChanged", AgentForgotten: "AgentForgotten",
	RoleSet: "RoleSet", RoleRemoved: "RoleRemoved",
	FrameworkAdmitted: "FrameworkAdmitted", FrameworkChanged: "FrameworkChanged", FrameworkEnded: "FrameworkEnded", FrameworkSaved: "FrameworkSaved",
	JobSubmitted: "JobSubmitted", JobChanged: "JobChanged", JobForgotten: "JobForgotten",
	TaskLaunched: "TaskLaunched", TaskEnded: "TaskEnded", TaskResized: "TaskResized",
	AgentDrained: "AgentDrained",
}

// String is the kind's name.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kindNames[k]
}
