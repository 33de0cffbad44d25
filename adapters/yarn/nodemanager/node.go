package nodemanager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/nodemanager/logs"
	"fairway/adapters/yarn/tfile"
	"fairway/adapters/yarn/wire"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// shown is what the pages show of the manager.
type shown struct{ m *Manager }

// version is the release of Hadoop whose protocol this speaks, as clients are told.
const version = "3.4.2"

func (s shown) Info() logs.Info {
	m := s.m
	memory := m.host.Resources.GetMemoryBytes() >> 20
	return logs.Info{Node: m.node, Version: version, MemoryMB: memory, VirtualMemoryMB: memory * 21 / 10, VCores: m.host.Resources.GetCpuMilli() / 1000,
		Healthy: true, Started: m.begun, Updated: time.Now(), CheckPhysicalMem: true}
}

func (s shown) Applications() []logs.Application {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	l := make([]logs.Application, 0, len(s.m.apps))
	for _, a := range s.m.apps {
		l = append(l, s.application(a))
	}
	return l
}

// application describes one. Under mu.
func (s shown) application(a *application) logs.Application {
	x := logs.Application{ID: a.id, User: a.kept.User, UID: a.uid(), State: "RUNNING", ACLs: a.kept.ACLs}
	if a.done {
		x.State = "FINISHED"
	}
	for _, c := range s.m.containers {
		if c.app == a {
			x.Containers = append(x.Containers, c.id)
		}
	}
	return x
}

// uid is the owner of the logs; -1: they are the agent's own account's, as everything is.
func (a *application) uid() int {
	if a.kept.Account.Switch {
		return a.kept.Account.UID
	}
	return -1
}

func (s shown) Application(appID id.ApplicationID) (logs.Application, bool) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	a := s.m.apps[appID]
	if a == nil {
		return logs.Application{}, false
	}
	return s.application(a), true
}

// lately is how long an ended container is listed; its logs are shown as long as they are here.
const lately = 10 * time.Minute

func (s shown) Containers() []logs.Container {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	var l []logs.Container
	for _, c := range s.m.containers {
		if c.app != nil && (c.outcome == nil || time.Since(time.UnixMilli(c.outcome.FinishUnixMillis)) < lately) {
			l = append(l, describe(c))
		}
	}
	return l
}

func (s shown) Container(cid id.ContainerID) (logs.Container, bool) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	c := s.m.containers[cid]
	if c == nil || c.app == nil {
		return logs.Container{}, false
	}
	return describe(c), true
}

func describe(c *container) logs.Container {
	x := logs.Container{ID: c.id, User: c.app.kept.User, State: "NEW", ExitStatus: statusInvalid, MemoryMB: c.memoryMB(), VCores: int64(c.vcores)}
	switch {
	case c.outcome != nil:
		x.State, x.ExitStatus, x.Diagnostics = "DONE", int(c.outcome.ExitStatus), c.outcome.Diagnostics
	case c.state == wire.ContainerStateProto_C_RUNNING:
		x.State = "RUNNING"
	case c.begun:
		x.State = "LOCALIZING"
	}
	return x
}

// serveWeb serves the pages until the manager ends.
func (m *Manager) serveWeb(l net.Listener) error {
	o := logs.Options{Root: m.logs, ACLs: m.o.ACLs, Admins: m.o.Admins, LogServer: m.o.LogServer, Folders: m.logFolders(), Log: m.log}
	if m.aggregates() {
		o.Files = m.o.Files
	}
	pages := logs.NewHandler(shown{m}, o)
	server := &http.Server{Handler: pages, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		WriteTimeout: 10 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: zap.NewStdLog(m.log)}
	stop := context.AfterFunc(m.ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("logs: %w", err)
	}
	return nil
}

// logFolders is where logs of ended applications are written.
func (m *Manager) logFolders() tfile.Folders {
	return tfile.Folders{Root: m.o.Logs.Dir, Suffix: m.o.Logs.Suffix}
}

