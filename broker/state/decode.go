package state

import (
	"encoding/binary"
	"fmt"
	"math"

	"fairway/broker/resource"
)

// DecodeFacts decodes a whole entry of facts. It fails with ErrNewer at a kind or version that this program does not
// know and with ErrCorrupt at anything that AppendFact does not write; nothing of b is kept.
func DecodeFacts(b []byte) ([]Fact, error) {
	var facts []Fact
	err := EachFact(b, func(f *Fact) error {
		facts = append(facts, *f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return facts, nil
}

// EachFact calls each with the facts of an entry in their order, until it fails. The fact is each's only until it
// returns; its strings and slices may be kept.
func EachFact(b []byte, each func(*Fact) error) error {
	for i, rest := 0, b; len(rest) > 0; i++ {
		var f Fact
		n, err := decodeFact(rest, &f)
		if err != nil {
			return fmt.Errorf("fact %d of an entry, at byte %d: %w", i, len(b)-len(rest), err)
		}
		if err := each(&f); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// decodeFact decodes the first fact of b and tells how long it is.
func decodeFact(b []byte, f *Fact) (int, error) {
	if len(b) < 3 {
		return 0, fmt.Errorf("%w: cut off", ErrCorrupt)
	}
	kind, version := b[0], b[1]
	if kind == 0 || version == 0 {
		return 0, fmt.Errorf("%w: kind %d, version %d", ErrCorrupt, kind, version)
	}
	if int(kind) >= len(layouts) {
		return 0, fmt.Errorf("kind %d: %w", kind, ErrNewer)
	}
	if int(version) > len(layouts[kind]) {
		return 0, fmt.Errorf("%v version %d: %w", Kind(kind), version, ErrNewer)
	}
	f.Kind = Kind(kind)
	n, l := binary.Uvarint(b[2:])
	if l <= 0 || (l > 1 && b[1+l] == 0) || n > uint64(len(b)-2-l) {
		return 0, fmt.Errorf("%w: %v is cut off", ErrCorrupt, f.Kind)
	}
	end := 2 + l + int(n)
	d := decoder{b: b[2+l : end]}
	for _, field := range layouts[kind][version-1] {
		d.field(f, field)
	}
	switch {
	case d.failed:
		return 0, fmt.Errorf("%w: %v", ErrCorrupt, f.Kind)
	case len(d.b) > 0:
		return 0, fmt.Errorf("%w: %v has %d bytes too many", ErrCorrupt, f.Kind, len(d.b))
	}
	if err := bounded(f); err != nil {
		return 0, fmt.Errorf("%w: %v: %w", ErrCorrupt, f.Kind, err)
	}
	return end, nil
}

// decoder reads fields; after a failure it yields zeros.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) field(f *Fact, field field) {
	switch field {
	case fStatus:
		f.Status = d.byte()
	case fReason:
		f.Reason = d.byte()
	case fFlag:
		f.Flag = d.bool()
	case fCode:
		f.Code = d.int32()
	case fAttempt:
		f.Attempt = d.uint32()
	case fAgent:
		f.Agent = d.uint32()
	case fFramework:
		f.Framework = d.uint32()
	case fRole:
		f.Role = d.uint32()
	case fParent:
		f.Parent = d.uint32()
	case fJob:
		f.Job = d.uint32()
	case fSequence:
		f.Sequence = d.uint64()
	case fVersion:
		f.Version = d.uint64()
	case fEpoch:
		f.Epoch = d.uint64()
	case fWeight:
		f.Weight = d.int64()
	case fDuration:
		f.Duration = d.int64()
	case fNow:
		f.Now = d.int64()
	case fWall:
		f.Wall = d.int64()
	case fResources:
		d.vector(&f.Resources)
	case fGuarantee:
		d.vector(&f.Guarantee)
	case fLimit:
		d.vector(&f.Limit)
	case fPorts:
		f.Ports = d.ports()
	case fName:
		f.Name = d.string(MaxName)
	case fHost:
		f.Host = d.string(MaxName)
	case fUser:
		f.User = d.string(MaxName)
	case fText:
		f.Text = d.string(MaxText)
	case fBody:
		f.Body = d.body(MaxBody)
	}
}

func (d *decoder) fail() { d.failed, d.b = true, nil }

func (d *decoder) byte() uint8 {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	x := d.b[0]
	d.b = d.b[1:]
	return x
}

func (d *decoder) bool() bool {
	x := d.byte()
	if x > 1 {
		d.fail()
	}
	return x == 1
}

func (d *decoder) uint64() uint64 {
	x, n := binary.Uvarint(d.b)
	// The last byte of a longer varint is never 0, so that a value has one encoding.
	if n <= 0 || (n > 1 && d.b[n-1] == 0) {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return x
}

func (d *decoder) int64() int64 {
	x := d.uint64()
	return int64(x>>1) ^ -int64(x&1)
}

func (d *decoder) uint32() uint32 {
	x := d.uint64()
	if x > math.MaxUint32 {
		d.fail()
		return 0
	}
	return uint32(x)
}

func (d *decoder) int32() int32 {
	x := d.int64()
	if x < math.MinInt32 || x > math.MaxInt32 {
		d.fail()
		return 0
	}
	return int32(x)
}

// count reads a number of at most most.
func (d *decoder) count(most int) int {
	x := d.uint64()
	if x > uint64(most) {
		d.fail()
		return 0
	}
	return int(x)
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return nil
	}
	x := d.b[:n]
	d.b = d.b[n:]
	return x
}

func (d *decoder) string(most int) string { return string(d.bytes(d.count(most))) }

func (d *decoder) body(most int) []byte {
	n := d.count(most + 1)
	if n == 0 {
		return nil
	}
	return append([]byte{}, d.bytes(n-1)...)
}

func (d *decoder) vector(v *resource.Vector) {
	set := d.byte()
	for i := range v {
		v[i] = 0
		if set&(1<<i) != 0 {
			if v[i] = d.int64(); v[i] == 0 {
				d.fail()
			}
		}
	}
}

func (d *decoder) ports() []resource.PortRange {
	n := d.count(MaxPorts)
	if n == 0 || n*2 > len(d.b) {
		if n > 0 {
			d.fail()
		}
		return nil
	}
	ports := make([]resource.PortRange, n)
	for i := range ports {
		ports[i] = resource.PortRange{First: uint16(d.count(math.MaxUint16)), Last: uint16(d.count(math.MaxUint16))}
	}
	return ports
}
