package id

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/wire"
)

// ErrInvalid is the kind of every error of this package.
var ErrInvalid = errors.New("invalid identifier")

// ApplicationID names an application: application_<timestamp>_<number>.
type ApplicationID struct {
	Timestamp int64 // when the resource manager started, in milliseconds
	Number    int32 // from 1
}

// AttemptID names a run of an application's master: appattempt_<timestamp>_<application>_<number>.
type AttemptID struct {
	Application ApplicationID
	Number      int32 // from 1
}

// ContainerID names a container: container_[e<epoch>_]<timestamp>_<application>_<attempt>_<number>. ID is the whole of the
// wire's number: the epoch in its upper 24 bits, the number in its lower 40.
type ContainerID struct {
	Attempt AttemptID
	ID      int64
}

// NodeID names an agent's ContainerManagement server.
type NodeID struct {
	Host string // a name or IPv4: clients cut at the first colon
	Port int32
}

const epochShift = 40

// NewContainer makes the id of a container; number must be below 2^40 and epoch below 2^23.
func NewContainer(a AttemptID, epoch int32, number int64) ContainerID {
	return ContainerID{Attempt: a, ID: int64(epoch)<<epochShift | number&(1<<epochShift-1)}
}

// Epoch counts the resource manager's restarts.
func (c ContainerID) Epoch() int32 { return int32(c.ID >> epochShift) }

// Number is the container's number within its attempt and epoch, from 1.
func (c ContainerID) Number() int64 { return c.ID & (1<<epochShift - 1) }

// Application is the container's application.
func (c ContainerID) Application() ApplicationID { return c.Attempt.Application }

func (a ApplicationID) String() string {
	return string(a.append(append(make([]byte, 0, 40), "application_"...)))
}

func (a ApplicationID) append(b []byte) []byte {
	b = strconv.AppendInt(b, a.Timestamp, 10)
	return pad(append(b, '_'), int64(a.Number), 4)
}

func (a AttemptID) String() string {
	b := append(make([]byte, 0, 48), "appattempt_"...)
	return string(pad(append(a.Application.append(b), '_'), int64(a.Number), 6))
}

func (c ContainerID) String() string {
	b := append(make([]byte, 0, 56), "container_"...)
	if e := c.Epoch(); e > 0 {
		b = append(pad(append(b, 'e'), int64(e), 2), '_')
	}
	b = c.Attempt.Application.append(b)
	b = pad(append(b, '_'), int64(c.Attempt.Number), 2)
	return string(pad(append(b, '_'), c.Number(), 6))
}

func (n NodeID) String() string { return n.Host + ":" + strconv.Itoa(int(n.Port)) }

// pad appends v with at least width digits.
func pad(b []byte, v int64, width int) []byte {
	if v < 0 {
		return strconv.AppendInt(b, v, 10)
	}
	limit := int64(1)
	for i := 1; i < width; i++ {
		limit *= 10
		if v < limit {
			for j := i; j < width; j++ {
				b = append(b, '0')
			}
			break
		}
	}
	return strconv.AppendInt(b, v, 10)
}

// IsZero says that there is no identifier.
func (a ApplicationID) IsZero() bool { return a == ApplicationID{} }

// IsZero says that there is no identifier.
func (a AttemptID) IsZero() bool { return a == AttemptID{} }

// IsZero says that there is no identifier.
func (c ContainerID) IsZero() bool { return c == ContainerID{} }

// Proto is the id as messages carry it.
func (a ApplicationID) Proto() *wire.ApplicationIdProto {
	return &wire.ApplicationIdProto{Id: proto.Int32(a.Number), ClusterTimestamp: proto.Int64(a.Timestamp)}
}

// Proto is the id as messages carry it.
func (a AttemptID) Proto() *wire.ApplicationAttemptIdProto {
	return &wire.ApplicationAttemptIdProto{ApplicationId: a.Application.Proto(), AttemptId: proto.Int32(a.Number)}
}

// Proto is the id as messages carry it: without the deprecated application id.
func (c ContainerID) Proto() *wire.ContainerIdProto {
	return &wire.ContainerIdProto{AppAttemptId: c.Attempt.Proto(), Id: proto.Int64(c.ID)}
}

// Proto is the id as messages carry it.
func (n NodeID) Proto() *wire.NodeIdProto {
	return &wire.NodeIdProto{Host: proto.String(n.Host), Port: proto.Int32(n.Port)}
}

