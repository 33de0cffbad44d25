package shuffle

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/mapreduce/spec"
)

// ErrIncomplete says that no more outputs will come though some are missing.
var ErrIncomplete = errors.New("map outputs are missing")

// Request is what one reduce wants.
type Request struct {
	Maps    int                   // so many outputs, of different maps, are waited for
	Outputs <-chan spec.MapOutput // see task.ReduceArgs
	Memory  int64                 // bytes for outputs in memory and the buffers of a merge; at least 1 MiB is taken
	Folder  string                // for what does not fit
	// Failed is told of an output that could not be had after all tries, Again of a try that is not the last; nil: nobody.
	Failed   func(spec.MapOutput, error)
	Again    func(spec.MapOutput, error)
	Progress func(fetched int)
	Bytes    *atomic.Int64 // counts what was fetched; nil: not counted
	Spilled  *atomic.Int64 // counts records written to disk; nil: not counted
}

// Gather fetches the outputs of all maps. The Set must be closed.
func (c *Client) Gather(ctx context.Context, r Request) (*Set, error) {
	if r.Bytes == nil {
		r.Bytes = new(atomic.Int64)
	}
	if r.Spilled == nil {
		r.Spilled = new(atomic.Int64)
	}
	r.Memory = max(r.Memory, 1<<20)
	// An error of one fetch is not an error of all, so the group's own context is of no use here.
	fetches, stop := context.WithCancel(ctx)
	g := &gathering{
		c: c, r: &r, ctx: fetches, maps: make(map[int]*source), results: make(chan result),
		set: &Set{folder: r.Folder, memory: r.Memory, spilled: r.Spilled},
	}
	err := g.loop()
	stop()
	for g.inFlight > 0 {
		res := <-g.results
		g.inFlight--
		if res.segment != nil {
			g.set.segments = append(g.set.segments, res.segment)
		}
	}
	err = errors.Join(err, g.workers.Wait())
	if err != nil {
		return nil, errors.Join(err, g.set.Close())
	}
	return g.set, nil
}

// gathering is the state of one Gather; its loop's goroutine owns all of it.
type gathering struct {
	c        *Client
	r        *Request
	ctx      context.Context
	set      *Set
	maps     map[int]*source
	queue    []*source
	workers  errgroup.Group
	results  chan result
	inFlight int
	memory   int64 // in flight to memory
	fetched  int
	closed   bool
}

// source is the output of one map.
type source struct {
	out     spec.MapOutput
	newer   *spec.MapOutput // came while out was being fetched
	state   state
	tries   int
	ready   time.Time // not before
	cancel  context.CancelFunc
	memory  bool
	lastErr error
}

type state int

const (
	queued state = iota
	fetching
	fetched
	failed
)

type result struct {
	source  *source
	segment *Segment
	err     error
}

func (g *gathering) loop() error {
	outputs := g.r.Outputs
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for g.fetched < g.r.Maps {
		wait, err := g.start()
		if err != nil {
			return err
		}
		if g.closed && g.inFlight == 0 && len(g.queue) == 0 {
			return g.incomplete()
		}
		timer.Reset(wait)
		select {
		case <-g.ctx.Done():
			return context.Cause(g.ctx)
		case out, ok := <-outputs:
			if !ok {
				outputs, g.closed = nil, true
				continue
			}
			g.offer(out)
		case res := <-g.results:
			g.inFlight--
			g.finish(res)
		case <-timer.C:
		}
	}
	return nil
}

func (g *gathering) incomplete() error {
	for _, s := range g.maps {
		if s.state == failed {
			return fmt.Errorf("%w: %d of %d, among them that of map %d: %w", ErrIncomplete,
				g.r.Maps-g.fetched, g.r.Maps, s.out.Map, s.lastErr)
		}
	}
	return fmt.Errorf("%w: %d of %d were announced", ErrIncomplete, len(g.maps), g.r.Maps)
}

