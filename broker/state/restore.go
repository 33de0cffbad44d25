package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"fairway/broker/resource"
)

// ReadSnapshot reads what WriteTo wrote, to the end of r. It fails with ErrNewer at a version that this program does not
// know and with ErrCorrupt at anything that WriteTo does not write; what it returns has passed Check.
func ReadSnapshot(r io.Reader) (*State, error) {
	s, err := readSnapshot(bufio.NewReaderSize(r, blockSize))
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return s, nil
}

func readSnapshot(r *bufio.Reader) (*State, error) {
	var head [len(snapshotMagic) + 1]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, cutOff(err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: this is no snapshot", ErrCorrupt)
	}
	if v := head[len(snapshotMagic)]; v < firstSnapshot || v > snapshotVersion {
		if v == 0 {
			return nil, fmt.Errorf("%w: version 0", ErrCorrupt)
		}
		return nil, fmt.Errorf("snapshot version %d: %w", v, ErrNewer)
	}
	l := &loader{s: New(), version: head[len(snapshotMagic)]}
	for index := uint32(0); ; index++ {
		payload, err := l.block(r, index)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = l.records(payload)
		}
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", index, err)
		}
	}
	if !l.ended {
		return nil, fmt.Errorf("%w: cut off", ErrCorrupt)
	}
	if err := l.finish(); err != nil {
		return nil, err
	}
	if err := l.s.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return l.s, nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: cut off", ErrCorrupt)
	}
	return err
}

// loader builds a state from records.
type loader struct {
	s       *State
	version uint8
	buffer  []byte
	count   uint64
	last    uint8 // tag of the last record that was no task or shape
	number  uint32
	shapes  []resource.Vector
	f       *frameworkEntry // whose tasks follow
	task    record          // the one before
	ended   bool
}

