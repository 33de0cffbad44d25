package state

import (
	"encoding/binary"

	"fairway/broker/resource"
)

// A fact is written as: kind (1 byte), version of the kind's layout (1 byte), length of the fields (uvarint), fields.
// Fields follow each other in the order of the layout: whole numbers as varints (zigzag where they may be negative),
// strings and bodies as length (uvarint) and bytes, vectors as a byte with a bit for each slot that is not 0 followed by
// those slots, ports as their number and the ends of each. A layout never changes; a kind that needs other fields gets
// another version, and the old one stays readable.

type field uint8

const (
	fStatus field = iota
	fReason
	fFlag
	fCode
	fAttempt
	fAgent
	fFramework
	fRole
	fParent
	fJob
	fSequence
	fVersion
	fEpoch
	fWeight
	fDuration
	fNow
	fWall
	fResources
	fGuarantee
	fLimit
	fPorts
	fName
	fHost
	fUser
	fText
	fBody
)

// layouts[kind][version-1] is the order of a kind's fields. The last version is the one that is written.
var layouts = [...][][]field{
	ClusterCreated:    {{fNow, fName, fBody}},
	EpochBegun:        {{fNow, fEpoch}},
	KindNamed:         {{fNow, fCode, fName}},
	AgentAdmitted:     {{fNow, fAgent, fName, fHost, fBody, fResources, fText, fWall}},
	AgentUpdated:      {{fNow, fAgent, fHost, fBody, fResources, fText}},
	AgentChanged:      {{fNow, fAgent, fStatus, fWall, fText}},
	AgentForgotten:    {{fNow, fAgent}},
	RoleSet:           {{fNow, fRole, fParent, fName, fWeight, fGuarantee, fLimit, fFlag}},
	RoleRemoved:       {{fNow, fRole}},
	FrameworkAdmitted: {{fNow, fFramework, fName, fRole, fJob, fUser, fText, fFlag, fDuration, fAttempt, fWall}},
	FrameworkChanged:  {{fNow, fFramework, fJob, fDuration, fAttempt}, {fNow, fFramework, fJob, fDuration, fAttempt, fRole}},
	FrameworkEnded:    {{fNow, fFramework, fWall}},
	FrameworkSaved:    {{fNow, fFramework, fVersion, fBody}},
	JobSubmitted:      {{fNow, fJob, fName, fRole, fUser, fText, fBody, fWall, fHost}},
	JobChanged:        {{fNow, fJob, fStatus, fAttempt, fFramework, fText, fBody, fWall, fFlag}},
	JobForgotten:      {{fNow, fJob}},
	TaskLaunched:      {{fNow, fFramework, fSequence, fAgent, fJob, fResources, fPorts, fName, fCode, fFlag, fWall}},
	TaskEnded:         {{fNow, fFramework, fSequence, fStatus, fCode, fReason, fWall}},
	TaskResized:       {{fNow, fFramework, fSequence, fResources, fVersion}},
	AgentDrained:      {{fNow, fAgent, fFlag, fDuration, fWall}},
}

// AppendFact appends a fact's encoding to b. Fields that its kind does not have are left out. A kind that is unknown is
// a bug of the caller and panics.
func AppendFact(b []byte, f *Fact) []byte {
	versions := layouts[f.Kind]
	b = append(b, byte(f.Kind), byte(len(versions)))
	// The length goes before the fields; most are short, so that one byte is kept free for it and moved for others.
	at := len(b)
	b = append(b, 0)
	for _, field := range versions[len(versions)-1] {
		b = appendField(b, f, field)
	}
	n := len(b) - at - 1
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	l := binary.PutUvarint(length[:], uint64(n))
	b = append(b, length[1:l]...)
	copy(b[at+l:], b[at+1:at+1+n])
	copy(b[at:], length[:l])
	return b
}

func appendField(b []byte, f *Fact, field field) []byte {
	switch field {
	case fStatus:
		return append(b, f.Status)
	case fReason:
		return append(b, f.Reason)
	case fFlag:
		return appendBool(b, f.Flag)
	case fCode:
		return binary.AppendVarint(b, int64(f.Code))
	case fAttempt:
		return binary.AppendUvarint(b, uint64(f.Attempt))
	case fAgent:
		return binary.AppendUvarint(b, uint64(f.Agent))
	case fFramework:
		return binary.AppendUvarint(b, uint64(f.Framework))
	case fRole:
		return binary.AppendUvarint(b, uint64(f.Role))
	case fParent:
		return binary.AppendUvarint(b, uint64(f.Parent))
	case fJob:
		return binary.AppendUvarint(b, uint64(f.Job))
	case fSequence:
		return binary.AppendUvarint(b, f.Sequence)
	case fVersion:
		return binary.AppendUvarint(b, f.Version)
	case fEpoch:
		return binary.AppendUvarint(b, f.Epoch)
	case fWeight:
		return binary.AppendVarint(b, f.Weight)
	case fDuration:
		return binary.AppendVarint(b, f.Duration)
	case fNow:
		return binary.AppendVarint(b, f.Now)
	case fWall:
		return binary.AppendVarint(b, f.Wall)
	case fResources:
		return appendVector(b, &f.Resources)
	case fGuarantee:
		return appendVector(b, &f.Guarantee)
	case fLimit:
		return appendVector(b, &f.Limit)
	case fPorts:
		return appendPorts(b, f.Ports)
	case fName:
		return appendString(b, f.Name)
	case fHost:
		return appendString(b, f.Host)
	case fUser:
		return appendString(b, f.User)
	case fText:
		return appendString(b, f.Text)
	case fBody:
		return appendBody(b, f.Body)
	}
	panic("state: field without an encoding")
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendBody tells nil, written as 0, from empty, written as 1: JobChanged keeps its result on nil.
func appendBody(b, body []byte) []byte {
	if body == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(body))+1), body...)
}

func appendVector(b []byte, v *resource.Vector) []byte {
	at := len(b)
	b = append(b, 0)
	for i, x := range v {
		if x != 0 {
			b[at] |= 1 << i
			b = binary.AppendVarint(b, x)
		}
	}
	return b
}

func appendPorts(b []byte, ports []resource.PortRange) []byte {
	b = binary.AppendUvarint(b, uint64(len(ports)))
	for _, r := range ports {
		b = binary.AppendUvarint(b, uint64(r.First))
		b = binary.AppendUvarint(b, uint64(r.Last))
	}
	return b
}
