package resourcemanager

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager/record"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// record is what is kept of an application; whole with its submission.
func (a *application) record(whole bool) *record.Application {
	r := &record.Application{
		Id: a.id.String(), User: a.user, Name: a.name, Queue: a.queue.role, Type: a.kind, Tags: a.tags, SubmittedUnixMillis: millis(a.submitted),
		LaunchedUnixMillis: millis(a.launched), FinishedUnixMillis: millis(a.finished), Priority: a.priority, ExpiresUnixMillis: millis(a.expires),
		FinalStatus: int32(a.final), Diagnostics: a.diagnostic, TrackingUrl: a.tracking, MemoryMbMillis: a.memoryMillis, VcoreMillis: a.vcoreMillis,
		Unmanaged: a.isUnmanaged, KillAsked: a.killed != "", Preempted: a.preempted,
	}
	if a.isFinal() {
		r.State = int32(a.state)
	}
	if whole {
		r.Submission, _ = proto.Marshal(a.submission) // what was parsed can be written
		r.Tagged = a.tagRecords()
	} else {
		r.ViewAcl = a.keptViewers()
	}
	for _, t := range a.attempts {
		x := &record.Attempt{
			Number: t.id.Number, FirstSequence: t.first, StartedUnixMillis: millis(t.started), FinishedUnixMillis: millis(t.finished), Diagnostics: t.diagnostic,
			Host: t.host, RpcPort: t.port, TrackingUrl: t.tracking, NodeHttp: t.nodeHTTP, Counted: t.counted,
		}
		if isOver(t.state) || t.unregistered {
			x.State = int32(t.state)
		}
		if !whole {
			x.Diagnostics = cut(x.Diagnostics, 4096)
		}
		if t.node != (id.NodeID{}) {
			x.Node = t.node.String()
		}
		if !t.masterID.IsZero() {
			x.MasterSequence = t.first
		}
		r.Attempts = append(r.Attempts, x)
	}
	return r
}

// load takes an application over from its record.
func (a *application) load(r *record.Application) error {
	i, err := id.ParseApplication(r.Id)
	if err != nil {
		return err
	}
	a.id, a.user, a.name, a.queue, a.kind, a.tags = i, r.User, r.Name, queueOf(r.Queue), r.Type, r.Tags
	a.submitted, a.launched, a.finished, a.expires = instant(r.SubmittedUnixMillis), instant(r.LaunchedUnixMillis), instant(r.FinishedUnixMillis), instant(r.ExpiresUnixMillis)
	a.priority, a.final, a.diagnostic, a.tracking = r.Priority, wire.FinalApplicationStatusProto(r.FinalStatus), r.Diagnostics, r.TrackingUrl
	a.memoryMillis, a.vcoreMillis, a.preempted, a.isUnmanaged = r.MemoryMbMillis, r.VcoreMillis, r.Preempted, r.Unmanaged
	a.state, a.wasTagged, a.viewers = wire.YarnApplicationStateProto(r.State), r.Tagged, r.ViewAcl
	for _, x := range r.Attempts {
		t := &attempt{
			id: id.AttemptID{Application: i, Number: x.Number}, first: x.FirstSequence, started: instant(x.StartedUnixMillis), finished: instant(x.FinishedUnixMillis),
			state: wire.YarnApplicationAttemptStateProto(x.State), diagnostic: x.Diagnostics, host: x.Host, port: x.RpcPort, tracking: x.TrackingUrl, nodeHTTP: x.NodeHttp,
			counted: x.Counted, asks: newAskTable(), given: map[id.NodeID]bool{},
		}
		if x.Node != "" {
			if t.node, err = id.ParseNode(x.Node); err != nil {
				return err
			}
		}
		if x.MasterSequence != 0 {
			t.masterID = id.NewContainer(t.id, 0, 1)
		}
		a.attempts = append(a.attempts, t)
	}
	return nil
}

// remember takes an application that has ended from its job.
func (m *Manager) remember(j *v1.Job) {
	var r record.Application
	a := newApplication(m)
	err := proto.Unmarshal(j.Result, &r)
	if err == nil && len(j.Result) == 0 {
		// It was ended by force, so its framework had no last word. The job's status tells which one it was.
		r = record.Application{
			Id: j.Status, User: j.User, Name: j.Name, Queue: j.Role, Type: "YARN", SubmittedUnixMillis: j.SubmittedUnixNanos / 1e6, FinishedUnixMillis: j.FinishedUnixNanos / 1e6,
			State: int32(wire.YarnApplicationStateProto_KILLED), FinalStatus: int32(wire.FinalApplicationStatusProto_APP_KILLED), Diagnostics: j.Message,
		}
	}
	if err == nil {
		err = a.load(&r)
	}
	if err != nil {
		m.o.Log.Warn("a job of kind yarn is no application that can be read", zap.String("job", j.Id), zap.Error(err))
		return
	}
	a.job, a.ended, a.closing = j.Id, true, true
	m.mu.Lock()
	m.apps[a.id] = a
	m.mu.Unlock()
	m.retire(a)
	m.count(a.state)
}

