package state

import (
	"bytes"
	"fmt"
	"iter"
	"testing"

	"pgregory.net/rapid"

	"fairway/broker/resource"
)

// history draws facts that mostly fit a state, and some that do not.
type history struct {
	t    *rapid.T
	s    *State
	n    int
	wall int64
}

func (h *history) pick(label string, from, to uint32) uint32 {
	return rapid.Uint32Range(from, to).Draw(h.t, label)
}

func (h *history) text(prefix string) string {
	h.n++
	// Now and then an id that may be in use.
	return fmt.Sprintf("%s-%d", prefix, h.pick("id", uint32(max(0, h.n-3)), uint32(h.n)))
}

func (h *history) vector() resource.Vector {
	return resource.Vector{resource.CPU: int64(h.pick("cpu", 0, 3)) * 500, resource.Memory: int64(h.pick("mem", 0, 2)) << 28}
}

// some is mostly a number in use, now and then another.
func some[R any](h *history, label string, seq iter.Seq[R], number func(R) uint32) uint32 {
	var numbers []uint32
	for r := range seq {
		numbers = append(numbers, number(r))
	}
	if len(numbers) == 0 || h.pick(label+"?", 0, 11) == 0 {
		return h.pick(label, 0, uint32(len(numbers))+2)
	}
	return rapid.SampledFrom(numbers).Draw(h.t, label)
}

func (h *history) agent() uint32 {
	return some(h, "agent", h.s.Agents(), func(a *Agent) uint32 { return a.Number })
}

func (h *history) framework() uint32 {
	return some(h, "framework", h.s.Frameworks(), func(f *Framework) uint32 { return f.Number })
}

func (h *history) job() uint32 {
	return some(h, "job", h.s.Jobs(), func(j *Job) uint32 { return j.Number })
}

func (h *history) role() uint32 {
	if h.pick("root", 0, 2) == 0 {
		return 0
	}
	return some(h, "role", h.s.Roles(), func(r *Role) uint32 { return r.Number })
}

func (h *history) fact() *Fact {
	h.wall += int64(h.pick("wall", 0, 5)) * 1e6
	f := &Fact{Wall: h.wall}
	if h.pick("clock", 0, 3) == 0 {
		f.Now = h.wall
	}
	kinds := []Kind{
		ClusterCreated, EpochBegun, KindNamed, AgentAdmitted, AgentAdmitted, AgentAdmitted, AgentUpdated, AgentChanged, AgentDrained, AgentForgotten,
		RoleSet, RoleSet, RoleRemoved, FrameworkAdmitted, FrameworkAdmitted, FrameworkAdmitted, FrameworkChanged, FrameworkEnded, FrameworkSaved,
		JobSubmitted, JobSubmitted, JobChanged, JobChanged, JobForgotten, JobForgotten,
		TaskLaunched, TaskLaunched, TaskLaunched, TaskLaunched, TaskLaunched, TaskLaunched, TaskLaunched, TaskLaunched, TaskLaunched, TaskLaunched,
		TaskEnded, TaskEnded, TaskEnded, TaskEnded, TaskEnded, TaskEnded, TaskEnded, TaskEnded,
		TaskResized, TaskResized, TaskResized, TaskResized, TaskResized, TaskResized,
	}
	f.Kind = rapid.SampledFrom(kinds).Draw(h.t, "kind")
	switch f.Kind {
	case ClusterCreated:
		f.Name, f.Body = "c", []byte("key")
	case EpochBegun:
		f.Epoch, f.Now = h.s.Epoch()+uint64(h.pick("epoch", 0, 1)), h.wall
	case KindNamed:
		f.Code, f.Name = int32(h.pick("slot", 4, 8)), fmt.Sprintf("kind%d", h.pick("kindname", 0, 3))
	case AgentAdmitted:
		f.Agent, f.Name, f.Host, f.Body, f.Text, f.Resources = h.s.NextAgent(), h.text("a"), "host", []byte("info"), "boot", h.vector()
	case AgentUpdated:
		f.Agent, f.Host, f.Text, f.Resources = h.agent(), "host2", "boot2", h.vector()
	case AgentChanged:
		f.Agent, f.Status, f.Text = h.agent(), uint8(h.pick("status", 0, 4)), "why"
	case AgentDrained:
		f.Agent, f.Flag, f.Duration = h.agent(), h.pick("drain", 0, 2) > 0, int64(h.pick("until", 0, 1))
	case AgentForgotten:
		f.Agent = h.agent()
	case RoleSet:
		if r := h.s.Role(h.role()); r != nil && h.pick("again", 0, 2) == 0 {
			f.Role, f.Parent, f.Name, f.Weight, f.Flag = r.Number, r.Parent, r.Path, int64(h.pick("weight", 0, 3))*500, true
		} else {
			f.Role, f.Parent, f.Name, f.Weight, f.Limit = h.s.NextRole(), h.role(), h.text("r"), 1000, resource.Vector{-1, -1}
		}
	case RoleRemoved:
		f.Role = h.role()
	case FrameworkAdmitted:
		f.Framework, f.Name, f.Role, f.User, f.Text = h.s.NextFramework(), h.text("f"), h.role(), "u", "name"
		if h.pick("with job", 0, 1) == 0 {
			f.Job = h.job()
		}
	case FrameworkChanged:
		f.Framework, f.Job, f.Attempt, f.Duration = h.framework(), h.job(), h.pick("attempt", 0, 3), 1e9
		if h.pick("without job", 0, 1) == 0 {
			f.Job = 0
		}
		if h.pick("move", 0, 2) == 0 {
			f.Role = h.role()
		}
	case FrameworkEnded:
		f.Framework = h.framework()
	case FrameworkSaved:
		f.Framework, f.Version, f.Body = h.framework(), 2, []byte("saved")
	case JobSubmitted:
		f.Job, f.Name, f.Role, f.User, f.Text, f.Body = h.s.NextJob(), h.text("j"), h.role(), "u", "name", []byte("submission")
		if h.pick("request", 0, 1) == 0 {
			f.Host = h.text("q")
		}
	case JobChanged:
		f.Job, f.Status, f.Attempt, f.Framework, f.Text = h.job(), uint8(h.pick("phase", 0, 6)), 1, h.framework(), "message"
		f.Flag = h.pick("kill", 0, 1) == 1
		if h.pick("result", 0, 1) == 0 {
			f.Body = []byte{}
		}
	case JobForgotten:
		f.Job = h.job()
	case TaskEnded, TaskResized:
		f.Framework = h.framework()
		if f.Kind == TaskEnded {
			f.Status, f.Code, f.Reason = uint8(h.pick("final", 2, 7)), -1, 3
		} else {
			f.Resources = h.vector()
		}
		var live []uint64
		for t := range h.s.TasksOfFramework(f.Framework) {
			if t.Live() {
				live = append(live, t.Sequence)
			}
		}
		if len(live) > 0 && h.pick("live", 0, 9) > 0 {
			f.Sequence = rapid.SampledFrom(live).Draw(h.t, "sequence")
		} else {
			f.Sequence = uint64(h.pick("sequence", 0, uint32(h.s.HighWater(f.Framework))))
		}
		if t, _ := h.s.Task(f.Framework, f.Sequence); f.Kind == TaskResized {
			f.Version = t.Revision + uint64(h.pick("revision", 0, 5)+3)/4
		}
	case TaskLaunched:
		f.Framework, f.Agent, f.Resources = h.framework(), h.agent(), h.vector()
		f.Sequence = h.s.HighWater(f.Framework) + uint64(h.pick("step", 0, 5)+4)/5
		f.Name, f.Code, f.Flag = fmt.Sprintf("task-%d", f.Sequence), int32(h.pick("locality", 0, 3)), h.pick("coordinator", 0, 1) == 1
		if h.pick("ports", 0, 4) == 0 {
			f.Ports = []resource.PortRange{{First: 1000, Last: 1001}}
		}
		if fw := h.s.Framework(f.Framework); fw != nil && fw.Job == 0 && h.pick("of a job", 0, 3) > 0 {
			f.Job = h.job()
		}
	}
	return f
}

