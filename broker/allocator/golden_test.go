package allocator

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/broker/resource"
	"fairway/broker/topology"
	"github.com/cockroachdb/datadriven"
)

// TestGolden runs the scripts of testdata/golden. A script is a list of steps; the lines of a step are events in the
// order in which they are given to the machine, and its output is what was decided. Names are numbered in order of
// appearance. After each step all invariants are checked.
//
//	step t=1.5s
//	agent NAME QUANTITIES host=H rack=R | update | pause | resume | drain | undrain | remove NAME
//	role PATH weight=2 guarantee:cpu=4 limit:memory=8GiB
//	framework NAME role=PATH [classic] | unregister | suppress | revive | yields | clings NAME
//	request FRAMEWORK/GROUP total=N [minimum=N] QUANTITIES [hosts=h1*2,h2] [racks=r1*3] [seen=OFFER] [priority=N] [strict] [wait=1s,2s] [exclude=a1]
//	withdraw FRAMEWORK/GROUP
//	accept OFFER [count=N] [QUANTITIES] [filter=1s] | decline OFFER [filter=1s] | rescind OFFER
//	start | end FRAMEWORK@AGENT QUANTITIES
//	halt | go
//
// `explain F/G`, `roles` and `agents` read.
func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata/golden", func(t *testing.T, path string) {
		s := newScript()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

type script struct {
	m          *Machine
	places     topology.Map
	agents     names
	roles      names
	frameworks names
	versions   map[string]uint64
	kinds      resource.Kinds
}

type names struct {
	ids  map[string]uint32
	list []string
}

func (n *names) id(name string) uint32 {
	if id, ok := n.ids[name]; ok {
		return id
	}
	if n.ids == nil {
		n.ids = map[string]uint32{}
	}
	id := uint32(len(n.list))
	n.ids[name] = id
	n.list = append(n.list, name)
	return id
}

func newScript() *script {
	s := &script{m: New(Config{}), versions: map[string]uint64{}}
	s.roles.id("")
	return s
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "config":
		var c Config
		for _, a := range d.CmdArgs {
			v := parseTime(t, a.Vals[0])
			switch a.Key {
			case "timeout":
				c.OfferTimeout = v
			case "node-wait":
				c.NodeWait = v
			case "rack-wait":
				c.RackWait = v
			case "starve-after":
				c.StarveAfter = v
			case "filter":
				c.Filter = v
			case "reclaim-after":
				c.ReclaimAfter = v
			case "reclaim-deadline":
				c.ReclaimDeadline = v
			default:
				t.Fatalf("config %s", a.Key)
			}
		}
		s.m = New(c)
		return ""
	case "step":
		now := s.m.now
		if d.HasArg("t") {
			var text string
			d.ScanArgs(t, "t", &text)
			now = parseTime(t, text)
		}
		var events []Event
		for _, line := range strings.Split(d.Input, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				events = append(events, s.event(t, line))
			}
		}
		var out strings.Builder
		for _, r := range s.m.Step(now, events) {
			fmt.Fprintf(&out, "refused event %d: %v\n", r.Index+1, r.Err)
		}
		b := s.m.Ready()
		for i := range b.Actions {
			out.WriteString(s.action(&b.Actions[i]))
		}
		for i := range b.Reclaims {
			out.WriteString(s.reclaim(&b.Reclaims[i]))
		}
		if err := s.m.Check(); err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		if b.WakeAt != 0 {
			fmt.Fprintf(&out, "wake at %v\n", time.Duration(b.WakeAt))
		}
		return out.String()
	case "explain":
		f, g, _ := strings.Cut(d.CmdArgs[0].Key, "/")
		e, ok := s.m.Explain(FrameworkID(s.frameworks.id(f)), GroupID(number(t, g)))
		if !ok {
			return "not known\n"
		}
		return s.explanation(&e)
	case "roles":
		var out strings.Builder
		s.m.Shares(func(id RoleID, r Share) {
			fmt.Fprintf(&out, "%q: used %v, offered %v, share %.3f of %.3f, waiting %d\n", s.roles.list[id], r.Used, r.Offered, r.Dominant, r.Fair, r.Waiting)
			if one, ok := s.m.RoleShare(id); !ok || one != r {
				t.Fatalf("RoleShare %+v, Shares %+v", one, r)
			}
		})
		return out.String()
	case "agents":
		var out strings.Builder
		for i, name := range s.agents.list {
			if total, used, offered, ok := s.m.AgentShare(AgentID(i)); ok {
				fmt.Fprintf(&out, "%s: used %v, offered %v, of %v\n", name, used, offered, total)
			}
		}
		return out.String()
	}
	t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	return ""
}

