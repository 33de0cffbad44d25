package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"fairway/broker/resource"
)

// A snapshot is a header and blocks. The header is snapshotMagic and a version (1 byte). A block is the length of its
// payload and a CRC-32C of the block's index and payload (4 bytes each, little endian), then the payload: whole records,
// each a tag and its fields in the encoding of facts. Records come in the order of their tags, by ascending number, but
// tasks follow their framework; shapes are numbered as they come and precede their use. The last record counts all
// others, so that a snapshot that was cut off is found out. What can be derived (counts, indexes, lists of an agent's
// tasks) is not written. The same state gives the same bytes.
const (
	snapshotMagic   = "fwstate\n"
	snapshotVersion = 3         // since agents are drained
	firstSnapshot   = 1         // that can be read; it knows no revisions of tasks, and as 2 no draining
	blockSize       = 256 << 10 // a block is written once it has this many bytes
	maxBlock        = 32 << 20
)

const (
	tagCluster = iota + 1
	tagRole
	tagAgent
	tagJob
	tagFramework
	tagShape
	tagTask
	tagEnd
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func blockSum(index uint32, payload []byte) uint32 {
	var i [4]byte
	binary.LittleEndian.PutUint32(i[:], index)
	return crc32.Update(crc32.Checksum(i[:], castagnoli), castagnoli, payload)
}

// WriteTo writes the snapshot encoding of the view. It writes in pieces of some hundred KiB; w need not buffer.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	e := &snapshotWriter{w: w, shapes: map[resource.Vector]uint32{}}
	e.b = append(append(make([]byte, 0, blockSize*2), snapshotMagic...), snapshotVersion)
	e.write()
	e.start()
	e.view(v)
	if e.err != nil {
		return e.written, fmt.Errorf("write snapshot: %w", e.err)
	}
	return e.written, nil
}

type snapshotWriter struct {
	w       io.Writer
	b       []byte // the block, with room for its header
	index   uint32 // of the block
	count   uint64 // records and tasks
	shapes  map[resource.Vector]uint32
	written int64
	err     error
}

func (e *snapshotWriter) start() { e.b = append(e.b[:0], 0, 0, 0, 0, 0, 0, 0, 0) }

func (e *snapshotWriter) write() {
	if e.err == nil {
		var n int
		n, e.err = e.w.Write(e.b)
		e.written += int64(n)
	}
}

// record ends the record that was appended to the block.
func (e *snapshotWriter) record() {
	e.count++
	if len(e.b) >= blockSize {
		e.flush()
	}
}

func (e *snapshotWriter) flush() {
	if len(e.b) == 8 {
		return
	}
	binary.LittleEndian.PutUint32(e.b, uint32(len(e.b)-8))
	binary.LittleEndian.PutUint32(e.b[4:], blockSum(e.index, e.b[8:]))
	e.write()
	e.index++
	e.start()
}

func (e *snapshotWriter) view(v *View) {
	c := &v.cluster
	e.b = append(e.b, tagCluster)
	e.b = appendString(e.b, c.ID)
	e.b = appendBody(e.b, c.Key)
	e.b = binary.AppendUvarint(e.b, c.Epoch)
	e.b = binary.AppendVarint(e.b, c.Now)
	for _, name := range c.Kinds {
		e.b = appendString(e.b, name)
	}
	e.b = binary.AppendUvarint(e.b, uint64(v.lastJob))
	e.record()
	v.roles.each(func(_ uint32, r *roleEntry) bool { e.role(r.record); return e.err == nil })
	v.agents.each(func(_ uint32, a *agentEntry) bool { e.agent(a.record); return e.err == nil })
	v.jobs.Ascend(func(r jobRef) bool { e.job(r.entry); return e.err == nil })
	v.frameworks.each(func(_ uint32, f *frameworkEntry) bool { e.framework(f); return e.err == nil })
	e.b = append(e.b, tagEnd)
	e.b = binary.AppendUvarint(e.b, e.count)
	e.flush()
}

func (e *snapshotWriter) role(r *Role) {
	b := append(e.b, tagRole)
	b = binary.AppendUvarint(b, uint64(r.Number))
	b = binary.AppendUvarint(b, uint64(r.Parent))
	b = appendString(b, r.Path)
	b = binary.AppendVarint(b, r.Weight)
	b = appendVector(b, &r.Guarantee)
	b = appendVector(b, &r.Limit)
	b = appendBool(b, r.Config)
	e.b = appendBool(b, r.Removed)
	e.record()
}

// Flags of an agent; before version 3 there is only the first.
const (
	agentForgotten = 1 << iota
	agentDraining
)

