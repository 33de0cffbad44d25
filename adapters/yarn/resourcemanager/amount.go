package resourcemanager

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

const (
	memoryName = "memory-mb"
	vcoresName = "vcores"
	gpuName    = "yarn.io/gpu"

	mib         = 1 << 20
	maxMemory   = int64(1) << 30 // MiB of one container or agent
	maxVCores   = 1 << 20
	maxFurther  = 32 // further kinds of resources in one capability
	maxKindName = 128
)

// amount is a capability: memory in MiB, vcores, and further kinds written as "name=count" lines in order, so that equal
// capabilities are equal values.
type amount struct {
	memory  int64
	vcores  int32
	further string
}

var unitFactor = map[string]int64{"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

// amountFrom takes a capability from a message. Memory and vcores come from the fields of their own, as Java reads them.
func amountFrom(p *wire.ResourceProto) (amount, error) {
	a := amount{memory: p.GetMemory(), vcores: p.GetVirtualCores()}
	if a.memory < 0 || a.memory > maxMemory || a.vcores < 0 || a.vcores > maxVCores || len(p.GetResourceValueMap()) > maxFurther {
		return a, fmt.Errorf("<memory:%d, vCores:%d> with %d kinds is no capability", a.memory, a.vcores, len(p.GetResourceValueMap()))
	}
	var lines []string
	for _, r := range p.GetResourceValueMap() {
		name, n := r.GetKey(), r.GetValue()
		if name == memoryName || name == vcoresName || n == 0 {
			continue
		}
		f, ok := unitFactor[r.GetUnits()]
		if !ok || n < 0 || n > math.MaxInt64/4/f || name == "" || len(name) > maxKindName || strings.ContainsAny(name, "=\n") {
			return a, fmt.Errorf("resource %.64q of %d %.8q", name, n, r.GetUnits())
		}
		lines = append(lines, name+"="+strconv.FormatInt(n*f, 10))
	}
	slices.Sort(lines)
	a.further = strings.Join(lines, "\n")
	return a, nil
}

// each calls f for each further kind.
func (a amount) each(f func(name string, n int64)) {
	if a.further == "" {
		return
	}
	for line := range strings.SplitSeq(a.further, "\n") {
		name, count, _ := strings.Cut(line, "=")
		n, _ := strconv.ParseInt(count, 10, 64) // written by us
		f(name, n)
	}
}

// proto is the capability as messages carry it.
func (a amount) proto() *wire.ResourceProto { return token.Resource(a.memory, a.vcores, a.rows()...) }

func (a amount) rows() (out []*wire.ResourceInformationProto) {
	a.each(func(name string, n int64) {
		out = append(out, &wire.ResourceInformationProto{Key: proto.String(name), Value: proto.Int64(n), Units: proto.String(""), Type: wire.ResourceTypesProto_COUNTABLE.Enum()})
	})
	return out
}

// shape is the capability as the broker counts it.
func (a amount) shape() *v1.Resources {
	r := &v1.Resources{MemoryBytes: a.memory * mib, CpuMilli: int64(a.vcores) * 1000}
	a.each(func(name string, n int64) {
		if name == gpuName {
			r.Gpus = n
			return
		}
		if r.Named == nil {
			r.Named = map[string]int64{}
		}
		r.Named[name] = n
	})
	return r
}

// amountOf is what the broker counts, in YARN's units, rounded down.
func amountOf(r *v1.Resources) amount {
	a := amount{memory: r.GetMemoryBytes() / mib, vcores: int32(min(r.GetCpuMilli()/1000, maxVCores))}
	var lines []string
	if n := r.GetGpus(); n > 0 {
		lines = append(lines, gpuName+"="+strconv.FormatInt(n, 10))
	}
	for name, n := range r.GetNamed() {
		if n > 0 {
			lines = append(lines, name+"="+strconv.FormatInt(n, 10))
		}
	}
	slices.Sort(lines)
	a.further = strings.Join(lines, "\n")
	return a
}

// String is the capability as YARN's texts show it.
func (a amount) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<memory:%d, vCores:%d", a.memory, a.vcores)
	a.each(func(name string, n int64) { fmt.Fprintf(&b, ", %s: %d", name, n) })
	return b.String() + ">"
}

func (a amount) count(name string) (n int64) {
	a.each(func(k string, v int64) {
		if k == name {
			n = v
		}
	})
	return n
}

// exceeds names the first kind of which a has more than most.
func (a amount) exceeds(most amount) string {
	switch {
	case a.memory > most.memory:
		return memoryName
	case a.vcores > most.vcores:
		return vcoresName
	}
	over := ""
	a.each(func(name string, n int64) {
		if over == "" && n > most.count(name) {
			over = name
		}
	})
	return over
}

// normal rounds a capability up to what a container may have.
func (a amount) normal(minimum int64) amount {
	a.memory = max((a.memory+minimum-1)/minimum*minimum, minimum)
	a.vcores = max(a.vcores, 1)
	return a
}
