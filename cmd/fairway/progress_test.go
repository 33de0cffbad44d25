package main

import (
	"bytes"
	"strings"
	"testing"

	v1 "fairway/broker/api/fairwayv1"
)

func running(done uint32) *v1.Job {
	return &v1.Job{Id: "job-1", Phase: v1.JobPhase_JOB_PHASE_RUNNING, TasksRunning: 3, Progress: []*v1.Progress{
		{Name: "map", Total: 4, Done: done, Running: 2, Fraction: float64(done) / 4}, {Name: "reduce", Total: 2, Failed: 1}, {Name: "none"}}}
}

// On a terminal bars are drawn, and drawn over.
func TestProgressBars(t *testing.T) {
	var out bytes.Buffer
	v := &progressView{w: &out, terminal: true}
	v.update(running(1))
	first := out.String()
	for _, want := range []string{"job-1  running", "3 tasks", "map     [=======                       ]  25.0%  1/4, 2 running", "reduce  [", "1 attempts failed"} {
		if !strings.Contains(first, want) {
			t.Errorf("%q lacks %q", first, want)
		}
	}
	if strings.Contains(first, "none") || strings.Contains(first, "\x1b[3A") {
		t.Errorf("%q", first)
	}
	v.update(running(4))
	if second := out.String()[len(first):]; !strings.HasPrefix(second, "\x1b[3A") || !strings.Contains(second, strings.Repeat("=", 30)+"] 100.0%") {
		t.Errorf("%q", second)
	}
}

// Elsewhere it is a line for each step, and none if asked for quiet.
func TestProgressLines(t *testing.T) {
	var out bytes.Buffer
	v := &progressView{w: &out}
	v.update(running(1))
	v.update(running(1))
	ended := running(4)
	ended.FinishedUnixNanos, ended.Phase = 1, v1.JobPhase_JOB_PHASE_SUCCEEDED
	v.update(ended)
	if got := out.String(); got != "job-1 running map 1/4 reduce 0/2\njob-1 succeeded map 4/4 reduce 0/2\n" {
		t.Errorf("%q", got)
	}
	out.Reset()
	(&progressView{w: &out, quiet: true}).update(ended)
	if out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
}
