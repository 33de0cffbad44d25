package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// process names a process for good: a pid is used again, a pid with its start time is not.
type process struct {
	pid   int
	start string
}

// peak watches the memory of process trees: the largest sum of their proportional set sizes, sampled. A process that
// was once seen below a root counts until it ends, also when its parent has gone.
type peak struct {
	roots func() []int
	mu    sync.Mutex
	known map[process]bool
	max   int64
}

// Reading the maps of many processes takes milliseconds of the machine's time, so a long job is sampled less often: every
// sampleFirst at the start, then after each sampleShare of the time that the job has taken.
const (
	sampleFirst = 250 * time.Millisecond
	sampleShare = 20
)

// watch samples until ctx ends.
func (p *peak) watch(ctx context.Context) {
	start := time.Now()
	t := time.NewTimer(sampleFirst)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			p.sample()
			t.Reset(max(sampleFirst, time.Since(start)/sampleShare))
		}
	}
}

func (p *peak) sample() {
	parents, starts := processTable()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[process]bool{}
	}
	below := map[int]bool{}
	for _, r := range p.roots() {
		below[r] = true
	}
	for k := range p.known {
		if starts[k.pid] == k.start {
			below[k.pid] = true
		} else {
			delete(p.known, k)
		}
	}
	for grown := true; grown; {
		grown = false
		for pid, parent := range parents {
			if below[parent] && !below[pid] {
				below[pid], grown = true, true
			}
		}
	}
	var sum int64
	for pid := range below {
		if s, ok := starts[pid]; ok {
			p.known[process{pid, s}] = true
			sum += pss(pid)
		}
	}
	p.max = max(p.max, sum)
}

// bytes is the peak so far.
func (p *peak) bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.max
}

// processTable reads parents and start times of all processes.
func processTable() (parents map[int]int, starts map[int]string) {
	parents, starts = map[int]int{}, map[int]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(f, "/")[2])
		if err != nil {
			continue
		}
		// The command's name is in parentheses and may hold anything.
		i := bytes.LastIndexByte(b, ')')
		fields := strings.Fields(string(b[i+1:]))
		if i < 0 || len(fields) < 20 {
			continue
		}
		parents[pid], _ = strconv.Atoi(fields[1])
		starts[pid] = fields[19]
	}
	return parents, starts
}

// pss is a process's proportional set size in bytes.
func pss(pid int) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if rest, ok := strings.CutPrefix(s.Text(), "Pss:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}
