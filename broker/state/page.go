package state

import (
	"slices"
	"sort"
	"strings"

	"fairway/broker/resource"
)

// pageSize is the number of task records in a page. It trades the cost of the first write to a page after a snapshot
// (some 10 KB copied) against the number of pages.
const pageSize = 128

// record is a task without what its page holds for it: shape, name and ports.
type record struct {
	sequence uint64
	launched int64
	ended    int64
	agent    uint32
	job      uint32
	name     uint32 // offset into the page's names
	code     int32
	length   uint16 // of the name
	shape    uint8  // index into the page's shapes
	locality uint8
	status   uint8
	reason   uint8
	flags    uint8
}

const (
	flagCoordinator = 1 << iota
	flagPorts       // the page has ports for it
	flagDead        // forgotten; the record waits for its page to be compacted
	flagResized     // the page has a revision for it
)

// page holds consecutive task records of one framework, by ascending sequence. Records hold no pointers, so a million
// tasks cost the garbage collector some thousands of objects.
type page struct {
	owner   *owner
	live    int // records that are not dead
	records []record
	shapes  []resource.Vector
	names   *strings.Builder // only grows, so names may be shared without copying
	ports   []taskPorts
	revised []taskRevision
}

type taskRevision struct {
	sequence uint64
	revision uint64
}

type taskPorts struct {
	sequence uint64
	ranges   []resource.PortRange
}

// pageRef repeats the first sequence of a page, so that a search touches the page it wants only.
type pageRef struct {
	first uint64
	page  *page
}

func newPage(o *owner) *page { return &page{owner: o, names: new(strings.Builder)} }

func (p *page) clone(o *owner) *page {
	c := &page{owner: o, live: p.live, shapes: slices.Clone(p.shapes), ports: slices.Clone(p.ports), revised: slices.Clone(p.revised), names: new(strings.Builder)}
	c.records = make([]record, len(p.records), max(len(p.records), pageSize))
	copy(c.records, p.records)
	c.names.WriteString(p.names.String())
	return c
}

// compact is a page of the records that are not dead.
func (p *page) compact(o *owner) *page {
	c := newPage(o)
	for i := range p.records {
		if r := &p.records[i]; r.flags&flagDead == 0 {
			c.add(r, p.shapes[r.shape], p.name(r), p.portsOf(r), p.revisionOf(r))
		}
	}
	return c
}

func (p *page) add(r *record, shape resource.Vector, name string, ports []resource.PortRange, revision uint64) {
	n := *r
	n.name, n.length = uint32(p.names.Len()), uint16(len(name))
	p.names.WriteString(name)
	i := len(p.shapes) - 1
	for i >= 0 && p.shapes[i] != shape {
		i--
	}
	if i < 0 {
		i = len(p.shapes)
		p.shapes = append(p.shapes, shape)
	}
	n.shape = uint8(i)
	n.flags &^= flagPorts | flagResized
	if revision > 0 {
		n.flags |= flagResized
		p.revised = append(p.revised, taskRevision{n.sequence, revision})
	}
	if len(ports) > 0 {
		n.flags |= flagPorts
		p.ports = append(p.ports, taskPorts{n.sequence, ports})
	}
	p.records = append(p.records, n)
	p.live++
}

// resize gives the record at index i another shape. Tasks are resized any number of times, so a shape that no record has any
// more gives its place to a new one.
func (p *page) resize(i int, shape resource.Vector, revision uint64) {
	r := &p.records[i]
	at := slices.Index(p.shapes, shape)
	if at < 0 {
		var used [pageSize + 1]bool
		for k := range p.records {
			if s := p.records[k].shape; k != i && s <= pageSize {
				used[s] = true
			}
		}
		at = slices.Index(used[:], false) // there are more places than records
		if at < len(p.shapes) {
			p.shapes[at] = shape
		} else {
			at = len(p.shapes)
			p.shapes = append(p.shapes, shape)
		}
	}
	r.shape = uint8(at)
	if r.flags&flagResized == 0 {
		r.flags |= flagResized
		p.revised = append(p.revised, taskRevision{r.sequence, revision})
		return
	}
	for k := range p.revised {
		if p.revised[k].sequence == r.sequence {
			p.revised[k].revision = revision
		}
	}
}

func (p *page) revisionOf(r *record) uint64 {
	if r.flags&flagResized != 0 {
		for i := range p.revised {
			if p.revised[i].sequence == r.sequence {
				return p.revised[i].revision
			}
		}
	}
	return 0
}

func (p *page) name(r *record) string { return p.names.String()[r.name : r.name+uint32(r.length)] }

func (p *page) portsOf(r *record) []resource.PortRange {
	if r.flags&flagPorts != 0 {
		for i := range p.ports {
			if p.ports[i].sequence == r.sequence {
				return p.ports[i].ranges
			}
		}
	}
	return nil
}

func (p *page) task(framework uint32, r *record) Task {
	return Task{
		TaskID: TaskID{framework, r.sequence}, Agent: r.agent, Job: r.job, Resources: p.shapes[r.shape], Revision: p.revisionOf(r), Ports: p.portsOf(r),
		Name: p.name(r), Locality: r.locality, Coordinator: r.flags&flagCoordinator != 0, Launched: r.launched,
		Status: r.status, Reason: r.reason, Code: r.code, Ended: r.ended,
	}
}

// find is the index of a record that is not dead, or -1.
func (p *page) find(sequence uint64) int {
	i := -1
	// Sequences are mostly dense, so the first guess is mostly right.
	if d := sequence - p.records[0].sequence; d < uint64(len(p.records)) && p.records[d].sequence == sequence {
		i = int(d)
	} else if k := sort.Search(len(p.records), func(k int) bool { return p.records[k].sequence >= sequence }); k < len(p.records) && p.records[k].sequence == sequence {
		i = k
	}
	if i >= 0 && p.records[i].flags&flagDead != 0 {
		return -1
	}
	return i
}