// restore takes a live application from its framework's saved state, and its containers from the broker's tasks.
func (a *application) restore(r *v1.FrameworkRegistered) {
	done := func() {
		a.restoring = false
		a.signal()
	}
	var x record.Application
	a.submission = &wire.ApplicationSubmissionContextProto{}
	err := proto.Unmarshal(r.State, &x)
	if err == nil && len(r.State) == 0 {
		err = fmt.Errorf("its submission was never complete")
	}
	if err == nil {
		q := a.queue
		err = a.load(&x)
		a.queue = q // the broker knows better which role it works for
	}
	if err == nil {
		err = proto.Unmarshal(x.Submission, a.submission)
	}
	if err == nil {
		err = a.adopt()
	}
	if err == nil && a.current() == nil {
		err = fmt.Errorf("it has no attempt")
	}
	if err != nil {
		a.log.Warn("a framework of kind yarn is no application that can be read; it ends", zap.String("job", r.JobId), zap.Error(err))
		a.closing, a.ended = true, true
		a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Unregister{Unregister: &v1.Unregister{Phase: v1.JobPhase_JOB_PHASE_FAILED, Message: "it cannot be read: " + err.Error()}}})
		done()
		return
	}
	a.version, a.durable = r.StateVersion, r.StateVersion
	m := a.m
	m.mu.Lock()
	m.apps[a.id] = a
	m.mu.Unlock()
	m.count(wire.YarnApplicationStateProto_SUBMITTED)
	t := a.current()
	now := time.Now()
	if a.state == 0 {
		a.state = wire.YarnApplicationStateProto_ACCEPTED
		if t.host != "" || t.port > 0 {
			a.state = wire.YarnApplicationStateProto_RUNNING
		}
	}
	if a.isFinal() {
		t.unregistered, t.registered = true, true
		a.finished = now // its master is left alone once more
		t.state = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_FINISHING
	} else if a.isUnmanaged {
		t.state, t.contact = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_LAUNCHED, now
	}
	a.adopted = r.NextSequence
	for _, s := range r.Tasks {
		a.adoptTask(s, now)
	}
	for _, x := range r.Resized {
		if c := a.containers[x.GetTask().GetSequence()]; c != nil {
			c.version = int32(x.Revision)
		}
	}
	if t.master != nil {
		a.admitted = true
		m.masters.hold(a)
	}
	a.resync = now.Add(m.o.ResyncGrace)
	needsMaster := t.master == nil && !a.isUnmanaged
	if !needsMaster && len(a.containers) == 0 {
		done()
		return
	}
	// What the containers hold, and whether a master that is not there was never launched or has ended, is the broker's to
	// say; not with mu held.
	job, first := a.job, t.first
	a.later = func(ctx context.Context) {
		tasks, err := a.tasks(ctx, job, !needsMaster)
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			return // the manager stops
		}
		for seq, c := range a.containers {
			if x := tasks[seq]; x != nil {
				a.charge(c, -1)
				c.amount = amountOf(x.Resources)
				c.created = time.Unix(0, x.LaunchedUnixNanos)
				a.charge(c, 1)
			}
		}
		task := tasks[first]
		switch {
		case !needsMaster:
		case task == nil && a.isFinal():
			a.close()
		case task == nil, neverBegun(task.Status) && t.host == "":
			a.placeAgain(t)
		default:
			c := &container{id: id.NewContainer(t.id, 0, 1), task: first, isMaster: true, amount: a.shape, state: delivered, created: now}
			a.containers[first], t.master, t.masterID = c, c, c.id
			a.charge(c, 1)
			s := task.Status
			if s == nil {
				s = &v1.TaskStatus{State: task.State}
			}
			exit, diagnostics := c.outcome(s)
			a.complete(c, exit, diagnostics, nil)
		}
		done()
	}
}

// adoptTask takes over a container that the broker knows as a live task.
func (a *application) adoptTask(s *v1.TaskStatus, now time.Time) {
	seq := s.GetTask().GetSequence()
	var t *attempt
	for _, o := range a.attempts {
		if o.first <= seq {
			t = o
		}
	}
	if t == nil {
		a.killTask(seq, "of no attempt")
		return
	}
	c := &container{
		id: id.NewContainer(t.id, 0, int64(seq-t.first+1)), task: seq, agent: s.AgentId, isMaster: seq == t.first && !a.isUnmanaged, requestID: -1, state: delivered,
		running: s.State != v1.TaskState_TASK_STATE_STAGING, created: now, amount: amount{memory: a.m.o.MinimumMemory, vcores: 1},
	}
	c.wasWaiting = !c.running
	a.recall(c)
	if n := a.m.cluster().byAgent[s.AgentId]; n != nil {
		c.node, c.nodeHTTP, c.hosts, c.rack, c.label = n.ID, n.HTTP, n.names, n.Rack, n.Label
	}
	if c.isMaster {
		c.amount = a.shape
		if t == a.current() {
			t.master, t.masterID = c, c.id
			t.node, t.nodeHTTP = c.node, c.nodeHTTP
			if !t.unregistered {
				t.state, t.contact = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_ALLOCATED, now
				if c.running {
					t.state = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_LAUNCHED
				}
			}
		}
	} else if t != a.current() {
		if !a.keep {
			a.killTask(seq, "attempt "+t.id.String()+" has ended")
		} else {
			a.current().previous = append(a.current().previous, c)
		}
	}
	a.containers[seq] = c
	a.charge(c, 1)
	a.m.touch(c.agent, a)
}

// tasks are the broker's of a job, by sequence: live ones, or all.
func (a *application) tasks(ctx context.Context, job string, live bool) (map[uint64]*v1.Task, error) {
	out := map[uint64]*v1.Task{}
	for page := ""; ; {
		r, err := a.m.o.Broker.ListTasks(ctx, operator, &v1.ListTasksRequest{JobId: job, PageSize: 1000, PageToken: page, LiveOnly: live})
		if err != nil {
			if !sleep(ctx, resend) {
				return nil, err
			}
			continue
		}
		for _, t := range r.Tasks {
			out[t.GetId().GetSequence()] = t
		}
		if page = r.NextPageToken; page == "" {
			return out, nil
		}
	}
}