func (s *script) action(a *Action) string {
	if a.Kind == RescindOffer {
		return fmt.Sprintf("rescind %d of %s: %s\n", a.Offer, s.agents.list[a.Agent], a.Reason)
	}
	what := "classic"
	if a.Group != 0 {
		what = fmt.Sprintf("%d x %s/%d", a.Count, s.frameworks.list[a.Framework], a.Group)
	} else {
		what += " " + s.frameworks.list[a.Framework]
	}
	text := fmt.Sprintf("offer %d: %s on %s: %v", a.Offer, what, s.agents.list[a.Agent], a.Resources.Format(&s.kinds))
	if a.Locality != Unspecified {
		text += ", " + a.Locality.String()
	}
	return text + "\n"
}

func (s *script) reclaim(r *Reclaim) string {
	text := fmt.Sprintf("reclaim %d from %s for %s/%d: room for %d of %d x %v", r.ID, s.frameworks.list[r.Framework], s.frameworks.list[r.For], r.Group, r.Count,
		r.Asked, r.Shape)
	for slot, most := range r.Most {
		if most >= 0 {
			text += fmt.Sprintf(", at most %s of %s", resource.FormatQuantity(slot, most), s.kinds.Name(slot))
		}
	}
	for i, id := range r.Agents {
		text += []string{" on ", ", "}[min(i, 1)] + s.agents.list[id]
	}
	return fmt.Sprintf("%s, until %v\n", text, time.Duration(r.Deadline))
}

func (s *script) explanation(e *Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d outstanding of %v, waited %v: %d agents, %d could serve it\n", e.Outstanding, e.Shape, time.Duration(e.Waited), e.Agents, e.CanServe)
	for why := range NumReasons {
		if n, refused := e.Now[why], e.Refused[why]; n > 0 || refused > 0 {
			fmt.Fprintf(&b, "  %s: %d agents now, %d refusals\n", why, n, refused)
		}
	}
	if e.Now[RoleLimit] > 0 || e.Unblock == RoleLimit {
		fmt.Fprintf(&b, "  limited by %q\n", s.roles.list[e.LimitedBy])
	}
	if e.Reserved {
		b.WriteString("  an agent is kept for it\n")
	}
	if e.Minimum > 0 {
		fmt.Fprintf(&b, "  begins with %d at once: %d fit now, %d could\n", e.Minimum, e.Fits, e.Most)
	}
	fmt.Fprintf(&b, "unblock: %s\n", e.Unblock)
	return b.String()
}

