package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"fairway/agent/container"
	"fairway/agent/sandbox"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
)

const (
	cleanInterval = 30 * time.Second
	// Below this the disk counts as full when a task has failed.
	fullDisk = 1 << 20
)

// clean removes sandboxes of ended tasks by age, and under disk pressure cached files and then the oldest sandboxes.
func (a *Agent) clean(ctx context.Context) error {
	tick := time.NewTicker(cleanInterval)
	defer tick.Stop()
	for {
		a.cleanOnce(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *Agent) cleanOnce(ctx context.Context) {
	a.remove(ctx, a.ask(ctx, false))
	for ctx.Err() == nil {
		disk, err := sandbox.DiskOf(a.o.WorkDir)
		if err != nil || disk.Used() <= a.o.DiskPressure {
			return
		}
		a.fetcher.Shrink(0)
		chosen := a.ask(ctx, true)
		if len(chosen) == 0 {
			return
		}
		a.log.Warn("disk pressure: removing an ended sandbox", zap.Float64("used", disk.Used()), zap.Stringer("task", chosen[0]))
		a.remove(ctx, chosen)
	}
}

func (a *Agent) ask(ctx context.Context, pressure bool) []*v1.TaskID {
	answer := make(chan []*v1.TaskID, 1)
	a.post(ctx, cleaning{before: time.Now().Add(-a.o.SandboxMaxAge).UnixNano(), pressure: pressure, answer: answer})
	select {
	case l := <-answer:
		return l
	case <-ctx.Done():
		return nil
	}
}

func (a *Agent) remove(ctx context.Context, tasks []*v1.TaskID) {
	if len(tasks) == 0 {
		return
	}
	var gone []*v1.TaskID
	for _, id := range tasks {
		if err := a.tree.Remove(id.Framework, id.Sequence); err != nil {
			a.log.Warn("sandbox not removed", zap.Stringer("task", id), zap.Error(err))
			continue
		}
		gone = append(gone, id)
	}
	a.post(ctx, cleaned{gone})
}

// watchQuota measures a sandbox until its task has ended. The time between two looks grows with what a look costs, so
// that a sandbox of many files takes at most a hundredth of a core.
func (a *Agent) watchQuota(ctx context.Context, t *task, quota int64) {
	wait := time.NewTimer(a.o.QuotaInterval)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.done:
			return
		case <-wait.C:
		}
		begun := time.Now()
		used, err := sandbox.Usage(ctx, t.record.Sandbox, quota)
		if err == nil && used > quota {
			a.post(ctx, overQuota{t, used, quota})
			return
		}
		wait.Reset(max(a.o.QuotaInterval, 100*time.Since(begun)))
	}
}

// examine adds to a container's end what a failed task left.
func (a *Agent) examine(t *task, x *container.Exit, err error) exited {
	e := exited{task: t, exit: x, err: err}
	if x != nil && (x.Code != 0 || x.Signal != 0) {
		e.note, e.full = a.postMortem(t)
	}
	return e
}

// postMortem looks at what a failed task left: the last line of its stderr, and whether the disk is full.
func (a *Agent) postMortem(t *task) (last string, full bool) {
	if disk, err := sandbox.DiskOf(t.record.Sandbox); err == nil {
		full = disk.Free < fullDisk
	}
	f, err := sandbox.Open(t.record.Sandbox, "stderr", t.record.UID)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.log.Debug("stderr not read", zap.String("task", t.key), zap.Error(err))
		}
		return "", full
	}
	defer f.Close()
	return lastLine(f), full
}

func lastLine(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	const tail = 2048
	b := make([]byte, min(tail, info.Size()))
	if _, err := f.ReadAt(b, max(0, info.Size()-tail)); err != nil && err != io.EOF {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if len(last) > 300 {
		last = last[:300] + "…"
	}
	return last
}
