package resource

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrPorts is returned, wrapped, for text that is no set of ports.
var ErrPorts = errors.New("not a set of ports")

// PortSet is a set of ports: ranges in order that neither overlap nor touch. The zero value is empty. Its methods leave
// their receiver and arguments as they are.
type PortSet []PortRange

// NewPortSet makes a set of ranges in any order; a range that ends before it begins is empty.
func NewPortSet(ranges ...PortRange) PortSet {
	all := slices.Clone(ranges)
	all = slices.DeleteFunc(all, func(r PortRange) bool { return r.First > r.Last })
	slices.SortFunc(all, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	var set PortSet
	for _, r := range all {
		if n := len(set); n > 0 && int(r.First) <= int(set[n-1].Last)+1 {
			set[n-1].Last = max(set[n-1].Last, r.Last)
			continue
		}
		set = append(set, r)
	}
	return set
}

// Len is the number of ports.
func (s PortSet) Len() int {
	n := 0
	for _, r := range s {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// Has says whether port is in the set.
func (s PortSet) Has(port uint16) bool {
	for _, r := range s {
		if port >= r.First && port <= r.Last {
			return true
		}
	}
	return false
}

// Add is the union of s and t.
func (s PortSet) Add(t PortSet) PortSet {
	return NewPortSet(append(slices.Clone(s), t...)...)
}

// Sub is what is in s and not in t.
func (s PortSet) Sub(t PortSet) PortSet {
	var out PortSet
	for _, r := range s {
		from := int(r.First)
		for _, cut := range t {
			if int(cut.Last) < from {
				continue
			}
			if cut.First > r.Last {
				break
			}
			if int(cut.First) > from {
				out = append(out, PortRange{uint16(from), cut.First - 1})
			}
			from = int(cut.Last) + 1
		}
		if from <= int(r.Last) {
			out = append(out, PortRange{uint16(from), r.Last})
		}
	}
	return out
}

// Contains says whether all of t is in s.
func (s PortSet) Contains(t PortSet) bool { return len(t.Sub(s)) == 0 }

// Take parts s into its n lowest ports and the rest; ok is false, and nothing taken, if s has fewer.
func (s PortSet) Take(n int) (taken, rest PortSet, ok bool) {
	if n < 0 || n > s.Len() {
		return nil, s, false
	}
	for i, r := range s {
		size := int(r.Last) - int(r.First) + 1
		if n >= size {
			taken = append(taken, r)
			n -= size
			continue
		}
		if n > 0 {
			middle := uint16(int(r.First) + n)
			taken = append(taken, PortRange{r.First, middle - 1})
			r.First = middle
		}
		rest = append(append(rest, r), s[i+1:]...)
		break
	}
	return taken, rest, true
}

// String is s as ParsePorts reads it: "8080,31000-32000".
func (s PortSet) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(r.First)))
		if r.Last != r.First {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(int(r.Last)))
		}
	}
	return b.String()
}

// ParsePorts reads "8080,31000-32000". Empty text is the empty set; port 0 is none.
func ParsePorts(text string) (PortSet, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > 64<<10 {
		return nil, fmt.Errorf("%w: longer than 64 KiB", ErrPorts)
	}
	var all []PortRange
	for _, part := range strings.Split(text, ",") {
		first, last, dashed := strings.Cut(strings.TrimSpace(part), "-")
		if !dashed {
			last = first
		}
		a, err := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
		b, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
		if err != nil || err2 != nil || a == 0 || b < a {
			return nil, fmt.Errorf("%w: %q is neither a port nor a range such as 31000-32000", ErrPorts, strings.TrimSpace(part))
		}
		all = append(all, PortRange{uint16(a), uint16(b)})
	}
	return NewPortSet(all...), nil
}
