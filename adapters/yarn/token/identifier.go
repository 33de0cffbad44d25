package token

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
)

// maxIdentifier bounds an identifier, in bytes: a container token carries log patterns and tags, the others a name or two.
const maxIdentifier = 64 << 10

// AMRM is who an ApplicationMaster is toward the resource manager.
type AMRM struct {
	Attempt id.AttemptID
	KeyID   int32
}

// User is the name that the bearer has in the connection.
func (t AMRM) User() string { return t.Attempt.String() }

// Marshal is the identifier's bytes.
func (t AMRM) Marshal() []byte {
	return marshal(&wire.AMRMTokenIdentifierProto{AppAttemptId: t.Attempt.Proto(), KeyId: proto.Int32(t.KeyID)})
}

// ParseAMRM reads an identifier.
func ParseAMRM(b []byte) (AMRM, error) {
	var p wire.AMRMTokenIdentifierProto
	err := unmarshal(b, &p)
	if err != nil {
		return AMRM{}, err
	}
	t := AMRM{KeyID: p.GetKeyId()}
	if t.Attempt, err = id.AttemptFrom(p.GetAppAttemptId()); err != nil {
		return AMRM{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return t, nil
}

// NM is who an attempt's master is toward one agent.
type NM struct {
	Attempt id.AttemptID
	Node    id.NodeID
	User    string // who submitted the application
	KeyID   int32
}

// Marshal is the identifier's bytes.
func (t NM) Marshal() []byte {
	return marshal(&wire.NMTokenIdentifierProto{AppAttemptId: t.Attempt.Proto(), NodeId: t.Node.Proto(), AppSubmitter: proto.String(t.User), KeyId: proto.Int32(t.KeyID)})
}

// ParseNM reads an identifier. The bearer's name in the connection is the attempt.
func ParseNM(b []byte) (NM, error) {
	var p wire.NMTokenIdentifierProto
	err := unmarshal(b, &p)
	if err != nil {
		return NM{}, err
	}
	t := NM{User: p.GetAppSubmitter(), KeyID: p.GetKeyId()}
	if t.Attempt, err = id.AttemptFrom(p.GetAppAttemptId()); err == nil {
		t.Node, err = id.NodeFrom(p.GetNodeId())
	}
	if err != nil {
		return NM{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return t, nil
}

// Container allows to start one container on one agent.
type Container struct {
	ID                  id.ContainerID
	Node                string // NodeID as text
	User                string // who submitted the application, and whose the process is
	MemoryMB            int64
	VCores              int32
	Resources           []*wire.ResourceInformationProto // further kinds than memory-mb and vcores
	Expires             time.Time                        // after it the container may no longer be started
	KeyID               int32
	ResourceManager     int64 // which one issued it: its start in milliseconds
	Priority            int32
	Created             time.Time
	LogAggregation      *wire.LogAggregationContextProto
	NodeLabel           string
	Type                wire.ContainerTypeProto
	Execution           wire.ExecutionTypeProto // 0: GUARANTEED
	Version             int32                   // counts updates of its resources
	AllocationRequestID int64                   // -1: none
	Tags                []string
}

// Marshal is the identifier's bytes, in the fields that Hadoop 3.4 sets.
func (t Container) Marshal() []byte {
	if t.Execution == 0 {
		t.Execution = wire.ExecutionTypeProto_GUARANTEED
	}
	return marshal(&wire.ContainerTokenIdentifierProto{
		ContainerId: t.ID.Proto(), NmHostAddr: proto.String(t.Node), AppSubmitter: proto.String(t.User),
		Resource:        Resource(t.MemoryMB, t.VCores, t.Resources...),
		ExpiryTimeStamp: proto.Int64(t.Expires.UnixMilli()), MasterKeyId: proto.Int32(t.KeyID), RmIdentifier: proto.Int64(t.ResourceManager),
		Priority: &wire.PriorityProto{Priority: proto.Int32(t.Priority)}, CreationTime: proto.Int64(t.Created.UnixMilli()),
		LogAggregationContext: t.LogAggregation, NodeLabelExpression: proto.String(t.NodeLabel),
		ContainerType: t.Type.Enum(), ExecutionType: t.Execution.Enum(), Version: proto.Int32(t.Version),
		AllocationRequestId: proto.Int64(t.AllocationRequestID), AllocationTags: t.Tags,
	})
}

// Resource is a capability as Hadoop writes it: memory (MiB) and vcores both as fields and as rows, then further kinds.
func Resource(memoryMB int64, vcores int32, further ...*wire.ResourceInformationProto) *wire.ResourceProto {
	rows := make([]*wire.ResourceInformationProto, 0, 2+len(further))
	rows = append(rows,
		&wire.ResourceInformationProto{Key: proto.String("memory-mb"), Value: proto.Int64(memoryMB), Units: proto.String("Mi"), Type: wire.ResourceTypesProto_COUNTABLE.Enum()},
		&wire.ResourceInformationProto{Key: proto.String("vcores"), Value: proto.Int64(int64(vcores)), Units: proto.String(""), Type: wire.ResourceTypesProto_COUNTABLE.Enum()})
	return &wire.ResourceProto{Memory: proto.Int64(memoryMB), VirtualCores: proto.Int32(vcores), ResourceValueMap: append(rows, further...)}
}

// ParseContainer reads an identifier.
func ParseContainer(b []byte) (Container, error) {
	var p wire.ContainerTokenIdentifierProto
	err := unmarshal(b, &p)
	if err != nil {
		return Container{}, err
	}
	t := Container{
		Node: p.GetNmHostAddr(), User: p.GetAppSubmitter(), MemoryMB: p.GetResource().GetMemory(), VCores: p.GetResource().GetVirtualCores(),
		Expires: time.UnixMilli(p.GetExpiryTimeStamp()), KeyID: p.GetMasterKeyId(), ResourceManager: p.GetRmIdentifier(),
		Priority: p.GetPriority().GetPriority(), Created: time.UnixMilli(p.GetCreationTime()), LogAggregation: p.GetLogAggregationContext(),
		NodeLabel: p.GetNodeLabelExpression(), Type: p.GetContainerType(), Execution: p.GetExecutionType(), Version: p.GetVersion(),
		AllocationRequestID: p.GetAllocationRequestId(), Tags: p.GetAllocationTags(),
	}
	for _, r := range p.GetResource().GetResourceValueMap() {
		if k := r.GetKey(); k != "memory-mb" && k != "vcores" {
			t.Resources = append(t.Resources, r)
		}
	}
	if t.ID, err = id.ContainerFrom(p.GetContainerId()); err != nil {
		return Container{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if t.MemoryMB < 0 || t.VCores < 0 {
		return Container{}, fmt.Errorf("%w: %d MB, %d vcores", ErrInvalid, t.MemoryMB, t.VCores)
	}
	return t, nil
}

// Delegation lets a process speak to the resource manager for a user.
type Delegation struct {
	Owner    string
	Renewer  string // who may renew it
	RealUser string // who asked, if Owner was impersonated
	Issued   time.Time
	Max      time.Time // no renewal goes beyond
	Sequence int32
	KeyID    int32
}

// Marshal is the identifier's bytes.
func (t Delegation) Marshal() []byte {
	return marshal(&wire.YARNDelegationTokenIdentifierProto{
		Owner: proto.String(t.Owner), Renewer: proto.String(t.Renewer), RealUser: proto.String(t.RealUser),
		IssueDate: proto.Int64(t.Issued.UnixMilli()), MaxDate: proto.Int64(t.Max.UnixMilli()),
		SequenceNumber: proto.Int32(t.Sequence), MasterKeyId: proto.Int32(t.KeyID),
	})
}

// ParseDelegation reads an identifier; it must name an owner. The names are checked, as another kind's identifier could
// be read as one with strange names.
func ParseDelegation(b []byte) (Delegation, error) {
	var p wire.YARNDelegationTokenIdentifierProto
	if err := unmarshal(b, &p); err != nil {
		return Delegation{}, err
	}
	t := Delegation{
		Owner: p.GetOwner(), Renewer: p.GetRenewer(), RealUser: p.GetRealUser(), Issued: time.UnixMilli(p.GetIssueDate()), Max: time.UnixMilli(p.GetMaxDate()),
		Sequence: p.GetSequenceNumber(), KeyID: p.GetMasterKeyId(),
	}
	if t.Owner == "" {
		return Delegation{}, fmt.Errorf("%w: no owner", ErrInvalid)
	}
	for _, name := range []string{t.Owner, t.Renewer, t.RealUser} {
		if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return Delegation{}, fmt.Errorf("%w: %.80q is no name", ErrInvalid, name)
		}
	}
	return t, nil
}

// ClientToAM lets a client speak to a master.
type ClientToAM struct {
	Attempt id.AttemptID
	Client  string
}

// Marshal is the identifier's bytes.
func (t ClientToAM) Marshal() []byte {
	return marshal(&wire.ClientToAMTokenIdentifierProto{AppAttemptId: t.Attempt.Proto(), ClientName: proto.String(t.Client)})
}

// ParseClientToAM reads an identifier.
func ParseClientToAM(b []byte) (ClientToAM, error) {
	var p wire.ClientToAMTokenIdentifierProto
	err := unmarshal(b, &p)
	if err != nil {
		return ClientToAM{}, err
	}
	t := ClientToAM{Client: p.GetClientName()}
	if t.Attempt, err = id.AttemptFrom(p.GetAppAttemptId()); err != nil {
		return ClientToAM{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return t, nil
}

// marshal cannot fail: no field is required and the strings are checked where they come in. Fields are written in order of
// their numbers, as Java does.
func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("token: " + err.Error())
	}
	return b
}

func unmarshal(b []byte, m proto.Message) error {
	if len(b) > maxIdentifier {
		return fmt.Errorf("%w: %d bytes", ErrInvalid, len(b))
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
