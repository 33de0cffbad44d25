package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// The scripts in testdata show what everybody hears, step by step, in virtual time. `go test -run Scripts -rewrite`
// writes them anew.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".script"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{agents: map[string]*fakeAgent{}, frameworks: map[string]*fakeFramework{}}
				datadriven.RunTest(t, f, func(t *testing.T, d *datadriven.TestData) string {
					if s.w == nil {
						s.w = newWorld(t, scriptConfig(t, d))
						if d.Cmd == "config" {
							return s.news()
						}
					}
					out := s.run(t, d)
					synctest.Wait()
					s.w.check()
					return strings.ReplaceAll(out, "-"+s.tag()+"-", "-") + s.news()
				})
				s.w.halt()
			})
		})
	}
}

func scriptConfig(t *testing.T, d *datadriven.TestData) Config {
	c := Config{}
	if d.Cmd != "config" {
		return c
	}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "role":
			path, weight, _ := strings.Cut(a.Vals[0], ":")
			n, _ := strconv.ParseFloat(weight, 64)
			c.Roles = append(c.Roles, Role{Path: path, Weight: n})
		case "share":
			c.CoordinatorShare, _ = strconv.ParseFloat(a.Vals[0], 64)
		case "rate":
			c.AgentRate, _ = strconv.Atoi(a.Vals[0])
		case "gone":
			c.AgentGone, _ = time.ParseDuration(a.Vals[0])
		default:
			t.Fatalf("config %s", a.Key)
		}
	}
	return c
}

type script struct {
	w          *world
	order      []string // of agents and frameworks, as they came
	agents     map[string]*fakeAgent
	frameworks map[string]*fakeFramework
}

// args reads key=value arguments.
type args map[string]string