func (l *loader) block(r io.Reader, index uint32) ([]byte, error) {
	var head [8]byte
	if n, err := io.ReadFull(r, head[:]); err != nil {
		if n == 0 && err == io.EOF {
			return nil, io.EOF
		}
		return nil, cutOff(err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n == 0 || n > maxBlock {
		return nil, fmt.Errorf("%w: length %d", ErrCorrupt, n)
	}
	// The length is not trusted before the bytes are there.
	l.buffer = l.buffer[:0]
	for len(l.buffer) < int(n) {
		step := min(int(n)-len(l.buffer), max(len(l.buffer), 1<<20))
		at := len(l.buffer)
		if cap(l.buffer) < at+step {
			l.buffer = append(make([]byte, 0, at+step), l.buffer...)
		}
		l.buffer = l.buffer[:at+step]
		if _, err := io.ReadFull(r, l.buffer[at:]); err != nil {
			return nil, cutOff(err)
		}
	}
	if blockSum(index, l.buffer) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: wrong checksum", ErrCorrupt)
	}
	return l.buffer, nil
}

func (l *loader) records(payload []byte) error {
	d := &decoder{b: payload}
	for len(d.b) > 0 {
		if l.ended {
			return fmt.Errorf("%w: records after the end", ErrCorrupt)
		}
		tag := d.byte()
		if err := l.record(d, tag); err != nil {
			return err
		}
		if d.failed {
			return fmt.Errorf("%w: record %d of kind %d", ErrCorrupt, l.count, tag)
		}
		l.count++
	}
	return nil
}

func (l *loader) record(d *decoder, tag uint8) error {
	switch {
	case tag == 0 || tag > tagEnd:
		return fmt.Errorf("%w: record of kind %d", ErrCorrupt, tag)
	case tag == tagShape:
		var v resource.Vector
		d.vector(&v)
		l.shapes = append(l.shapes, v)
		return nil
	case tag == tagTask:
		return l.loadTask(d)
	case tag < l.last || (tag == tagCluster) != (l.count == 0):
		return fmt.Errorf("%w: record of kind %d out of order", ErrCorrupt, tag)
	}
	if tag != l.last {
		l.last, l.number = tag, 0
	}
	switch tag {
	case tagCluster:
		return l.cluster(d)
	case tagEnd:
		l.ended = true
		if d.uint64() != l.count {
			return fmt.Errorf("%w: records are missing", ErrCorrupt)
		}
		return nil
	}
	number := d.uint32()
	if number <= l.number {
		return fmt.Errorf("%w: number %d out of order", ErrCorrupt, number)
	}
	// Dense numbers index arrays: a gap larger than the number of all records is no honest one.
	if tag != tagJob && number > 1<<24 {
		return fmt.Errorf("%w: number %d", ErrCorrupt, number)
	}
	l.number = number
	switch tag {
	case tagRole:
		l.role(d, number)
	case tagAgent:
		l.agent(d, number)
	case tagJob:
		l.loadJob(d, number)
	case tagFramework:
		l.framework(d, number)
	}
	return nil
}

func (l *loader) cluster(d *decoder) error {
	c := &l.s.cluster
	c.ID, c.Key, c.Epoch, c.Now = d.string(MaxName), d.body(MaxBody), d.uint64(), d.int64()
	for i := range c.Kinds {
		c.Kinds[i] = d.string(MaxName)
	}
	l.s.lastJob = d.uint32()
	return nil
}

func (l *loader) role(d *decoder, number uint32) {
	r := &Role{Number: number, Parent: d.uint32(), Path: d.string(MaxName), Weight: d.int64()}
	d.vector(&r.Guarantee)
	d.vector(&r.Limit)
	r.Config, r.Removed = d.bool(), d.bool()
	l.s.roles.set(l.s.owner, number, &roleEntry{owner: l.s.owner, record: r})
	if !r.Removed {
		l.s.rolePaths.put(r.Path, number)
	}
}

func (l *loader) agent(d *decoder, number uint32) {
	a := &Agent{Number: number, ID: d.string(MaxName), Host: d.string(MaxName), Info: d.body(MaxBody)}
	d.vector(&a.Total)
	a.Boot, a.Status, a.Why = d.string(MaxText), d.byte(), d.string(MaxText)
	a.Admitted, a.Changed = d.int64(), d.int64()
	flags := d.byte()
	a.Forgotten, a.Draining = flags&agentForgotten != 0, flags&agentDraining != 0
	if d.failed = d.failed || flags > agentForgotten|agentDraining || a.Draining && l.version < 3; a.Draining {
		a.DrainUntil, a.DrainSince = d.int64(), d.int64()
		d.failed = d.failed || a.DrainUntil < 0
	}
	l.s.agents.set(l.s.owner, number, &agentEntry{owner: l.s.owner, record: a})
	if !a.Forgotten {
		l.s.agentIDs.put(a.ID, number)
	}
}

func (l *loader) loadJob(d *decoder, number uint32) {
	j := &Job{Number: number, ID: d.string(MaxName), Role: d.uint32(), User: d.string(MaxName), Name: d.string(MaxText)}
	j.Request, j.Submission, j.Phase = d.string(MaxName), d.body(MaxBody), d.byte()
	j.Attempt, j.Framework, j.Message, j.Result = d.uint32(), d.uint32(), d.string(MaxText), d.body(MaxBody)
	j.KillAsked, j.Submitted, j.Started, j.Changed, j.Ended = d.bool(), d.int64(), d.int64(), d.int64(), d.int64()
	e := &jobEntry{owner: l.s.owner, record: j}
	for n := d.count(len(d.b)); n > 0; n-- {
		e.frameworks = append(e.frameworks, d.uint32())
	}
	l.s.jobs.ReplaceOrInsert(jobRef{number, e})
	l.s.jobIDs.put(j.ID, number)
	if j.Request != "" {
		l.s.requests.put(requestKey(j.User, j.Request), number)
	}
}

func (l *loader) framework(d *decoder, number uint32) {
	f := &Framework{Number: number, ID: d.string(MaxName), Role: d.uint32(), Job: d.uint32(), User: d.string(MaxName), Name: d.string(MaxText)}
	f.Classic, f.Failover, f.Attempt, f.Admitted, f.Ended = d.bool(), d.int64(), d.uint32(), d.int64(), d.int64()
	f.HasEnded, f.Saved, f.SavedVersion = d.bool(), d.body(MaxSaved), d.uint64()
	l.f, l.task = &frameworkEntry{owner: l.s.owner, record: f, high: d.uint64()}, record{}
	l.s.frameworks.set(l.s.owner, number, l.f)
	l.s.frameworkIDs.put(f.ID, number)
}

func (l *loader) loadTask(d *decoder) error {
	if l.f == nil || l.last != tagFramework {
		return fmt.Errorf("%w: a task without a framework", ErrCorrupt)
	}
	r := record{status: d.byte(), flags: d.byte()}
	delta := d.uint64()
	r.sequence = l.task.sequence + delta
	r.agent, r.job = d.uint32(), l.f.record.Job
	if r.job == 0 {
		r.job = d.uint32()
	}
	shape := d.uint32()
	name := d.string(MaxName)
	r.locality = d.byte()
	r.launched = l.task.launched + d.int64()
	var ports []resource.PortRange
	if r.flags&flagPorts != 0 {
		ports = d.ports()
	}
	var revision uint64
	if r.flags&flagResized != 0 {
		revision = d.uint64()
	}
	if r.status != 0 {
		r.reason, r.code, r.ended = d.byte(), d.int32(), r.launched+d.int64()
	}
	agent := l.s.agents.get(r.agent)
	switch {
	case delta == 0 || r.sequence < l.task.sequence || r.flags&^(flagCoordinator|flagPorts|flagResized) != 0 ||
		(r.flags&flagResized != 0) != (revision > 0) ||
		(r.flags&flagPorts != 0) != (len(ports) > 0) || portsFit(ports) != nil:
		return fmt.Errorf("%w: task %s/%d", ErrCorrupt, l.f.record.ID, r.sequence)
	case int(shape) >= len(l.shapes) || agent == nil:
		return fmt.Errorf("%w: task %s/%d of shape %d on agent %d", ErrCorrupt, l.f.record.ID, r.sequence, shape, r.agent)
	}
	l.task = r
	l.f.open(l.s.owner, r.sequence).add(&r, l.shapes[shape], name, ports, revision)
	l.f.records++
	l.s.records++
	agent.records++
	id := TaskID{l.f.record.Number, r.sequence}
	if r.status == 0 {
		l.f.live++
		l.s.live++
		agent.tasks = append(agent.tasks, id) // frameworks and sequences come in order
	}
	if r.job == 0 {
		return nil
	}
	job := l.s.jobEntry(r.job)
	if job == nil {
		return fmt.Errorf("%w: task %s/%d of job %d", ErrCorrupt, l.f.record.ID, r.sequence, r.job)
	}
	if r.status == 0 {
		job.live++
	}
	if l.f.record.Job == 0 {
		job.foreign = append(job.foreign, id)
	}
	return nil
}

// finish counts what refers to roles.
func (l *loader) finish() error {
	v := &l.s.View
	refs := func(n uint32, active bool) error {
		if n == 0 {
			return nil
		}
		e := v.roles.get(n)
		if e == nil {
			return fmt.Errorf("%w: no role %d", ErrCorrupt, n)
		}
		e.refs++
		if active {
			e.active++
		}
		return nil
	}
	var err error
	v.roles.each(func(_ uint32, e *roleEntry) bool { err = refs(e.record.Parent, !e.record.Removed); return err == nil })
	if err == nil {
		v.frameworks.each(func(_ uint32, e *frameworkEntry) bool {
			err = refs(e.record.Role, !e.record.HasEnded)
			return err == nil
		})
	}
	if err == nil {
		v.jobs.Ascend(func(r jobRef) bool {
			err = refs(r.entry.record.Role, !r.entry.record.HasEnded())
			return err == nil
		})
	}
	return err
}