// startAggregation starts what deals with the logs of ended applications.
func (m *Manager) startAggregation() error {
	o := logs.AggregatorOptions{Root: m.logs, State: filepath.Join(m.private, "logs"), Node: m.node, Folders: m.logFolders(),
		Retain: m.o.Logs.Retain, Log: m.log, Registerer: m.o.Registerer}
	if m.aggregates() {
		o.Files = m.o.Files
		o.Failing = func(e logs.Ended, _ error) { m.reportLogs(e.ID, e.Job, grant.LogState_LOG_STATE_FAILING) }
		o.Done = func(e logs.Ended, err error) {
			state := grant.LogState_LOG_STATE_SUCCEEDED
			if err != nil {
				state = grant.LogState_LOG_STATE_FAILED
			}
			m.reportLogs(e.ID, e.Job, state)
		}
	}
	var err error
	if m.aggregator, err = logs.NewAggregator(o); err != nil {
		return err
	}
	m.work.Go(func() error { return m.aggregator.Run(m.ctx) })
	m.mu.Lock()
	known := slices.Collect(maps.Values(m.apps))
	m.mu.Unlock()
	m.work.Go(func() error { // nobody takes reports before the services have started
		for _, a := range known {
			m.logsNotStarted(a)
		}
		return nil
	})
	return nil
}

// aggregates tells whether logs are written to a file system when their application has ended.
func (m *Manager) aggregates() bool { return m.o.Logs.Aggregate && m.o.Files != nil }

// logsNotStarted says that the logs of an application that lives will be aggregated.
func (m *Manager) logsNotStarted(a *application) {
	a.telling.Lock()
	defer a.telling.Unlock()
	if !a.handedOver {
		m.reportLogs(a.id, a.kept.Job, grant.LogState_LOG_STATE_NOT_STARTED)
	}
}

// logsRunning says that they are being aggregated.
func (m *Manager) logsRunning(a *application) {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.handedOver = true
	m.reportLogs(a.id, a.kept.Job, grant.LogState_LOG_STATE_RUNNING)
}

// reportLogs tells the broker's side how an application's logs fare. It may wait for the agent's owner, so mu is not held.
func (m *Manager) reportLogs(application id.ApplicationID, job string, state grant.LogState) {
	if !m.aggregates() || job == "" || m.host.Report == nil {
		return
	}
	data, err := proto.Marshal(&grant.Logs{Application: application.String(), State: state})
	if err != nil {
		m.log.Error("report on logs", zap.Error(err))
		return
	}
	m.host.Report(job, data)
}

// handOverLogs gives an application's logs to the aggregator; when it returns they are its to keep.
func (m *Manager) handOverLogs(a *application) error {
	e := logs.Ended{ID: a.id, Job: a.kept.Job, User: a.kept.User, UID: a.uid(), ACLs: a.kept.ACLs, Context: a.kept.Logs}
	known := map[id.ContainerID]bool{}
	add := func(c logs.EndedContainer) {
		if !known[c.ID] {
			known[c.ID] = true
			e.Containers = append(e.Containers, c)
		}
	}
	m.mu.Lock()
	for _, c := range m.containers {
		if c.app == a && c.outcome != nil {
			add(logs.EndedContainer{ID: c.id, Master: c.grant.GetMaster(), ExitStatus: c.outcome.ExitStatus})
		}
	}
	masters := map[string]bool{}
	for _, name := range a.kept.Masters {
		masters[name] = true
	}
	failed := a.kept.Failed
	m.mu.Unlock()
	// Those of an agent before this one.
	for _, name := range failed {
		if cid, err := id.ParseContainer(name); err == nil {
			add(logs.EndedContainer{ID: cid, Master: masters[name], ExitStatus: 1})
		}
	}
	list, err := os.ReadDir(m.logDir(a))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, f := range list {
		if cid, err := id.ParseContainer(f.Name()); err == nil {
			add(logs.EndedContainer{ID: cid, Master: masters[f.Name()]})
		}
	}
	m.logsRunning(a) // before the aggregator has done it
	if err := m.aggregator.Add(e); err != nil {
		m.reportLogs(a.id, a.kept.Job, grant.LogState_LOG_STATE_FAILING)
		return err
	}
	return nil
}