// apply applies the encoded and decoded fact, as the journal does.
func (h *history) apply() (*Fact, bool) {
	f := h.fact()
	b := AppendFact(nil, f)
	facts, err := DecodeFacts(b)
	if err != nil {
		h.t.Fatalf("decode %+v: %v", f, err)
	}
	if again := AppendFact(nil, &facts[0]); !bytes.Equal(again, b) {
		h.t.Fatalf("%+v was encoded as %x and then as %x", f, b, again)
	}
	return &facts[0], h.s.Apply(&facts[0]) == nil
}

func dump(t testing.TB, v *View) []byte {
	var b bytes.Buffer
	if n, err := v.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("wrote %d of %d: %v", n, b.Len(), err)
	}
	return b.Bytes()
}

func TestHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{t: rt, s: New()}
		m := newModel()
		type held struct {
			view  *View
			bytes []byte
		}
		var frozen []held
		var twin *State // restored from a snapshot, follows along
		steps := rapid.IntRange(1, 250).Draw(rt, "steps")
		for i := range steps {
			before := dump(t, &h.s.View)
			f, ok := h.apply()
			if want := m.apply(f); want != ok {
				rt.Fatalf("step %d: %+v: applied %v, the model says %v", i, f, ok, want)
			}
			after := dump(t, &h.s.View)
			if !ok && !bytes.Equal(before, after) {
				rt.Fatalf("step %d: %+v was refused and changed the state", i, f)
			}
			if err := h.s.Check(); err != nil {
				rt.Fatalf("step %d: %+v: %v", i, f, err)
			}
			if twin != nil {
				if (twin.Apply(f) == nil) != ok {
					rt.Fatalf("step %d: %+v: the twin differs", i, f)
				}
				if !bytes.Equal(dump(t, &twin.View), after) {
					rt.Fatalf("step %d: %+v: the twin's bytes differ", i, f)
				}
			}
			switch h.pick("do", 0, 9) {
			case 0:
				frozen = append(frozen, held{h.s.Snapshot(), after})
			case 1:
				var err error
				if twin, err = ReadSnapshot(bytes.NewReader(after)); err != nil {
					rt.Fatal(err)
				}
			case 2:
				twin = h.s.Clone()
			}
		}
		m.compare(rt, &h.s.View)
		for i, f := range frozen {
			if err := f.view.Check(); err != nil {
				rt.Fatalf("snapshot %d: %v", i, err)
			}
			if !bytes.Equal(dump(t, f.view), f.bytes) {
				rt.Fatalf("snapshot %d changed after it was taken", i)
			}
		}
	})
}
