package state

import (
	"fmt"
	"slices"
)

// Check verifies the invariants: every reference is to something that exists, every count and index is what a walk over
// the records finds, and nothing is kept that should have been dropped. It takes time in proportion to the state.
func (v *View) Check() error {
	for _, check := range []func(*View) error{checkRoles, checkAgents, checkFrameworks, checkJobs} {
		if err := check(v); err != nil {
			return fmt.Errorf("broken state: %w", err)
		}
	}
	return nil
}

// first keeps the first error of a walk, which it stops.
type first struct{ err error }

func (f *first) want(ok bool, format string, args ...any) bool {
	if !ok && f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
	return f.err == nil
}

func checkTable[E any](t *table[E], what string) error {
	n := 0
	var f first
	t.each(func(number uint32, _ *E) bool {
		n++
		return f.want(number != 0, "%s 0", what)
	})
	for i := uint32(1); i < t.free; i++ {
		f.want(t.get(i) != nil, "%s %d is free, not %d", what, i, t.free)
	}
	f.want(n == t.len, "%d %ss, %d counted", n, what, t.len)
	return f.err
}

func checkRoles(v *View) error {
	if err := checkTable(&v.roles, "role"); err != nil {
		return err
	}
	type counts struct{ active, refs int }
	found := make(map[uint32]counts, v.roles.len)
	count := func(n uint32, active bool) {
		c := found[n]
		c.refs++
		if active {
			c.active++
		}
		found[n] = c
	}
	v.roles.each(func(_ uint32, e *roleEntry) bool { count(e.record.Parent, !e.record.Removed); return true })
	v.frameworks.each(func(_ uint32, e *frameworkEntry) bool { count(e.record.Role, !e.record.HasEnded); return true })
	v.jobs.Ascend(func(r jobRef) bool { count(r.entry.record.Role, !r.entry.record.HasEnded()); return true })
	var f first
	named := 0
	v.roles.each(func(n uint32, e *roleEntry) bool {
		r, c := e.record, found[n]
		f.want(r.Number == n && r.Path != "" && r.Weight > 0, "role %d: number %d, path %q, weight %d", n, r.Number, r.Path, r.Weight)
		f.want(c.active == e.active && c.refs == e.refs, "role %s: %d active and %d refs, counted %+v", r.Path, e.active, e.refs, c)
		f.want(!r.Removed || (e.refs > 0 && e.active == 0), "role %s is removed and has %d active, %d refs", r.Path, e.active, e.refs)
		if !r.Removed {
			named++
			got, ok := v.rolePaths.get(r.Path)
			f.want(ok && got == n, "role %s is %d in the index, not %d", r.Path, got, n)
		}
		up, steps := r.Parent, 0
		for up != 0 && f.err == nil {
			parent := v.roles.get(up)
			steps++
			if f.want(parent != nil, "role %s: no parent %d", r.Path, up) && f.want(steps <= v.roles.len, "role %s is its own parent", r.Path) {
				up = parent.record.Parent
			}
		}
		return f.err == nil
	})
	f.want(v.rolePaths.tree.Len() == named, "%d role paths for %d roles", v.rolePaths.tree.Len(), named)
	return f.err
}

func checkAgents(v *View) error {
	if err := checkTable(&v.agents, "agent"); err != nil {
		return err
	}
	type counts struct{ live, records int }
	found := make([]counts, len(v.agents.dir)*tablePageSize)
	var f first
	v.frameworks.each(func(_ uint32, e *frameworkEntry) bool {
		return e.each(func(_ *page, r *record) bool {
			if v.agents.get(r.agent) == nil {
				return f.want(false, "task %s/%d: no agent %d", e.record.ID, r.sequence, r.agent)
			}
			found[r.agent].records++
			if r.status == 0 {
				found[r.agent].live++
			}
			return true
		})
	})
	named := 0
	v.agents.each(func(n uint32, e *agentEntry) bool {
		if f.err != nil {
			return false
		}
		a, c := e.record, found[n]
		f.want(a.Number == n && a.ID != "" && a.Status <= AgentGone, "agent %d: number %d, id %q, status %d", n, a.Number, a.ID, a.Status)
		f.want(c.records == e.records && c.live == len(e.tasks), "agent %s: %d live, %d records, counted %+v", a.ID, len(e.tasks), e.records, c)
		f.want(!a.Forgotten || (len(e.tasks) == 0 && e.records > 0), "agent %s is forgotten with %d live, %d records", a.ID, len(e.tasks), e.records)
		if !a.Forgotten {
			named++
			got, ok := v.agentIDs.get(a.ID)
			f.want(ok && got == n, "agent %s is %d in the index, not %d", a.ID, got, n)
		}
		for i, id := range e.tasks {
			t, ok := v.Task(id.Framework, id.Sequence)
			if !ok || !t.Live() || t.Agent != n || (i > 0 && compareTasks(e.tasks[i-1], id) >= 0) {
				return f.want(false, "agent %s: task %v is not on it, or out of order", a.ID, id)
			}
		}
		return f.err == nil
	})
	f.want(v.agentIDs.tree.Len() == named, "%d agent ids for %d agents", v.agentIDs.tree.Len(), named)
	return f.err
}