func (a args) int(key string) int64 {
	n, _ := strconv.ParseInt(a[key], 10, 64)
	return n
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	name, a := "", args{}
	for i, x := range d.CmdArgs {
		switch {
		case len(x.Vals) > 0:
			a[x.Key] = strings.Join(x.Vals, ",")
		case i == 0:
			name = x.Key
		default:
			a[x.Key] = "yes"
		}
	}
	f := s.frameworks[name]
	ctx := context.Background()
	switch d.Cmd {
	case "agent":
		s.order = append(s.order, name)
		s.agents[name] = s.w.agent(name, a["rack"], a.int("cpu"), a.int("mem"))
	case "disconnect":
		if f != nil {
			f.session.Close()
		} else {
			s.agents[name].disconnect()
		}
	case "connect":
		s.agents[name].connect()
	case "reboot":
		g := s.agents[name]
		g.disconnect()
		g.tasks, g.info.BootId = map[string]*fakeTask{}, g.info.BootId+"'"
		g.connect()
	case "forget": // the agent loses a task
		delete(s.agents[name].tasks, s.id(a["task"]))
	case "finish", "fail":
		g := s.agents[name]
		state := v1.TaskState_TASK_STATE_FINISHED
		if d.Cmd == "fail" {
			state = v1.TaskState_TASK_STATE_FAILED
		}
		g.finish(s.taskID(a["task"]), state, int32(a.int("code")), strings.ReplaceAll(a["message"], "_", " "))
	case "deaf": // launches and kills are not answered
		s.agents[name].auto = false
	case "framework":
		c := user(a["user"])
		if a["user"] == "" {
			c = user("ann")
		}
		if a["operator"] != "" {
			c.Operator = true
		}
		if a["job"] != "" {
			job := s.job(a["job"])
			c = api.Caller{User: "job:" + job, UID: -1, JobID: job}
		}
		r := &v1.RegisterFramework{
			Name: name, Role: a["role"], Classic: a["classic"] != "", NoJob: a["nojob"] != "", Attempt: uint32(a.int("attempt")), User: a["as"],
			FailoverNanos: a.int("failover") * int64(time.Second),
		}
		if a["again"] != "" {
			r.FrameworkId = f.id
			f.connect(r)
			break
		}
		s.order = append(s.order, name)
		s.frameworks[name] = s.w.framework(c, r)
	case "slow-acks":
		f.auto = false
	case "ack":
		id := s.taskID(a["task"])
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Acknowledge{Acknowledge: &v1.AcknowledgeStatus{Task: id, Sequence: uint64(a.int("status"))}}})
	case "request":
		g := &v1.RequestGroup{
			Id: uint64(a.int("group")), Version: uint64(a.int("version")), Shape: shape(a.int("cpu"), a.int("mem")), Total: uint32(a.int("total")),
			Minimum: uint32(a.int("minimum")), Priority: int32(a.int("priority")), Strict: a["strict"] != "", NodeWaitNanos: a.int("wait") * int64(time.Second),
		}
		g.Shape.Ports = a.int("ports")
		for _, h := range strings.FieldsFunc(a["hosts"], func(r rune) bool { return r == ',' }) {
			host, n, _ := strings.Cut(h, ":")
			count, _ := strconv.Atoi(n)
			g.Hosts = append(g.Hosts, &v1.HostWant{Host: host, Count: uint32(count), Rack: a["hostrack"]})
		}
		if a["seen"] != "" {
			f.seen = uint64(a.int("seen"))
			if a["seen"] == "none" {
				f.seen = 0
			}
		}
		f.request(g)
	case "remove":
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{Removed: []uint64{uint64(a.int("group"))}, LastOffer: f.seen}}})
	case "accept":
		f.accept()
	case "accept-raw":
		x := &v1.AcceptOffer{Offer: uint64(a.int("offer"))}
		if a["offer"] == "first" {
			if len(f.offers) == 0 {
				return "no offer is at hand\n"
			}
			x.Offer = f.offers[0].Id
			f.offers = f.offers[1:]
		}
		r := shape(a.int("cpu"), a.int("mem"))
		r.Ports = a.int("ports")
		x.Tasks = append(x.Tasks, &v1.TaskSpec{
			Task: &v1.TaskID{Sequence: uint64(a.int("seq"))}, Resources: r, JobId: a["job"], Coordinator: a["coordinator"] != "",
			Command: &v1.Command{Argv: []string{"true"}, User: a["as"]},
		})
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: x}})
	case "decline":
		x := &v1.DeclineOffers{FilterNanos: a.int("filter") * int64(time.Second)}
		for _, o := range f.offers {
			x.Offers = append(x.Offers, o.Id)
		}
		f.offers = nil
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Decline{Decline: x}})
	case "suppress":
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Suppress{Suppress: &v1.Suppress{}}})
	case "revive":
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Revive{Revive: &v1.Revive{}}})
	case "kill":
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Kill{Kill: &v1.KillTask{Task: s.taskID(a["task"])}}})
	case "reconcile":
		x := &v1.Reconcile{}
		if a["task"] != "" {
			x.Tasks = append(x.Tasks, s.taskID(a["task"]))
		}
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Reconcile{Reconcile: x}})
	case "progress":
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Progress{Progress: &v1.JobProgress{Status: a["status"]}}})
	case "save":
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_SaveState{SaveState: &v1.SaveState{Version: uint64(a.int("version")), State: []byte(a["state"])}}})
	case "unregister":
		f.unregister(v1.JobPhase(v1.JobPhase_value["JOB_PHASE_"+strings.ToUpper(a["phase"])]), a["message"])
	case "submit":
		c := coordinator(a.int("cpu"), a.int("mem"))
		j, err := s.w.broker.SubmitJob(ctx, user("ann"), &v1.SubmitJobRequest{
			Name: name, Role: a["role"], Coordinator: c, MaxAttempts: uint32(a.int("attempts")), RequestId: a["request"],
		})
		return s.jobLine(j, err)
	case "job":
		return s.jobLine(s.w.broker.GetJob(ctx, user("ann"), s.job(name)))
	case "kill-job":
		c := user("ann")
		if a["user"] != "" {
			c = user(a["user"])
		}
		return s.jobLine(s.w.broker.KillJob(ctx, c, s.job(name), a["reason"]))
	case "tasks":
		r, err := s.w.broker.ListTasks(ctx, user("ann"), &v1.ListTasksRequest{JobId: s.job(name)})
		if err != nil {
			return err.Error() + "\n"
		}
		var b strings.Builder
		for _, x := range r.Tasks {
			fmt.Fprintf(&b, "%s %s %s on %s locality=%d ticket=%v\n", s.short(key(x.Id)), x.Name, stateName(x.State), x.Host, x.Locality, x.Ticket != "")
		}
		return b.String()
	case "explain":
		x, err := s.w.broker.ExplainJob(ctx, user("ann"), s.job(name))
		if err != nil {
			return err.Error() + "\n"
		}
		b := x.Summary + "\n"
		for _, g := range x.Groups {
			b += fmt.Sprintf("group %d: %d outstanding, %d agents: %s\n", g.Group, g.Outstanding, g.Agents, g.Unblock)
			for _, r := range g.Refusals {
				b += fmt.Sprintf("  %s: %d agents\n", r.Reason, r.Agents)
			}
		}
		return s.short(b)
	case "role":
		if a["remove"] != "" {
			if err := s.w.broker.RemoveRole(ctx, operator, name); err != nil {
				return err.Error() + "\n"
			}
			break
		}
		w, _ := strconv.ParseFloat(a["weight"], 64)
		x := &v1.Role{Path: name, Weight: w}
		if a["cpulimit"] != "" {
			x.Limit = &v1.Resources{CpuMilli: a.int("cpulimit")}
		}
		if _, err := s.w.broker.SetRole(ctx, operator, &v1.SetRoleRequest{Role: x}); err != nil {
			return err.Error() + "\n"
		}
	case "roles":
		all, err := s.w.broker.ListRoles(ctx, operator)
		if err != nil {
			return err.Error() + "\n"
		}
		b := ""
		for _, r := range all {
			b += fmt.Sprintf("%s weight=%v share=%.3f frameworks=%d waiting=%d running=%d config=%v\n", r.Path, r.Weight, r.DominantShare, r.Frameworks, r.TasksWaiting, r.TasksRunning, r.FromConfiguration)
		}
		return b
	case "agents":
		r, err := s.w.broker.ListAgents(ctx, operator, &v1.ListAgentsRequest{})
		if err != nil {
			return err.Error() + "\n"
		}
		b := ""
		for _, x := range r.Agents {
			b += fmt.Sprintf("%s %s tasks=%d cpu=%d/%d\n", x.Info.Host, x.State, x.Tasks, x.Used.GetCpuMilli(), x.Info.Total.CpuMilli)
		}
		return b
	case "tick":
		n, err := time.ParseDuration(name)
		if err != nil {
			t.Fatal(err)
		}
		s.w.sleep(n)
	case "hold":
		s.w.journal.hold(true)
	case "release":
		s.w.journal.hold(false)
	case "restart":
		s.w.restart()
		for _, g := range s.agents {
			g.disconnect()
		}
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	return ""
}

