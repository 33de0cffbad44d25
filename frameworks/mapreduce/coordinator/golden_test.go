package coordinator

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
)

// TestGolden plays the scripts of testdata: a line of input is one event, the lines below it are what was decided.
//
//	job maps=2 reduces=1 [attempts=4] [speculative] [coordinator=2]
//	register next=1 | plan [recovered=0,1 committed=0] | ready | tick 3s | kill WHY | broken WHY
//	offer group=1 agent=a1 [count=2]
//	status 1 RUNNING|FINISHED|FAILED|KILLED|LOST|UNREACHABLE [REASON]
//	lost a1 [gone]
//	hello 1 [resumed] | report 1 fraction=0.5 [shuffled] | mapdone 1 | fetchfailed 2 map=0 attempt=0
//	ask 2 | done 2 | failed 1 MESSAGE... [fatal] | committed [ERROR] | aborted | progress | counters
func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata/golden", func(t *testing.T, path string) {
		var m *Machine
		var now time.Duration
		var maps, offers int
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var seq uint64
			var rest []string
			for _, a := range d.CmdArgs {
				if n, err := strconv.ParseUint(a.Key, 10, 64); err == nil && len(a.Vals) == 0 && seq == 0 {
					seq = n
				} else if len(a.Vals) == 0 {
					rest = append(rest, a.Key)
				}
			}
			number := func(key string, def int) int {
				if d.HasArg(key) {
					d.ScanArgs(t, key, &def)
				}
				return def
			}
			word := strings.Join(rest, " ")
			flag := func(f string) bool {
				for _, r := range rest {
					if r == f {
						return true
					}
				}
				return false
			}
			var e Event
			switch d.Cmd {
			case "job":
				maps = number("maps", 0)
				m = NewMachine(&spec.Job{Reduces: number("reduces", 0), MaxAttempts: number("attempts", 0), Speculative: flag("speculative")}, number("coordinator", 1), Tuning{})
				now, offers = 0, 0
				return ""
			case "register":
				e = Registered{NextSequence: uint64(number("next", 1))}
			case "plan":
				p := Planned{Splits: splits(maps)}
				for _, a := range d.CmdArgs {
					for _, v := range a.Vals {
						n, _ := strconv.Atoi(v)
						if a.Key == "recovered" {
							p.Maps = append(p.Maps, RecoveredMap{Map: n, Agent: "a0", Address: "a0:1", File: fmt.Sprint("old", n), Partitions: make([]Range, m.job.Reduces)})
						} else {
							p.Committed = append(p.Committed, n)
						}
					}
				}
				e = p
			case "ready":
				e = Ready{}
			case "tick":
				by, err := time.ParseDuration(word)
				if err != nil {
					t.Fatal(err)
				}
				now += by
				e = Tick{}
			case "kill":
				e = KillAsked{Reason: word}
			case "broken":
				e = Broken{Message: word}
			case "offer":
				agent := ""
				d.ScanArgs(t, "agent", &agent)
				offers++
				e = Offered{Offers: []*v1.Offer{{Id: uint64(offers), Group: uint64(number("group", 1)), AgentId: agent, Host: "h-" + agent, Rack: "/r", DataAddress: agent + ":1", Count: uint32(number("count", 1))}}}
			case "status":
				s := &v1.TaskStatus{Task: &v1.TaskID{Sequence: seq}, State: v1.TaskState(v1.TaskState_value["TASK_STATE_"+rest[0]])}
				if len(rest) > 1 {
					s.Reason = v1.TaskReason(v1.TaskReason_value["TASK_REASON_"+rest[1]])
				}
				e = StatusChanged{Status: s}
			case "lost":
				e = AgentLost{Agent: rest[0], Gone: flag("gone")}
			case "hello":
				e = Hello{Sequence: seq, Resumed: flag("resumed")}
			case "report":
				f := 0.0
				s := ""
				d.ScanArgs(t, "fraction", &s)
				f, _ = strconv.ParseFloat(s, 64)
				e = Reported{Sequence: seq, Report: Report{Fraction: f, Alive: true, Shuffled: flag("shuffled")}}
			case "mapdone":
				e = MapDone{Sequence: seq, File: fmt.Sprint("m", seq), Partitions: make([]Range, m.job.Reduces)}
			case "fetchfailed":
				e = FetchFailed{Sequence: seq, Map: number("map", 0), Attempt: number("attempt", 0), Message: "connection refused"}
			case "ask":
				e = CommitAsked{Sequence: seq}
			case "done":
				e = Done{Sequence: seq}
			case "failed":
				e = Failed{Sequence: seq, Message: strings.TrimSuffix(word, " fatal"), Fatal: flag("fatal")}
			case "committed":
				c := JobCommitted{}
				if word != "" {
					c.Err = fmt.Errorf("%s", word)
				}
				e = c
			case "aborted":
				e = JobAborted{}
			case "progress":
				var b strings.Builder
				for _, p := range m.Progress().Progress {
					fmt.Fprintf(&b, "%s: %d of %d done, %d running, %d failed, %.2f\n", p.Name, p.Done, p.Total, p.Running, p.Failed, p.Fraction)
				}
				return b.String()
			case "counters":
				var b strings.Builder
				for _, c := range m.Counters() {
					if !strings.Contains(c.Name, "MILLIS") {
						fmt.Fprintf(&b, "%s %d\n", c.Name, c.Value)
					}
				}
				return b.String()
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			m.Step(int64(now), e)
			var b strings.Builder
			for _, a := range m.Take() {
				fmt.Fprintln(&b, show(a))
			}
			if b.Len() == 0 {
				return "nothing"
			}
			return b.String()
		})
	})
}

