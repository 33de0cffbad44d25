package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// While the journal is slow up to four entries are in flight, nothing is heard before its entry is durable, and all is
// heard in order.
func TestNothingIsHeardBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		a := w.agent("h1", "/r1", 8000, 8192)
		w.journal.hold(true)
		var all []*fakeFramework
		for i := range 8 {
			all = append(all, w.framework(user("ann"), &v1.RegisterFramework{Name: fmt.Sprint(i)}))
		}
		w.journal.mu.Lock()
		waiting := len(w.journal.pending)
		w.journal.mu.Unlock()
		if waiting != maxInFlight {
			t.Fatalf("%d entries wait for the disk, want %d", waiting, maxInFlight)
		}
		for i := range all {
			heard := 0
			for _, f := range all {
				heard += len(f.events)
			}
			if want := min(i, maxInFlight); i < maxInFlight && heard != want {
				t.Fatalf("%d frameworks have heard after %d entries", heard, i)
			}
			w.journal.release(1)
			synctest.Wait()
		}
		w.journal.hold(false)
		synctest.Wait()
		for i, f := range all {
			if len(f.events) != 1 || !strings.HasSuffix(f.id, fmt.Sprintf("-%d", i+2)) { // after the agent, which is 1
				t.Errorf("framework %d: %s %v", i, f.id, f.events)
			}
		}
		if w.journal.most > maxInFlight {
			t.Errorf("%d entries were in flight", w.journal.most)
		}
		if len(a.commands) != 1 {
			t.Errorf("the agent heard %v", a.commands)
		}
		w.halt()
	})
}

// A journal that fails ends all sessions; the broker begins again from what is durable.
func TestJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		a := w.agent("h1", "/r1", 8000, 8192)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		w.journal.hold(true)
		lost := w.framework(user("ann"), &v1.RegisterFramework{Name: "lost"})
		w.journal.drop()
		synctest.Wait()
		for _, err := range []error{f.session.Err(), lost.session.Err(), a.session.Err()} {
			if !errors.Is(err, api.ErrUnavailable) {
				t.Errorf("a session ended with %v", err)
			}
		}
		f.connect(&v1.RegisterFramework{FrameworkId: f.id})
		c, err := w.broker.GetCluster(context.Background(), operator)
		if err != nil || c.Frameworks != 1 || c.Epoch != 2 || c.State != "recovering" {
			t.Fatalf("%v %v", c, err)
		}
		w.halt()
	})
}

// A full mailbox refuses what may be said again later, and never kills, acknowledgements and statuses.
func TestFullMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{MailboxSize: 10})
		a := w.agent("h1", "/r1", 8000, 8192)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		w.journal.hold(true)
		for range maxInFlight { // so that the owner takes no turn
			w.framework(user("ann"), &v1.RegisterFramework{})
		}
		revive := &v1.FrameworkCall{Call: &v1.FrameworkCall_Revive{Revive: &v1.Revive{}}}
		for i := range 10 {
			if err := f.session.Send(revive); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
		if err := f.session.Send(revive); !errors.Is(err, api.ErrUnavailable) {
			t.Errorf("one more: %v", err)
		}
		if _, err := w.broker.GetCluster(context.Background(), operator); !errors.Is(err, api.ErrUnavailable) {
			t.Errorf("a question: %v", err)
		}
		id := &v1.TaskID{Framework: f.id, Sequence: 1}
		for _, c := range []*v1.FrameworkCall{
			{Call: &v1.FrameworkCall_Kill{Kill: &v1.KillTask{Task: id}}},
			{Call: &v1.FrameworkCall_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{Task: id, Sequence: 1}}},
		} {
			if err := f.session.Send(c); err != nil {
				t.Errorf("%v: %v", c, err)
			}
		}
		if err := a.session.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: &v1.TaskStatus{Task: id, Sequence: 1, State: v1.TaskState_TASK_STATE_FINISHED}}}); err != nil {
			t.Error(err)
		}
		w.journal.hold(false)
		synctest.Wait()
		w.halt()
	})
}

