package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	v1 "fairway/broker/api/fairwayv1"
)

// progressView shows a job while it runs: bars that are drawn over on a terminal, else a line for each step.
type progressView struct {
	w        io.Writer
	quiet    bool
	terminal bool
	lines    int    // drawn and to be drawn over
	last     string // printed
	lastAt   time.Time
}

func newProgressView(w io.Writer, quiet bool) *progressView {
	v := &progressView{w: w, quiet: quiet}
	if f, ok := w.(*os.File); ok && os.Getenv("TERM") != "dumb" {
		v.terminal = term.IsTerminal(int(f.Fd()))
	}
	return v
}

// update is called with each change of the job, by one goroutine.
func (v *progressView) update(j *v1.Job) {
	if v.quiet {
		return
	}
	if v.terminal {
		v.draw(j)
		return
	}
	line := fmt.Sprintf("%s %s %s", j.Id, phase(j.Phase), progress(j))
	ended := j.FinishedUnixNanos != 0
	if line == v.last || !ended && time.Since(v.lastAt) < time.Second && v.last != "" {
		return
	}
	v.last, v.lastAt = line, time.Now()
	fmt.Fprintln(v.w, line)
}

func (v *progressView) draw(j *v1.Job) {
	var b strings.Builder
	if v.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.lines)
	}
	state := phase(j.Phase)
	if j.Phase == v1.JobPhase_JOB_PHASE_WAITING {
		state = "waiting (fairway explain " + j.Id + " says why)"
	}
	fmt.Fprintf(&b, "\r\x1b[K%s  %s  %s  %d tasks\n", j.Id, state, took(j), j.TasksRunning)
	v.lines = 1
	for _, p := range j.Progress {
		if p.Total == 0 {
			continue
		}
		const width = 30
		full := min(max(int(p.Fraction*width), 0), width)
		fmt.Fprintf(&b, "\r\x1b[K  %-7s [%s%s] %5.1f%%  %d/%d", p.Name, strings.Repeat("=", full), strings.Repeat(" ", width-full), 100*p.Fraction, p.Done, p.Total)
		if p.Running > 0 {
			fmt.Fprintf(&b, ", %d running", p.Running)
		}
		if p.Failed > 0 {
			fmt.Fprintf(&b, ", %d attempts failed", p.Failed)
		}
		b.WriteString("\n")
		v.lines++
	}
	fmt.Fprint(v.w, b.String())
}

func (v *progressView) close() { v.lines = 0 }