func (e *snapshotWriter) agent(a *Agent) {
	b := append(e.b, tagAgent)
	b = binary.AppendUvarint(b, uint64(a.Number))
	b = appendString(b, a.ID)
	b = appendString(b, a.Host)
	b = appendBody(b, a.Info)
	b = appendVector(b, &a.Total)
	b = appendString(b, a.Boot)
	b = append(b, a.Status)
	b = appendString(b, a.Why)
	b = binary.AppendVarint(b, a.Admitted)
	b = binary.AppendVarint(b, a.Changed)
	var flags byte
	if a.Forgotten {
		flags |= agentForgotten
	}
	if a.Draining {
		flags |= agentDraining
	}
	if b = append(b, flags); a.Draining {
		b = binary.AppendVarint(b, a.DrainUntil)
		b = binary.AppendVarint(b, a.DrainSince)
	}
	e.b = b
	e.record()
}

func (e *snapshotWriter) job(entry *jobEntry) {
	j := entry.record
	b := append(e.b, tagJob)
	b = binary.AppendUvarint(b, uint64(j.Number))
	b = appendString(b, j.ID)
	b = binary.AppendUvarint(b, uint64(j.Role))
	b = appendString(b, j.User)
	b = appendString(b, j.Name)
	b = appendString(b, j.Request)
	b = appendBody(b, j.Submission)
	b = append(b, j.Phase)
	b = binary.AppendUvarint(b, uint64(j.Attempt))
	b = binary.AppendUvarint(b, uint64(j.Framework))
	b = appendString(b, j.Message)
	b = appendBody(b, j.Result)
	b = appendBool(b, j.KillAsked)
	b = binary.AppendVarint(b, j.Submitted)
	b = binary.AppendVarint(b, j.Started)
	b = binary.AppendVarint(b, j.Changed)
	b = binary.AppendVarint(b, j.Ended)
	b = binary.AppendUvarint(b, uint64(len(entry.frameworks)))
	for _, f := range entry.frameworks {
		b = binary.AppendUvarint(b, uint64(f))
	}
	e.b = b
	e.record()
}

func (e *snapshotWriter) framework(entry *frameworkEntry) {
	f := entry.record
	b := append(e.b, tagFramework)
	b = binary.AppendUvarint(b, uint64(f.Number))
	b = appendString(b, f.ID)
	b = binary.AppendUvarint(b, uint64(f.Role))
	b = binary.AppendUvarint(b, uint64(f.Job))
	b = appendString(b, f.User)
	b = appendString(b, f.Name)
	b = appendBool(b, f.Classic)
	b = binary.AppendVarint(b, f.Failover)
	b = binary.AppendUvarint(b, uint64(f.Attempt))
	b = binary.AppendVarint(b, f.Admitted)
	b = binary.AppendVarint(b, f.Ended)
	b = appendBool(b, f.HasEnded)
	b = appendBody(b, f.Saved)
	b = binary.AppendUvarint(b, f.SavedVersion)
	e.b = binary.AppendUvarint(b, entry.high)
	e.record()

	var last record
	entry.each(func(p *page, r *record) bool {
		e.task(p, r, &last, f.Job == 0)
		last = *r
		return e.err == nil
	})
}

// task writes a task relative to the one before it in its framework.
func (e *snapshotWriter) task(p *page, r, last *record, foreign bool) {
	shape := p.shapes[r.shape]
	number, ok := e.shapes[shape]
	if !ok {
		number = uint32(len(e.shapes))
		e.shapes[shape] = number
		e.b = appendVector(append(e.b, tagShape), &shape)
		e.record()
	}
	ports := p.portsOf(r)
	b := append(e.b, tagTask, r.status, r.flags)
	b = binary.AppendUvarint(b, r.sequence-last.sequence)
	b = binary.AppendUvarint(b, uint64(r.agent))
	if foreign {
		b = binary.AppendUvarint(b, uint64(r.job))
	}
	b = binary.AppendUvarint(b, uint64(number))
	b = appendString(b, p.name(r))
	b = append(b, r.locality)
	b = binary.AppendVarint(b, r.launched-last.launched)
	if r.flags&flagPorts != 0 {
		b = appendPorts(b, ports)
	}
	if r.flags&flagResized != 0 {
		b = binary.AppendUvarint(b, p.revisionOf(r))
	}
	if r.status != 0 {
		b = append(b, r.reason)
		b = binary.AppendVarint(b, int64(r.code))
		b = binary.AppendVarint(b, r.ended-r.launched)
	}
	e.b = b
	e.record()
}