// A session that nobody reads is given up, and holds nobody back.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox[v1.FrameworkEvent]()
		go o.pump()
		e := &v1.FrameworkEvent{}
		for range maxUnread + 200 {
			o.push(e)
		}
		synctest.Wait()
		if err := o.failure(); !errors.Is(err, api.ErrSessionEnded) {
			t.Fatalf("it goes on: %v", err)
		}
		for range o.out {
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		var one, all []string
		said := func(to *[]string) func(*v1.Job) error {
			return func(j *v1.Job) error {
				*to = append(*to, fmt.Sprintf("%s %s %d", phaseName(j.Phase), j.Status, j.TasksRunning))
				return nil
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		ends := make(chan error, 2)
		go func() { ends <- w.broker.WatchJob(ctx, user("bob"), f.job, said(&one)) }()
		go func() { ends <- w.broker.WatchJobs(ctx, user("bob"), true, said(&all)) }()
		synctest.Wait()
		for _, s := range []string{"a", "b", "c"} { // faster than anybody wants to know
			f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Progress{Progress: &v1.JobProgress{Status: s}}})
		}
		w.sleep(time.Second)
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 10), Total: 1})
		f.accept()
		w.sleep(time.Second)
		f.unregister(v1.JobPhase_JOB_PHASE_SUCCEEDED, "")
		if err := <-ends; err != nil { // the job's
			t.Error(err)
		}
		cancel()
		if err := <-ends; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if one[0] != "running  0" || !slices.Contains(one, "running c 0") || !slices.Contains(one, "running c 1") || !strings.HasPrefix(one[len(one)-1], "succeeded c") {
			t.Errorf("%q", one)
		}
		if len(one) > 6 {
			t.Errorf("told too often: %q", one)
		}
		if all[0] != one[0] || len(all) < 3 {
			t.Errorf("of all jobs: %q", all)
		}
		err := w.broker.WatchJob(context.Background(), user("bob"), "job-none", said(&one))
		if !errors.Is(err, api.ErrNotFound) {
			t.Error(err)
		}
		synctest.Wait()
		w.inspect(func(m *machine) {
			if len(m.watchers) != 0 {
				t.Errorf("%d watchers are left", len(m.watchers))
			}
		})
		w.halt()
	})
}

// The history shows each change of a share, and what waits.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Roles: []Role{{Path: "a", Weight: 2}, {Path: "b"}}})
		g := w.agent("h1", "/r1", 4000, 4096)
		f := w.framework(user("ann"), &v1.RegisterFramework{Role: "a"})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 10), Total: 4})
		w.sleep(time.Second)
		ids := f.accept()
		if len(ids) != 4 {
			t.Fatalf("%d tasks", len(ids))
		}
		w.sleep(time.Second)
		g.finish(ids[0], v1.TaskState_TASK_STATE_FINISHED, 0, "")
		w.sleep(time.Second)
		h, err := w.broker.GetHistory(context.Background(), operator, 0)
		if err != nil {
			t.Fatal(err)
		}
		var shares []float64
		last := int64(0)
		for _, s := range h.Samples {
			if s.UnixNanos-last < int64(10*time.Millisecond) {
				t.Errorf("two samples %d ns apart", s.UnixNanos-last)
			}
			last = s.UnixNanos
			for _, r := range s.Roles {
				if r.Role == "a" {
					shares = append(shares, r.DominantShare)
				}
			}
		}
		if !slices.Contains(shares, 1) || shares[len(shares)-1] != 0.75 {
			t.Errorf("shares %v", shares)
		}
		end := h.Samples[len(h.Samples)-1].Roles
		if len(end) != 1 || end[0].Launched != 4 {
			t.Errorf("%v", end)
		}
		since, err := w.broker.GetHistory(context.Background(), operator, last)
		if err != nil || len(since.Samples) != 1 {
			t.Errorf("%v %v", since, err)
		}
		w.halt()
	})
}

func TestHistoryIsBounded(t *testing.T) {
	h := history{}
	s := &v1.ShareSample{Roles: make([]*v1.RoleShare, 1000)}
	for range 2000 {
		h.add(s)
	}
	if len(h.samples) != maxShares/1000 || h.shares > maxShares {
		t.Errorf("%d samples of %d shares", len(h.samples), h.shares)
	}
}