// event reads one line.
func (s *script) event(t *testing.T, line string) Event {
	words := strings.Fields(line)
	var e Event
	name := ""
	if len(words) > 1 {
		name = words[1]
	}
	rest := words[min(2, len(words)):]
	quantities := func() (v resource.Vector) {
		for _, w := range rest {
			if k, amount, ok := strings.Cut(w, "="); ok {
				if slot, ok := s.kinds.Slot(k); ok {
					v[slot] = quantity(t, slot, amount)
				}
			}
		}
		return v
	}
	option := func(key string) (string, bool) {
		for _, w := range rest {
			if w == key {
				return "", true
			}
			if v, ok := strings.CutPrefix(w, key+"="); ok {
				return v, true
			}
		}
		return "", false
	}
	if v, ok := option("filter"); ok {
		e.Filter = parseTime(t, v)
	}
	switch words[0] {
	case "agent", "update":
		e.Kind, e.Agent, e.Resources = AgentAdd, AgentID(s.agents.id(name)), quantities()
		if words[0] == "update" {
			e.Kind = AgentUpdate
		}
		host, ok := option("host")
		if !ok {
			host = name
		}
		e.Host = s.places.Host(host)
		rack, _ := option("rack")
		e.Rack = s.places.Rack(rack)
		s.places.Place(e.Host, nil, e.Rack)
	case "pause", "resume", "drain", "undrain", "remove":
		e.Kind = map[string]EventKind{"pause": AgentPause, "resume": AgentResume, "drain": AgentDrain, "undrain": AgentUndrain, "remove": AgentRemove}[words[0]]
		e.Agent = AgentID(s.agents.id(name))
	case "role":
		e.Kind, e.Role, e.Weight, e.Limit = RoleSet, RoleID(s.roles.id(name)), 1000, resource.None()
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			e.Parent = RoleID(s.roles.id(name[:i]))
		}
		for _, w := range rest {
			k, v, _ := strings.Cut(w, "=")
			if k == "weight" {
				f, err := strconv.ParseFloat(v, 64)
				if err != nil {
					t.Fatal(err)
				}
				e.Weight = int64(f * 1000)
				continue
			}
			to, kind, _ := strings.Cut(k, ":")
			slot, ok := s.kinds.Slot(kind)
			if !ok {
				t.Fatalf("role: %s", w)
			}
			if to == "limit" {
				e.Limit[slot] = quantity(t, slot, v)
			} else {
				e.Guarantee[slot] = quantity(t, slot, v)
			}
		}
	case "drop":
		e.Kind, e.Role = RoleRemove, RoleID(s.roles.id(name))
	case "framework":
		role, _ := option("role")
		_, classic := option("classic")
		e.Kind, e.Framework, e.Role, e.Flag = FrameworkAdd, FrameworkID(s.frameworks.id(name)), RoleID(s.roles.id(role)), classic
	case "yields", "clings":
		e.Kind, e.Framework, e.Flag = Reclaimable, FrameworkID(s.frameworks.id(name)), words[0] == "yields"
	case "unregister", "suppress", "revive":
		e.Kind = map[string]EventKind{"unregister": FrameworkRemove, "suppress": Suppress, "revive": Revive}[words[0]]
		e.Framework = FrameworkID(s.frameworks.id(name))
	case "request":
		e.Kind, e.Request = RequestSet, s.request(t, name, quantities(), option)
		f, _, _ := strings.Cut(name, "/")
		e.Framework = FrameworkID(s.frameworks.id(f))
	case "withdraw":
		f, g, _ := strings.Cut(name, "/")
		e.Kind, e.Framework, e.Group = RequestRemove, FrameworkID(s.frameworks.id(f)), GroupID(number(t, g))
	case "accept", "decline", "rescind":
		e.Kind = map[string]EventKind{"accept": Accept, "decline": Decline, "rescind": Rescind}[words[0]]
		e.Offer = OfferID(number(t, name))
		if words[0] != "accept" {
			break
		}
		e.Resources = quantities()
		if o := s.m.offerIDs.get(uint64(e.Offer)); o >= 0 {
			p := &s.m.offers[o]
			e.Count = p.count
			if v, ok := option("count"); ok {
				e.Count = uint32(number(t, v))
			}
			if e.Resources.IsZero() && p.count > 0 {
				for i := range p.res {
					e.Resources[i] = p.res[i] / int64(p.count) * int64(e.Count)
				}
			}
		}
	case "start", "end":
		f, a, _ := strings.Cut(name, "@")
		e.Kind, e.Framework, e.Agent, e.Resources = TaskStart, FrameworkID(s.frameworks.id(f)), AgentID(s.agents.id(a)), quantities()
		if words[0] == "end" {
			e.Kind = TaskEnd
		}
	case "halt":
		e.Kind = Pause
	case "go":
		e.Kind = Resume
	default:
		t.Fatalf("unknown event %q", line)
	}
	return e
}

func (s *script) request(t *testing.T, name string, shape resource.Vector, option func(string) (string, bool)) *Request {
	_, g, _ := strings.Cut(name, "/")
	s.versions[name]++
	r := &Request{Group: GroupID(number(t, g)), Version: s.versions[name], Shape: shape}
	if v, ok := option("version"); ok {
		r.Version = number(t, v)
	}
	if v, ok := option("total"); ok {
		r.Total = uint32(number(t, v))
	}
	if v, ok := option("minimum"); ok {
		r.Minimum = uint32(number(t, v))
	}
	if v, ok := option("priority"); ok {
		r.Priority = int32(number(t, v))
	}
	if v, ok := option("seen"); ok {
		r.LastOffer = OfferID(number(t, v))
	}
	_, r.Strict = option("strict")
	if v, ok := option("wait"); ok {
		node, rack, _ := strings.Cut(v, ",")
		r.NodeWait, r.RackWait = parseTime(t, node), parseTime(t, rack)
	}
	counted := func(v string) (name string, n uint32) {
		name, count, ok := strings.Cut(v, "*")
		if !ok {
			return name, 1
		}
		return name, uint32(number(t, count))
	}
	if v, ok := option("hosts"); ok {
		for _, w := range strings.Split(v, ",") {
			h, n := counted(w)
			id := s.places.Want(h, "")
			r.Hosts = append(r.Hosts, HostCount{Host: id, Rack: s.places.RackOf(id), Count: n})
		}
	}
	if v, ok := option("racks"); ok {
		for _, w := range strings.Split(v, ",") {
			rack, n := counted(w)
			r.Racks = append(r.Racks, RackCount{Rack: s.places.Rack(rack), Count: n})
		}
	}
	if v, ok := option("exclude"); ok {
		for _, w := range strings.Split(v, ",") {
			r.Excluded = append(r.Excluded, AgentID(s.agents.id(w)))
		}
	}
	return r
}

func number(t *testing.T, text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func quantity(t *testing.T, slot int, text string) int64 {
	n, err := resource.ParseQuantity(slot, text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parseTime(t *testing.T, text string) int64 {
	if text == "never" || text == "none" {
		return -1
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return int64(d)
}