func checkFrameworks(v *View) error {
	if err := checkTable(&v.frameworks, "framework"); err != nil {
		return err
	}
	var f first
	live, records := 0, 0
	v.frameworks.each(func(n uint32, e *frameworkEntry) bool {
		r := e.record
		f.want(r.Number == n && r.ID != "", "framework %d: number %d, id %q", n, r.Number, r.ID)
		got, ok := v.frameworkIDs.get(r.ID)
		f.want(ok && got == n, "framework %s is %d in the index, not %d", r.ID, got, n)
		f.want(!r.HasEnded || e.records > 0 || r.Job != 0, "framework %s has ended and nothing names it", r.ID)
		j := v.jobEntry(r.Job)
		f.want(r.Job == 0 || (j != nil && slices.Contains(j.frameworks, n)), "framework %s is not in job %d", r.ID, r.Job)
		checkPages(&f, v, e, &live, &records)
		return f.err == nil
	})
	f.want(live == v.live && records == v.records, "%d live tasks of %d, counted %d of %d", v.live, v.records, live, records)
	f.want(v.frameworkIDs.tree.Len() == v.frameworks.len, "%d framework ids for %d", v.frameworkIDs.tree.Len(), v.frameworks.len)
	return f.err
}

func checkPages(f *first, v *View, e *frameworkEntry, live, records *int) {
	l, n, last := 0, 0, uint64(0)
	for _, ref := range e.pages {
		p := ref.page
		if !f.want(p.live > 0 && len(p.records) <= pageSize && p.records[0].sequence == ref.first, "framework %s: page of %d", e.record.ID, ref.first) {
			return
		}
		alive := 0
		for i := range p.records {
			r := &p.records[i]
			if r.sequence <= last {
				f.want(false, "framework %s: %d after %d", e.record.ID, r.sequence, last)
			}
			last = r.sequence
			if r.flags&flagDead != 0 {
				continue
			}
			alive++
			n++
			if r.status == 0 {
				l++
			}
			if r.status != 0 && (r.status < TaskFinished || r.status > TaskLost || r.job == 0) {
				f.want(false, "task %s/%d: status %d, job %d", e.record.ID, r.sequence, r.status, r.job)
			}
			if e.record.Job != 0 && r.job != e.record.Job {
				f.want(false, "task %s/%d is job %d's", e.record.ID, r.sequence, r.job)
			}
		}
		f.want(alive == p.live, "framework %s: page of %d has %d records, counted %d", e.record.ID, ref.first, p.live, alive)
	}
	f.want(l == e.live && n == e.records && last <= e.high, "framework %s: %d live, %d records up to %d, counted %d and %d up to %d",
		e.record.ID, e.live, e.records, e.high, l, n, last)
	*live += l
	*records += n
}

func checkJobs(v *View) error {
	type counts struct{ live, foreign int }
	found := make(map[uint32]counts, v.jobs.Len())
	v.frameworks.each(func(_ uint32, e *frameworkEntry) bool {
		return e.each(func(_ *page, r *record) bool {
			if r.job != 0 && (r.status == 0 || e.record.Job == 0) {
				c := found[r.job]
				if r.status == 0 {
					c.live++
				}
				if e.record.Job == 0 {
					c.foreign++
				}
				found[r.job] = c
			}
			return true
		})
	})
	var f first
	requests := 0
	v.jobs.Ascend(func(ref jobRef) bool {
		e := ref.entry
		j, c := e.record, found[e.record.Number]
		delete(found, j.Number)
		f.want(j.Number != 0 && j.Number <= v.lastJob && j.ID != "", "job %d: id %q, the last is %d", j.Number, j.ID, v.lastJob)
		f.want(j.Phase >= JobWaiting && j.Phase <= JobKilled, "job %s: phase %d", j.ID, j.Phase)
		got, ok := v.jobIDs.get(j.ID)
		f.want(ok && got == j.Number, "job %s is %d in the index, not %d", j.ID, got, j.Number)
		if j.Request != "" {
			requests++
			got, ok := v.requests.get(requestKey(j.User, j.Request))
			f.want(ok && got == j.Number, "request %s of %s is job %d in the index, not %d", j.Request, j.User, got, j.Number)
		}
		f.want(c.live == e.live && c.foreign == len(e.foreign), "job %s: %d live, %d foreign, counted %+v", j.ID, e.live, len(e.foreign), c)
		for i, id := range e.foreign {
			t, ok := v.Task(id.Framework, id.Sequence)
			f.want(ok && t.Job == j.Number, "job %s has no task %v", j.ID, id)
			f.want(i == 0 || compareTasks(e.foreign[i-1], id) < 0, "job %s: tasks out of order at %v", j.ID, id)
		}
		for i, n := range e.frameworks {
			r := v.Framework(n)
			f.want(r != nil && r.Job == j.Number && !slices.Contains(e.frameworks[:i], n), "job %s: framework %d", j.ID, n)
		}
		return f.err == nil
	})
	f.want(f.err != nil || len(found) == 0, "tasks of %d jobs that are not there", len(found))
	f.want(v.jobIDs.tree.Len() == v.jobs.Len(), "%d job ids for %d", v.jobIDs.tree.Len(), v.jobs.Len())
	f.want(v.requests.tree.Len() == requests, "%d requests, counted %d", v.requests.tree.Len(), requests)
	return f.err
}