func (s *script) jobLine(j *v1.Job, err error) string {
	if err != nil {
		return s.short(err.Error()) + "\n"
	}
	out := fmt.Sprintf("%s %s attempt=%d/%d running=%d", s.short(j.Id), phaseName(j.Phase), j.Attempt, j.MaxAttempts, j.TasksRunning)
	if j.Message != "" {
		out += ": " + j.Message
	}
	return s.short(out) + "\n"
}

// job is the id of a job that a script calls job-1.
func (s *script) job(name string) string { return strings.Replace(name, "job-", "job-"+s.tag()+"-", 1) }

func (s *script) tag() (tag string) {
	s.w.inspect(func(m *machine) { tag = m.tag })
	return tag
}

// taskID is the task that a script calls f/1.
func (s *script) taskID(name string) *v1.TaskID {
	name, seq, _ := strings.Cut(name, "/")
	n, _ := strconv.ParseUint(seq, 10, 64)
	id := name
	if f := s.frameworks[name]; f != nil {
		id = f.id
	} else if name == "launcher" {
		s.w.inspect(func(m *machine) {
			for _, r := range m.rolesInOrder() {
				if r.launcher != nil {
					id = r.launcher.id
				}
			}
		})
	}
	return &v1.TaskID{Framework: id, Sequence: n}
}