// ApplicationFrom checks and takes an id from a message; nil is an error.
func ApplicationFrom(p *wire.ApplicationIdProto) (ApplicationID, error) {
	if p == nil || p.GetId() < 0 || p.GetClusterTimestamp() < 0 {
		return ApplicationID{}, fmt.Errorf("application: %w: %v", ErrInvalid, p)
	}
	return ApplicationID{Timestamp: p.GetClusterTimestamp(), Number: p.GetId()}, nil
}

// AttemptFrom checks and takes an id from a message; nil is an error.
func AttemptFrom(p *wire.ApplicationAttemptIdProto) (AttemptID, error) {
	a, err := ApplicationFrom(p.GetApplicationId())
	if err != nil || p.GetAttemptId() < 0 {
		return AttemptID{}, fmt.Errorf("attempt: %w: %v", ErrInvalid, p)
	}
	return AttemptID{Application: a, Number: p.GetAttemptId()}, nil
}

// ContainerFrom checks and takes an id from a message; nil is an error.
func ContainerFrom(p *wire.ContainerIdProto) (ContainerID, error) {
	a, err := AttemptFrom(p.GetAppAttemptId())
	if err != nil || p.GetId() < 0 {
		return ContainerID{}, fmt.Errorf("container: %w: %v", ErrInvalid, p)
	}
	return ContainerID{Attempt: a, ID: p.GetId()}, nil
}

// NodeFrom checks and takes an id from a message; nil is an error.
func NodeFrom(p *wire.NodeIdProto) (NodeID, error) {
	if p.GetHost() == "" || strings.ContainsRune(p.GetHost(), ':') || p.GetPort() < 0 || p.GetPort() > 65535 {
		return NodeID{}, fmt.Errorf("node: %w: %v", ErrInvalid, p)
	}
	return NodeID{Host: p.GetHost(), Port: p.GetPort()}, nil
}

// ParseApplication reads application_<timestamp>_<number>.
func ParseApplication(s string) (ApplicationID, error) {
	f := fields{rest: s}
	f.prefix("application_")
	a := f.application()
	if !f.done() {
		return ApplicationID{}, fmt.Errorf("application %.80q: %w", s, ErrInvalid)
	}
	return a, nil
}

// ParseAttempt reads appattempt_<timestamp>_<application>_<number>.
func ParseAttempt(s string) (AttemptID, error) {
	f := fields{rest: s}
	f.prefix("appattempt_")
	a := AttemptID{Application: f.application(), Number: int32(f.number(31))}
	if !f.done() {
		return AttemptID{}, fmt.Errorf("attempt %.80q: %w", s, ErrInvalid)
	}
	return a, nil
}

// ParseContainer reads container_[e<epoch>_]<timestamp>_<application>_<attempt>_<number>.
func ParseContainer(s string) (ContainerID, error) {
	f := fields{rest: s}
	f.prefix("container_")
	var epoch int64
	if strings.HasPrefix(f.rest, "e") {
		f.prefix("e")
		epoch = f.number(23)
	}
	a := AttemptID{Application: f.application(), Number: int32(f.number(31))}
	c := NewContainer(a, int32(epoch), f.number(epochShift))
	if !f.done() {
		return ContainerID{}, fmt.Errorf("container %.80q: %w", s, ErrInvalid)
	}
	return c, nil
}

// ParseNode reads host:port.
func ParseNode(s string) (NodeID, error) {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || host == "" || strings.ContainsRune(host, ':') {
		return NodeID{}, fmt.Errorf("node %.80q: %w: want host:port", s, ErrInvalid)
	}
	return NodeID{Host: host, Port: int32(n)}, nil
}

// fields reads numbers that underscores separate; bad stays true once something was wrong.
type fields struct {
	rest string
	bad  bool
	some bool // a number was read: an underscore comes first
}

func (f *fields) prefix(p string) {
	var ok bool
	if f.rest, ok = strings.CutPrefix(f.rest, p); !ok {
		f.bad = true
	}
	f.some = false
}

func (f *fields) application() ApplicationID {
	return ApplicationID{Timestamp: f.number(63), Number: int32(f.number(31))}
}

// number reads digits of a number below 2^bits.
func (f *fields) number(bits int) int64 {
	s := f.rest
	if f.some {
		var ok bool
		if s, ok = strings.CutPrefix(s, "_"); !ok {
			f.bad = true
		}
	}
	f.some = true
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(s[:n], 10, 63)
	if err != nil || v>>bits != 0 {
		f.bad = true
		return 0
	}
	f.rest = s[n:]
	return int64(v)
}

func (f *fields) done() bool { return !f.bad && f.rest == "" }
