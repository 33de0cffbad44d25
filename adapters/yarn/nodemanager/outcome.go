package nodemanager

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/nodemanager/memory"
	"fairway/adapters/yarn/wire"
	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Why a container was ended, as the agent keeps it.
const (
	whyMaster = "Container killed by the ApplicationMaster."
	whyMemory = "Container [pid="
)

// Started implements service.Service.
func (m *Manager) Started(spec *v1.TaskSpec, p service.Process) {
	c := m.find(spec)
	if c == nil {
		return
	}
	m.mu.Lock()
	recovered := c.kept.Started == 0
	m.mu.Unlock()
	var kept *keptContainer
	if recovered {
		if kept = m.loadContainer(c.id); kept != nil {
			m.cache.Hold(kept.Held)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.monitor.Watch(memory.Container{ID: c.id.String(), LimitBytes: c.limit, Process: p})
	c.begun = true
	c.pid, c.process, c.state = p.PID(), p, wire.ContainerStateProto_C_RUNNING
	c.since = time.Now()
	if kept != nil {
		c.kept = *kept
		m.add(c, pending(c.kept.Added))
	}
}

// find returns the container of a task, also of one that an earlier agent prepared; nil: the grant makes no sense.
func (m *Manager) find(spec *v1.TaskSpec) *container {
	g := &grant.Grant{}
	if err := proto.Unmarshal(spec.GetData(), g); err != nil {
		return nil
	}
	cid, err := id.ParseContainer(g.Container)
	if err != nil {
		return nil
	}
	m.mu.Lock()
	c := m.containers[cid]
	m.mu.Unlock()
	if c != nil && c.app != nil {
		return c
	}
	account, err := m.host.Account(m.Account(spec))
	if err != nil {
		return nil
	}
	a, err := m.admit(g, spec.JobId, spec.JobSecret, account)
	if err != nil {
		return nil
	}
	if c, err = m.granted(a, g, spec); err != nil {
		return nil
	}
	return c
}

// Ended implements service.Service.
func (m *Manager) Ended(spec *v1.TaskSpec, s *v1.TaskStatus, started bool) {
	c := m.find(spec)
	if c == nil {
		s.Data = marshal(&grant.Outcome{ExitStatus: statusInvalid, Diagnostics: s.Message, FinishUnixMillis: time.Now().UnixMilli()})
		return
	}
	m.mu.Lock()
	kept := c.kept
	recovered := kept.Started == 0 && started
	m.mu.Unlock()
	if recovered {
		if k := m.loadContainer(c.id); k != nil {
			kept = *k // its files were not taken up again, so they are not let go either
		}
	}
	o := m.outcome(c, s, started)
	m.monitor.Forget(c.id.String())
	o.StartUnixMillis, o.FinishUnixMillis = kept.Started, time.Now().UnixMilli()
	if o.StartUnixMillis == 0 {
		o.StartUnixMillis = o.FinishUnixMillis
	}
	if o.ExitStatus == statusMemory {
		s.State, s.Reason = v1.TaskState_TASK_STATE_FAILED, v1.TaskReason_TASK_REASON_MEMORY_LIMIT
	}
	first, _, _ := strings.Cut(o.Diagnostics, "\n")
	if s.State != v1.TaskState_TASK_STATE_FINISHED && first != "" {
		s.Message = first
	}
	s.Data = marshal(o)
	m.mu.Lock()
	again := c.outcome != nil
	c.outcome, c.state, c.process = o, wire.ContainerStateProto_C_COMPLETE, nil
	c.kept.Context, c.begun = nil, true
	held := c.kept.Held
	c.kept.Held, c.kept.Added = nil, nil
	if c.endAdding != nil {
		c.endAdding()
	}
	if c.resized != nil {
		close(c.resized)
		c.resized = nil
	}
	m.mu.Unlock()
	if again {
		return
	}
	m.record(c, o)
	m.metrics.ended.WithLabelValues(how(o.ExitStatus)).Inc()
	m.cache.Release(held)
	// Folders may be large: the end is not to wait for them.
	m.later(m.o.DeleteDelay, func() { m.removeWork(c) })
}

// later does something after a while, unless the manager stops before.
func (m *Manager) later(d time.Duration, f func()) {
	m.work.Go(func() error {
		if d > 0 {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-t.C:
			case <-m.ctx.Done():
				return nil
			}
		}
		f()
		return nil
	})
}

// record keeps what the policies of log aggregation ask for.
func (m *Manager) record(c *container, o *grant.Outcome) {
	m.mu.Lock()
	a := c.app
	name := c.id.String()
	changed := false
	if c.grant.GetMaster() && !slices.Contains(a.kept.Masters, name) {
		a.kept.Masters, changed = append(a.kept.Masters, name), true
	}
	if o.ExitStatus != 0 && len(a.kept.Failed) < 10_000 && !slices.Contains(a.kept.Failed, name) {
		a.kept.Failed, changed = append(a.kept.Failed, name), true
	}
	m.mu.Unlock()
	if changed {
		if err := m.keep(a); err != nil {
			m.log.Warn("application not kept", zap.String("application", a.kept.Application), zap.Error(err))
		}
	}
}

// removeWork removes an ended container's working folder and what was kept of it.
func (m *Manager) removeWork(c *container) {
	m.dropRecord(c)
	app, err := os.OpenRoot(m.appDir(c.app))
	if err != nil {
		return // it has gone already
	}
	defer app.Close()
	if err := app.RemoveAll(c.id.String()); err != nil {
		m.log.Warn("working folder not removed", zap.Stringer("container", c.id), zap.Error(err))
	}
}

// dropRecord removes what was kept of a container that has ended. Nothing is linked or kept for it afterwards.
func (m *Manager) dropRecord(c *container) {
	c.disk.Lock()
	defer c.disk.Unlock()
	os.Remove(m.containerFile(c.id))
}

func marshal(o *grant.Outcome) []byte {
	const most = 12 << 10 // a status holds 16 KiB
	if len(o.Diagnostics) > most {
		o.Diagnostics = o.Diagnostics[:most]
	}
	o.Diagnostics = strings.ToValidUTF8(o.Diagnostics, "?")
	b, err := proto.Marshal(o)
	if err != nil {
		panic("outcome: " + err.Error()) // strings are valid UTF-8: it cannot be
	}
	return b
}

// outcome says in YARN's words how a container ended.
func (m *Manager) outcome(c *container, s *v1.TaskStatus, started bool) *grant.Outcome {
	code := s.ExitCode
	if s.Signal != 0 {
		code = 128 + s.Signal
	}
	killed := fmt.Sprintf("\nContainer killed on request. Exit code is %d\n", code)
	m.mu.Lock()
	failure, over, last := c.failure, c.over, c.limit
	m.mu.Unlock()
	o := &grant.Outcome{ExitStatus: code}
	asked := s.State == v1.TaskState_TASK_STATE_KILLED
	if !started {
		killed = ""
	}
	switch {
	case asked && strings.HasPrefix(s.Message, whyMemory):
		o.ExitStatus, o.Diagnostics = statusMemory, cmp.Or(over, s.Message)+killed
	case s.Reason == v1.TaskReason_TASK_REASON_MEMORY_LIMIT:
		o.ExitStatus = statusMemory
		usage, _ := m.monitor.Usage(c.id.String())
		o.Diagnostics = memory.HardLimit(c.id.String(), c.pid, last, hardLimit(last), usage) + killed
	case asked && s.Message == whyMaster:
		o.ExitStatus, o.Diagnostics = statusByMaster, whyMaster+killed
	case asked && s.Reason == v1.TaskReason_TASK_REASON_JOB_ENDED:
		o.ExitStatus, o.Diagnostics = statusAfterApp, "Container killed on application-finish event from ResourceManager."+killed
	case asked:
		o.ExitStatus, o.Diagnostics = statusByManager, "Container killed by the ResourceManager: "+s.Message+killed
	case s.State == v1.TaskState_TASK_STATE_FINISHED:
		o.ExitStatus = 0
	case failure != nil && !started:
		o.ExitStatus, o.Diagnostics = failure.status, failure.text
	case !started:
		o.ExitStatus, o.Diagnostics = statusInvalid, "Exception from container-launch.\nContainer id: "+c.id.String()+"\n"+s.Message
	case s.Reason == v1.TaskReason_TASK_REASON_AGENT_RESTARTED:
		o.ExitStatus, o.Diagnostics = statusLost, "Container is lost: "+s.Message
	default:
		o.Diagnostics = m.postMortem(c, code)
	}
	return o
}

const tailBytes = 4096

// postMortem words the end of a container that failed by itself, with the ends of what it wrote to its error files.
func (m *Manager) postMortem(c *container, code int32) string {
	var b strings.Builder
	now := time.Now().UTC().Format("2006-01-02 15:04:05.000")
	fmt.Fprintf(&b, "[%s]Exception from container-launch.\nContainer id: %s\nExit code: %d\n\n", now, c.id, code)
	fmt.Fprintf(&b, "[%s]Container exited with a non-zero exit code %d. Error file: prelaunch.err.\n", now, code)
	root, err := os.OpenRoot(filepath.Join(m.logDir(c.app), c.id.String()))
	if err != nil {
		return b.String()
	}
	defer root.Close()
	names := []string{"prelaunch.err"}
	if list, err := fs.ReadDir(root.FS(), "."); err == nil {
		for _, e := range list {
			if strings.HasPrefix(e.Name(), "stderr") && len(names) < 4 {
				names = append(names, e.Name())
			}
		}
	}
	for _, n := range names {
		if text := tail(root, n); text != "" || n == "prelaunch.err" {
			fmt.Fprintf(&b, "Last %d bytes of %s :\n%s\n", tailBytes, n, text)
		}
	}
	if code == 137 || code == 143 {
		fmt.Fprintf(&b, "Container killed on request. Exit code is %d\n", code)
	}
	return b.String()
}

// tail reads the end of a log file.
func tail(root *os.Root, name string) string {
	f, info, err := openLog(root, name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, min(tailBytes, info.Size()))
	if _, err := f.ReadAt(b, max(0, info.Size()-tailBytes)); err != nil && err != io.EOF {
		return ""
	}
	return strings.ToValidUTF8(string(b), "?")
}

// openLog opens a regular file of a log folder.
func openLog(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	// O_NONBLOCK: a fifo must not hold us.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}