func (s *script) id(name string) string { return key(s.taskID(name)) }

// short puts the names of the script in the place of ids.
func (s *script) short(text string) string {
	var old []string
	for name, a := range s.agents {
		if a.id != "" {
			old = append(old, a.id, name)
		}
	}
	names := make([]string, 0, len(s.frameworks))
	for name := range s.frameworks {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if id := s.frameworks[name].id; id != "" {
			old = append(old, id+"/", name+"/", "framework "+id, "framework "+name)
		}
	}
	tag := s.tag()
	old = append(old, "job-"+tag+"-", "job-")
	text = strings.NewReplacer(old...).Replace(text)
	for i := 1; i < 9; i++ {
		for k := 1; k < 99; k++ {
			text = strings.ReplaceAll(text, fmt.Sprintf("launcher-%s-%d-%d/", tag, i, k), "launcher/")
		}
	}
	return text
}

func stateName(s v1.TaskState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "TASK_STATE_"))
}

// news is what everybody has heard since the last time. Statuses that came from several agents at once have no order.
func (s *script) news() string {
	if s.w.journal.held {
		return ""
	}
	var b strings.Builder
	for _, name := range s.order {
		var lines []string
		if a := s.agents[name]; a != nil {
			a.mu.Lock()
			commands := a.commands
			a.commands = nil
			a.mu.Unlock()
			// What the agent itself and the launcher have set off at one time has no order between them.
			slices.SortStableFunc(commands, func(a, b *v1.AgentCommand) int { return commandRank(a) - commandRank(b) })
			for _, c := range commands {
				lines = append(lines, commandLine(c))
			}
		}
		if f := s.frameworks[name]; f != nil {
			f.mu.Lock()
			events := f.events
			f.events = nil
			closed := f.closed
			f.mu.Unlock()
			for _, e := range events {
				lines = append(lines, eventLines(e)...)
			}
			select {
			case <-closed:
				if err := f.session.Err(); err != nil && !errors.Is(err, errReported) {
					lines = append(lines, "session ended: "+err.Error())
					f.mu.Lock()
					f.closed = make(chan struct{}) // reported once
					f.mu.Unlock()
				}
			default:
			}
		}
		for i := 0; i < len(lines); { // order among adjacent statuses
			k := i
			for k < len(lines) && strings.HasPrefix(lines[k], "status ") {
				k++
			}
			slices.Sort(lines[i:k])
			i = max(k, i+1)
		}
		for _, l := range lines {
			fmt.Fprintf(&b, "%s: %s\n", name, s.short(l))
		}
	}
	if b.Len() == 0 && os.Getenv("SCRIPT_DEBUG") != "" {
		return "(nothing)\n"
	}
	return b.String()
}

var errReported = errors.New("reported")

func commandRank(c *v1.AgentCommand) int {
	switch c.Command.(type) {
	case *v1.AgentCommand_Registered:
		return 0
	case *v1.AgentCommand_Launch:
		return 1
	case *v1.AgentCommand_Kill:
		return 2
	case *v1.AgentCommand_JobEnded:
		return 3
	}
	return 4
}