// show is one line of a golden file.
func show(a Action) string {
	switch a := a.(type) {
	case Launch:
		s := fmt.Sprintf("launch on offer %d:", a.Offer)
		for _, l := range a.Attempts {
			s += fmt.Sprintf(" task %d = %s %d attempt %d (%s)", l.Sequence, l.Kind, l.Index, l.Attempt, strings.ToLower(strings.TrimPrefix(l.Level.String(), "LOCALITY_")))
		}
		return s
	case Decline:
		return fmt.Sprintf("decline offer %d filter=%v", a.Offer, a.Filter)
	case Request:
		g := a.Group
		s := fmt.Sprintf("request group %d: %d", g.Id, g.Total)
		if g.Total == 0 {
			return s
		}
		s += fmt.Sprintf(" priority %d", g.Priority)
		for _, h := range g.Hosts {
			s += fmt.Sprintf(" %s=%d", h.Host, h.Count)
		}
		if len(g.ExcludedAgents) > 0 {
			s += " not " + strings.Join(g.ExcludedAgents, ",")
		}
		return s
	case Kill:
		return fmt.Sprintf("kill task %d: %s", a.Sequence, a.Reason)
	case Assign:
		return fmt.Sprintf("tell task %d: %s %d attempt %d", a.Sequence, a.Kind, a.Index, a.Attempt)
	case Push:
		s := fmt.Sprintf("push to task %d:", a.Sequence)
		for _, o := range a.Outputs {
			s += fmt.Sprintf(" map %d attempt %d at %s/%s", o.Map, o.Attempt, o.Address, o.File)
		}
		return s
	case Answer:
		return fmt.Sprintf("answer task %d: granted=%v %s", a.Sequence, a.Granted, a.Reason)
	case Stop:
		return fmt.Sprintf("stop task %d: %s", a.Sequence, a.Reason)
	case Finish:
		return fmt.Sprintf("finish task %d", a.Sequence)
	case Journal:
		return fmt.Sprintf("journal map %d attempt %d", a.Map.Map, a.Map.Attempt)
	case AbortTask:
		return fmt.Sprintf("abort %s %d attempt %d", a.Kind, a.Index, a.Attempt)
	case CommitJob:
		return fmt.Sprintf("commit job: %d %s parts", a.Parts, a.Kind)
	case AbortJob:
		return "abort job"
	case End:
		return fmt.Sprintf("end %s: %s", strings.TrimPrefix(a.Phase.String(), "JOB_PHASE_"), a.Message)
	}
	return fmt.Sprintf("%T %+v", a, a)
}