func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		for i := range 5 {
			w.agent(fmt.Sprintf("h%d", i), "/r", 4000, 4096)
		}
		f := w.framework(user("ann"), &v1.RegisterFramework{})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 10), Total: 7})
		if n := len(f.accept()); n != 7 {
			t.Fatalf("%d tasks", n)
		}
		for range 6 {
			w.framework(user("bob"), &v1.RegisterFramework{})
		}
		ctx := context.Background()
		var agents, jobs, tasks []string
		for token, first := "", true; first || token != ""; first = false {
			r, err := w.broker.ListAgents(ctx, operator, &v1.ListAgentsRequest{PageSize: 2, PageToken: token})
			if err != nil || len(r.Agents) > 2 {
				t.Fatal(r, err)
			}
			for _, x := range r.Agents {
				agents = append(agents, x.Info.Host)
			}
			token = r.NextPageToken
		}
		for token, first := "", true; first || token != ""; first = false {
			r, err := w.broker.ListJobs(ctx, operator, &v1.ListJobsRequest{PageSize: 3, PageToken: token, User: "bob"})
			if err != nil || len(r.Jobs) > 3 {
				t.Fatal(r, err)
			}
			for _, x := range r.Jobs {
				jobs = append(jobs, x.Id)
			}
			token = r.NextPageToken
		}
		for token, first := "", true; first || token != ""; first = false {
			r, err := w.broker.ListTasks(ctx, user("bob"), &v1.ListTasksRequest{JobId: f.job, PageSize: 3, PageToken: token})
			if err != nil || len(r.Tasks) > 3 {
				t.Fatal(r, err)
			}
			for _, x := range r.Tasks {
				if x.Ticket != "" {
					t.Error("a stranger got a ticket")
				}
				tasks = append(tasks, key(x.Id))
			}
			token = r.NextPageToken
		}
		if !slices.Equal(agents, []string{"h0", "h1", "h2", "h3", "h4"}) || len(jobs) != 6 || !slices.IsSortedFunc(jobs, func(a, b string) int { return strings.Compare(b, a) }) || len(tasks) != 7 {
			t.Errorf("%v\n%v\n%v", agents, jobs, tasks)
		}
		for _, err := range []error{
			second(w.broker.ListAgents(ctx, operator, &v1.ListAgentsRequest{PageToken: "x"})),
			second(w.broker.ListJobs(ctx, operator, &v1.ListJobsRequest{PageToken: "x"})),
			second(w.broker.ListTasks(ctx, operator, &v1.ListTasksRequest{PageToken: "-1"})),
		} {
			if !errors.Is(err, api.ErrInvalid) {
				t.Error(err)
			}
		}
		w.halt()
	})
}

func second[T any](_ T, err error) error { return err }

// What ended long ago is forgotten, and what is new is kept.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{JobRetention: time.Hour, JobsKept: 2, AgentGone: time.Minute})
		w.agent("h1", "/r1", 4000, 4096)
		for range 3 {
			f := w.framework(user("ann"), &v1.RegisterFramework{})
			f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 10), Total: 1})
			f.accept()
			f.unregister(v1.JobPhase_JOB_PHASE_SUCCEEDED, "")
		}
		count := func(want int) {
			t.Helper()
			w.sleep(2 * time.Minute)
			r, err := w.broker.ListJobs(context.Background(), operator, &v1.ListJobsRequest{})
			if err != nil || len(r.Jobs) != want {
				t.Errorf("%d jobs, %v", len(r.Jobs), err)
			}
			w.check()
		}
		count(2)
		w.sleep(time.Hour)
		count(0)
		w.agents[0].disconnect()
		w.sleep(2 * time.Hour)
		r, err := w.broker.ListAgents(context.Background(), operator, &v1.ListAgentsRequest{})
		if err != nil || len(r.Agents) != 0 {
			t.Errorf("%v %v", r.Agents, err)
		}
		old := w.agents[0].id
		w.agents[0].connect() // as a new one
		if w.agents[0].id == old {
			t.Errorf("it is still %s", old)
		}
		w.restart()
		w.halt()
	})
}

func TestJobTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		var good string
		w.inspect(func(m *machine) { good = jobToken(m.cluster.Key, f.job) })
		if c, ok := w.broker.VerifyJobToken(good); !ok || c.JobID != f.job || c.Operator {
			t.Errorf("%v %v", c, ok)
		}
		last := "0"
		if strings.HasSuffix(good, "0") {
			last = "1"
		}
		for _, bad := range []string{"", "job:", "job::", "x" + good, good + "0", good[:len(good)-1] + last, strings.Replace(good, f.job, f.job+"1", 1), strings.ToUpper(good)} {
			if c, ok := w.broker.VerifyJobToken(bad); ok {
				t.Errorf("%q opens %v", bad, c)
			}
		}
		other := w.framework(api.Caller{User: "job:x", UID: -1, JobID: "job-x"}, &v1.RegisterFramework{JobId: f.job})
		if len(other.refused) != 1 || !errors.Is(other.session.Err(), api.ErrDenied) {
			t.Errorf("%v", other.refused)
		}
		c, _ := w.broker.VerifyJobToken(good)
		if _, err := w.broker.SubmitJob(context.Background(), c, &v1.SubmitJobRequest{Coordinator: coordinator(1, 1)}); !errors.Is(err, api.ErrDenied) {
			t.Error(err)
		}
		if _, err := w.broker.OpenAgent(context.Background(), c); !errors.Is(err, api.ErrDenied) {
			t.Error(err)
		}
		if _, err := w.broker.SetRole(context.Background(), c, &v1.SetRoleRequest{}); !errors.Is(err, api.ErrDenied) {
			t.Error(err)
		}
		if err := w.broker.RemoveRole(context.Background(), c, "default"); !errors.Is(err, api.ErrDenied) {
			t.Error(err)
		}
		w.halt()
	})
}

func TestSubmissionsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		good := &v1.SubmitJobRequest{Name: "j", Coordinator: coordinator(100, 100)}
		for name, bad := range map[string]func(*v1.SubmitJobRequest){
			"no coordinator": func(r *v1.SubmitJobRequest) { r.Coordinator = nil },
			"no command":     func(r *v1.SubmitJobRequest) { r.Coordinator.Command = nil },
			"no resources":   func(r *v1.SubmitJobRequest) { r.Coordinator.Resources = nil },
			"negative":       func(r *v1.SubmitJobRequest) { r.Coordinator.Resources.CpuMilli = -1 },
			"named":          func(r *v1.SubmitJobRequest) { r.Coordinator.Resources.Named = map[string]int64{"x": 1} },
			"long name":      func(r *v1.SubmitJobRequest) { r.Name = strings.Repeat("x", 2000) },
			"attempts":       func(r *v1.SubmitJobRequest) { r.MaxAttempts = 1000 },
			"ports": func(r *v1.SubmitJobRequest) {
				r.Coordinator.Resources.PortRanges = []*v1.PortRange{{First: 1, Last: 2}}
			},
			"large files": func(r *v1.SubmitJobRequest) {
				r.Coordinator.Command.Files = []*v1.InlineFile{{Target: "a", Content: make([]byte, 1<<20+1)}}
			},
		} {
			r := proto.Clone(good).(*v1.SubmitJobRequest)
			bad(r)
			if _, err := w.broker.SubmitJob(context.Background(), user("ann"), r); !errors.Is(err, api.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, c := range map[string]api.Caller{"other": user("bob"), "nobody": {}} {
			r := proto.Clone(good).(*v1.SubmitJobRequest)
			r.User = "ann"
			if _, err := w.broker.SubmitJob(context.Background(), c, r); !errors.Is(err, api.ErrDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		r := proto.Clone(good).(*v1.SubmitJobRequest)
		r.User = "root"
		if j, err := w.broker.SubmitJob(context.Background(), operator, r); err != nil || j.User != "root" {
			t.Errorf("an operator: %v %v", j, err)
		}
		if _, err := w.broker.SubmitJob(context.Background(), api.Caller{User: "root", UID: 1001}, proto.Clone(good).(*v1.SubmitJobRequest)); !errors.Is(err, api.ErrDenied) {
			t.Errorf("a false root: %v", err)
		}
		w.halt()
	})
}

func TestNotServing(t *testing.T) {
	b, err := New(Options{Journal: &memJournal{}, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.GetCluster(context.Background(), operator); !errors.Is(err, api.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := b.OpenFramework(context.Background(), operator); !errors.Is(err, api.ErrUnavailable) {
		t.Error(err)
	}
	if _, ok := b.VerifyJobToken("job:a:b"); ok {
		t.Error("a token is good before there is a key")
	}
	if err := b.WatchJobs(context.Background(), operator, true, nil); !errors.Is(err, api.ErrUnavailable) {
		t.Error(err)
	}
	for _, bad := range []Config{
		{Heartbeat: time.Minute}, {KillGrace: -1}, {CoordinatorShare: 2}, {Roles: []Role{{Path: "a//b"}}}, {Roles: []Role{{Path: "ä"}}},
	} {
		if _, err := New(Options{Journal: &memJournal{}, Config: bad}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a broker without a journal")
	}
	down := errors.New("disk on fire")
	b, err = New(Options{Journal: &memJournal{failed: down}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(context.Background()); !errors.Is(err, down) {
		t.Error(err)
	}
}

// A framework changes its role with its job and its tasks; its requests are stated again, and all of it is durable.
func TestFrameworkChangesItsRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Roles: []Role{{Path: "a"}, {Path: "b/c", Limit: shape(2000, 2048)}}})
		w.agent("h1", "/r1", 8000, 8192)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f", Role: "a"})
		g := &v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 3}
		f.request(g)
		tasks := f.accept()
		if len(tasks) != 3 {
			t.Fatalf("%d tasks", len(tasks))
		}
		used := func(path string) int64 {
			roles, err := w.broker.ListRoles(context.Background(), operator)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range roles {
				if r.Path == path {
					return r.Used.GetCpuMilli()
				}
			}
			return -1
		}
		g.Version, g.Total = 2, 1
		f.request(g) // an offer is out when it moves
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_ChangeRole{ChangeRole: &v1.ChangeRole{Role: "b/c"}}})
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_ChangeRole{ChangeRole: &v1.ChangeRole{Role: "nowhere"}}})
		synctest.Wait()
		w.check()
		if used("a") != 0 || used("b/c") != 3000 || used("b") != 3000 || len(f.offers) != 0 || len(f.refused) != 1 || f.refused[0].Call != "change_role" {
			t.Fatalf("a uses %d, b/c %d; offers %v, refused %v", used("a"), used("b/c"), f.offers, f.refused)
		}
		g.Version = 3
		f.request(g)
		if len(f.offers) != 0 {
			t.Error("a role over its limit was offered something")
		}
		f.w.agents[0].finish(tasks[0], v1.TaskState_TASK_STATE_FINISHED, 0, "")
		f.w.agents[0].finish(tasks[1], v1.TaskState_TASK_STATE_FINISHED, 0, "")
		if len(f.offers) != 1 {
			t.Error("a role below its limit was offered nothing")
		}
		w.check()
		w.restart()
		j, err := w.broker.GetJob(context.Background(), operator, f.job)
		if err != nil || j.Role != "b/c" || used("a") != 0 || used("b/c") != 1000 {
			t.Errorf("after a restart the job is %v, %v; a uses %d, b/c %d", j, err, used("a"), used("b/c"))
		}
		w.check()
	})
}