func commandLine(c *v1.AgentCommand) string {
	switch x := c.Command.(type) {
	case *v1.AgentCommand_Registered:
		out := "registered"
		for _, id := range x.Registered.Kill {
			out += " kill=" + key(id)
		}
		if n := len(x.Registered.LiveJobs); n > 0 {
			out += " jobs=" + strings.Join(x.Registered.LiveJobs, ",")
		}
		return out
	case *v1.AgentCommand_Launch:
		l := x.Launch
		out := fmt.Sprintf("launch %s cpu=%d mem=%d user=%s", key(l.Task), l.Resources.CpuMilli, l.Resources.MemoryBytes/mib, l.Command.User)
		if l.JobId != "" {
			out += " job=" + l.JobId
		}
		for _, r := range l.Resources.PortRanges {
			out += fmt.Sprintf(" ports=%d-%d", r.First, r.Last)
		}
		if l.Coordinator {
			out += " coordinator attempt=" + l.Command.Env["FAIRWAY_JOB_ATTEMPT"]
		}
		return out
	case *v1.AgentCommand_Kill:
		return fmt.Sprintf("kill %s: %s", key(x.Kill.Task), x.Kill.Reason)
	case *v1.AgentCommand_Acknowledge:
		return fmt.Sprintf("acknowledge %s %d", key(x.Acknowledge.Task), x.Acknowledge.Sequence)
	case *v1.AgentCommand_JobEnded:
		return "job ended " + x.JobEnded.JobId
	case *v1.AgentCommand_Shutdown:
		return "shutdown: " + x.Shutdown.Reason
	}
	return "?"
}

func eventLines(e *v1.FrameworkEvent) (out []string) {
	switch x := e.Event.(type) {
	case *v1.FrameworkEvent_Registered:
		r := x.Registered
		l := fmt.Sprintf("registered job=%s next=%d", r.JobId, r.NextSequence)
		if r.StateVersion > 0 {
			l += fmt.Sprintf(" state=%d:%s", r.StateVersion, r.State)
		}
		for _, t := range r.Tasks {
			l += fmt.Sprintf(" %s=%s", key(t.Task), stateName(t.State))
		}
		return []string{l}
	case *v1.FrameworkEvent_Offers:
		for _, o := range x.Offers.Offers {
			l := fmt.Sprintf("offer %d of %s cpu=%d mem=%d", o.Id&(1<<40-1), o.Host, o.Resources.CpuMilli, o.Resources.MemoryBytes/mib)
			if o.Group != 0 {
				l += fmt.Sprintf(" group=%d.%d count=%d", o.Group, o.GroupVersion, o.Count)
			}
			if o.Locality != 0 {
				l += " " + strings.ToLower(strings.TrimPrefix(o.Locality.String(), "LOCALITY_"))
			}
			for _, r := range o.Resources.PortRanges {
				l += fmt.Sprintf(" ports=%d-%d", r.First, r.Last)
			}
			out = append(out, l)
		}
		return out
	case *v1.FrameworkEvent_Rescind:
		return []string{fmt.Sprintf("rescind %d: %s", x.Rescind.Offer&(1<<40-1), x.Rescind.Reason)}
	case *v1.FrameworkEvent_Status:
		s := x.Status
		l := fmt.Sprintf("status %s %s", key(s.Task), stateName(s.State))
		if s.Reason != 0 {
			l += " " + strings.ToLower(strings.TrimPrefix(s.Reason.String(), "TASK_REASON_"))
		}
		if s.Message != "" {
			l += ": " + s.Message
		}
		return []string{l}
	case *v1.FrameworkEvent_AgentLost:
		return []string{fmt.Sprintf("agent lost %s gone=%v", x.AgentLost.Host, x.AgentLost.Gone)}
	case *v1.FrameworkEvent_Refused:
		return []string{fmt.Sprintf("refused %s: %s", x.Refused.Call, x.Refused.Message)}
	case *v1.FrameworkEvent_KillJob:
		return []string{fmt.Sprintf("kill job %s: %s", x.KillJob.JobId, x.KillJob.Reason)}
	case *v1.FrameworkEvent_StateSaved:
		return []string{fmt.Sprintf("state saved %d", x.StateSaved.Version)}
	}
	return []string{"?"}
}