// offer takes the news of an output.
func (g *gathering) offer(out spec.MapOutput) {
	s := g.maps[out.Map]
	switch {
	case s == nil:
		s = &source{out: out}
		g.maps[out.Map] = s
	case s.state == fetched || out.Attempt < s.out.Attempt:
		return
	case s.state == queued:
		s.out, s.tries = out, 0
		return
	case s.state == fetching:
		if out != s.out {
			s.newer = &out
			s.cancel() // the old one is likely to be gone
		}
		return
	default:
		s.out, s.tries, s.ready = out, 0, time.Time{}
	}
	if out.Length == 0 {
		s.state = fetched
		g.done()
		return
	}
	s.state = queued
	g.queue = append(g.queue, s)
}

func (g *gathering) done() {
	g.fetched++
	if g.r.Progress != nil {
		g.r.Progress(g.fetched)
	}
}

// start starts fetches that may run now and returns how long to wait until another may.
func (g *gathering) start() (time.Duration, error) {
	wait := time.Hour
	now := time.Now()
	rest := g.queue[:0]
	for i, s := range g.queue {
		switch {
		case g.inFlight >= g.c.cfg.Parallel:
			rest = append(rest, g.queue[i:]...)
			g.queue = rest
			return wait, nil
		case s.ready.After(now):
			wait = min(wait, s.ready.Sub(now))
			rest = append(rest, s)
			continue
		}
		fits, err := g.reserve(s)
		if err != nil {
			return 0, err
		}
		if !fits {
			rest = append(rest, s)
			continue
		}
		g.fetch(s)
	}
	g.queue = rest
	return wait, nil
}

// small outputs go to memory even if others must be merged to disk for them: a file for each would be too many.
const small = 1 << 20

// reserve finds the place for an output: memory if there is room for it, else the disk. It reports false if a small
// one must wait for others that are on their way.
func (g *gathering) reserve(s *source) (bool, error) {
	// A quarter of the memory is left for the buffers of a merge.
	room := g.r.Memory*3/4 - g.set.memoryUsed - g.memory
	s.memory = s.out.Length <= room
	if !s.memory && s.out.Length <= min(small, g.r.Memory/8) {
		if g.memory > 0 {
			return false, nil
		}
		if err := g.set.spillMemory(g.ctx); err != nil {
			return false, err
		}
		s.memory = true
	}
	if s.memory {
		g.memory += s.out.Length
	}
	return true, nil
}

func (g *gathering) fetch(s *source) {
	ctx, cancel := context.WithCancel(g.ctx)
	s.state, s.cancel = fetching, cancel
	g.inFlight++
	out, tries, memory := s.out, s.tries, s.memory
	g.workers.Go(func() error {
		defer cancel()
		seg, err := g.c.get(ctx, out, tries, memory, g.r.Folder)
		g.results <- result{s, seg, err}
		return nil
	})
}

// finish takes the result of a fetch.
func (g *gathering) finish(res result) {
	s := res.source
	if s.memory {
		g.memory -= s.out.Length
	}
	if res.err == nil {
		s.state = fetched
		g.set.add(res.segment)
		g.r.Bytes.Add(s.out.Length)
		g.done()
		return
	}
	if s.newer != nil {
		s.out, s.newer, s.tries = *s.newer, nil, 0
		if s.out.Length == 0 {
			s.state = fetched
			g.done()
			return
		}
		s.state = queued
		g.queue = append(g.queue, s)
		return
	}
	s.tries++
	s.lastErr = res.err
	if s.tries < g.c.cfg.Attempts && !errors.Is(res.err, errGone) {
		s.state = queued
		s.ready = time.Now().Add(g.c.cfg.Backoff << (s.tries - 1))
		g.queue = append(g.queue, s)
		if g.r.Again != nil && g.ctx.Err() == nil {
			g.r.Again(s.out, res.err)
		}
		return
	}
	s.state = failed
	if g.r.Failed != nil && g.ctx.Err() == nil {
		g.r.Failed(s.out, res.err)
	}
}