// A launch that asks for it is confirmed when it is durable, at the same time as its agent hears of it, and not before.
func TestAcceptIsConfirmedWhenItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		a := w.agent("h1", "/r1", 8000, 8192)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 1024), Total: 2})
		if len(f.offers) != 1 {
			t.Fatalf("%d offers", len(f.offers))
		}
		confirmed := func() (ids []uint64) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, e := range f.events {
				if x := e.GetAccepted(); x != nil {
					ids = append(ids, x.Offer)
				}
			}
			return ids
		}
		o := f.offers[0]
		w.journal.hold(true)
		x := &v1.AcceptOffer{Offer: o.Id, Confirm: true}
		for i := range uint64(o.Count) {
			x.Tasks = append(x.Tasks, &v1.TaskSpec{
				Task: &v1.TaskID{Sequence: f.next + i}, Resources: shape(1000, 1024), Command: &v1.Command{Argv: []string{"true"}},
			})
		}
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: x}})
		synctest.Wait()
		if len(confirmed()) != 0 || len(a.launches) != 0 {
			t.Fatalf("before the launch is durable the framework hears of %v and the agent of %v", confirmed(), a.launches)
		}
		w.journal.hold(false)
		synctest.Wait()
		if got := confirmed(); !slices.Equal(got, []uint64{o.Id}) || len(a.launches) != int(o.Count) {
			t.Errorf("confirmed are %v and launched %v, want offer %d", got, a.launches, o.Id)
		}
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: &v1.AcceptOffer{Offer: o.Id, Confirm: true}}})
		synctest.Wait()
		if got := confirmed(); len(got) != 1 || len(f.refused) != 1 || f.refused[0].Offer != o.Id {
			t.Errorf("an offer that is gone was confirmed: %v, refused %v", got, f.refused)
		}
		w.halt()
	})
}
