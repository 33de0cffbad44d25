package state

import (
	"fmt"
	"slices"
)

func (s *State) taskLaunched(f *Fact) error {
	e, err := s.liveFramework(f.Framework)
	if err != nil {
		return err
	}
	if f.Sequence <= e.high {
		return fmt.Errorf("%w: %w: task %s/%d, the highest was %d", ErrContradiction, ErrRepeated, e.record.ID, f.Sequence, e.high)
	}
	a, err := s.knownAgent(f.Agent)
	if err != nil {
		return err
	}
	if a.record.Status == AgentGone {
		return contradicts("agent %s is gone", a.record.ID)
	}
	job := e.record.Job
	if job == 0 {
		job = f.Job
	}
	if f.Job != 0 && f.Job != job {
		return contradicts("task of job %d by framework %s of job %d", f.Job, e.record.ID, job)
	}
	if err := s.jobUsable(job); err != nil {
		return err
	}
	if f.Code < 0 || f.Code > 255 {
		return contradicts("locality %d", f.Code)
	}

	id := TaskID{f.Framework, f.Sequence}
	r := record{sequence: f.Sequence, launched: f.Wall, agent: f.Agent, job: job, locality: uint8(f.Code)}
	if f.Flag {
		r.flags = flagCoordinator
	}
	e = s.framework(f.Framework)
	e.open(s.owner, f.Sequence).add(&r, f.Resources, f.Name, f.Ports, 0)
	e.high = f.Sequence
	e.live++
	e.records++
	a = s.agent(f.Agent)
	a.add(id)
	a.records++
	if job != 0 {
		j := s.job(job)
		j.live++
		if e.record.Job == 0 {
			i, _ := slices.BinarySearchFunc(j.foreign, id, compareTasks)
			j.foreign = slices.Insert(j.foreign, i, id)
		}
	}
	s.live++
	s.records++
	return nil
}

func (s *State) taskEnded(f *Fact) error {
	e := s.frameworks.get(f.Framework)
	if e == nil {
		return contradicts("no framework %d", f.Framework)
	}
	p, i := e.locate(f.Sequence)
	switch {
	case p < 0:
		return contradicts("no task %s/%d", e.record.ID, f.Sequence)
	case e.pages[p].page.records[i].status != 0:
		return contradicts("task %s/%d has ended", e.record.ID, f.Sequence)
	case f.Status < TaskFinished || f.Status > TaskLost:
		return contradicts("final state %d", f.Status)
	}
	e = s.framework(f.Framework)
	r := &e.page(s.owner, p).records[i]
	r.status, r.code, r.reason, r.ended = f.Status, f.Code, f.Reason, f.Wall
	agent, job := r.agent, r.job
	e.live--
	s.live--
	s.agent(agent).remove(TaskID{f.Framework, f.Sequence})
	if job != 0 {
		s.job(job).live--
		return nil
	}
	// Nobody will ask for it by a job, so nothing would ever forget it.
	e.drop(s.owner, p, i)
	s.recordGone(agent)
	s.frameworkSweep(f.Framework)
	return nil
}

func (s *State) taskResized(f *Fact) error {
	e := s.frameworks.get(f.Framework)
	if e == nil {
		return contradicts("no framework %d", f.Framework)
	}
	p, i := e.locate(f.Sequence)
	if p < 0 {
		return contradicts("no task %s/%d", e.record.ID, f.Sequence)
	}
	switch page := e.pages[p].page; {
	case page.records[i].status != 0:
		return contradicts("task %s/%d has ended", e.record.ID, f.Sequence)
	case f.Version != page.revisionOf(&page.records[i])+1:
		return contradicts("revision %d of task %s/%d after %d", f.Version, e.record.ID, f.Sequence, page.revisionOf(&page.records[i]))
	}
	s.framework(f.Framework).page(s.owner, p).resize(i, f.Resources, f.Version)
	return nil
}
