package state

import (
	"slices"
	"sort"
)

// Entries hold a record and what the state keeps beside it. They are owned as pages are.

type agentEntry struct {
	owner   *owner
	record  *Agent
	tasks   []TaskID // live, ascending
	records int      // task records that name the agent, live or ended
}

type roleEntry struct {
	owner  *owner
	record *Role
	active int // children that are not removed, frameworks and jobs that have not ended
	refs   int // children, frameworks and jobs
}

type frameworkEntry struct {
	owner   *owner
	record  *Framework
	high    uint64 // high-water mark
	live    int
	records int // tasks, live or ended
	pages   []pageRef
}

type jobRef struct {
	number uint32
	entry  *jobEntry
}

type jobEntry struct {
	owner      *owner
	record     *Job
	live       int
	frameworks []uint32 // whose Job this is; all their tasks are the job's
	foreign    []TaskID // the job's tasks of frameworks without a job, such as the launcher
}

func (e *agentEntry) clone(o *owner) *agentEntry {
	c := *e
	c.owner, c.tasks = o, slices.Clone(e.tasks)
	return &c
}

func (e *roleEntry) clone(o *owner) *roleEntry {
	c := *e
	c.owner = o
	return &c
}

func (e *frameworkEntry) clone(o *owner) *frameworkEntry {
	c := *e
	c.owner, c.pages = o, slices.Clone(e.pages)
	return &c
}

func (e *jobEntry) clone(o *owner) *jobEntry {
	c := *e
	c.owner, c.frameworks, c.foreign = o, slices.Clone(e.frameworks), slices.Clone(e.foreign)
	return &c
}

func compareTasks(a, b TaskID) int {
	switch {
	case a.Framework != b.Framework:
		if a.Framework < b.Framework {
			return -1
		}
		return 1
	case a.Sequence < b.Sequence:
		return -1
	case a.Sequence > b.Sequence:
		return 1
	}
	return 0
}

func (e *agentEntry) add(id TaskID) {
	i, _ := slices.BinarySearchFunc(e.tasks, id, compareTasks)
	e.tasks = slices.Insert(e.tasks, i, id)
}

func (e *agentEntry) remove(id TaskID) {
	if i, ok := slices.BinarySearchFunc(e.tasks, id, compareTasks); ok {
		e.tasks = slices.Delete(e.tasks, i, i+1)
	}
}

// locate finds a task's page and record; (-1, -1) where there is none.
func (e *frameworkEntry) locate(sequence uint64) (int, int) {
	p := sort.Search(len(e.pages), func(i int) bool { return e.pages[i].first > sequence }) - 1
	if p < 0 {
		return -1, -1
	}
	if i := e.pages[p].page.find(sequence); i >= 0 {
		return p, i
	}
	return -1, -1
}

// page is the page at index p, to be written.
func (e *frameworkEntry) page(o *owner, p int) *page {
	if e.pages[p].page.owner != o {
		e.pages[p].page = e.pages[p].page.clone(o)
	}
	return e.pages[p].page
}

// open is the page that the next record goes to.
func (e *frameworkEntry) open(o *owner, sequence uint64) *page {
	if n := len(e.pages); n > 0 && len(e.pages[n-1].page.records) < pageSize {
		return e.page(o, n-1)
	}
	p := newPage(o)
	e.pages = append(e.pages, pageRef{sequence, p})
	return p
}

// drop forgets the record at (p, i).
func (e *frameworkEntry) drop(o *owner, p, i int) {
	page := e.page(o, p)
	page.records[i].flags |= flagDead
	page.live--
	e.records--
	switch {
	case page.live == 0:
		e.pages = slices.Delete(e.pages, p, p+1)
	case page.live <= len(page.records)/2:
		c := page.compact(o)
		e.pages[p] = pageRef{c.records[0].sequence, c}
	}
}

// each calls f with every task by ascending sequence.
func (e *frameworkEntry) each(f func(*page, *record) bool) bool {
	for _, ref := range e.pages {
		for i := range ref.page.records {
			if r := &ref.page.records[i]; r.flags&flagDead == 0 && !f(ref.page, r) {
				return false
			}
		}
	}
	return true
}
