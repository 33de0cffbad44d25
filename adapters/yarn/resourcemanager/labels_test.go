package resourcemanager

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// of gives a row a label.
func of(label string, r *wire.ResourceRequestProto) *wire.ResourceRequestProto {
	r.NodeLabelExpression = proto.String(label)
	return r
}

// relabel has an agent come back with another label.
func (a *fakeAgent) relabel(label string) {
	a.disconnect()
	a.info = proto.Clone(a.info).(*v1.AgentInfo)
	a.info.Attributes[labelAttribute] = label
	a.connect()
	a.r.sleep(1100 * time.Millisecond)
}

// served are the hosts of the containers that an ask brings, in the call and long after.
func (x *fakeMaster) served(rows ...*wire.ResourceRequestProto) (out []string) {
	x.r.t.Helper()
	out = hostsOf(x.allocate(asking(rows...)))
	x.r.sleep(10 * time.Second)
	out = append(out, hostsOf(x.allocate(&wire.AllocateRequestProto{}))...)
	slices.Sort(out)
	return out
}

// A label's agents serve those that ask by it and nobody else, however long they wait.
func TestLabelsAreExclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.labelled("gpu", "g1", "/r1", 8, 8192)
		r.labelled("fast", "f1", "/r2", 8, 8192)
		r.agent("h1", "/r1", 8, 2048+2*1024)
		i := r.submit(nil)
		am := r.master(i)
		am.register()
		if on := r.where(am.container).info.Host; on != "h1" {
			t.Fatalf("a master without a label on %s", on)
		}
		expect := func(want string, rows ...*wire.ResourceRequestProto) {
			t.Helper()
			if on := fmt.Sprint(am.served(rows...)); on != want {
				t.Errorf("on %s, want %s", on, want)
			}
		}
		expect("[g1 g1]", of("gpu", want(20, "*", 2, 1024)))
		expect("[f1]", of("fast", want(30, "*", 1, 1024)), want(30, "f1", 1, 1024), want(30, "/r2", 1, 1024))
		// One of three waits, and the hosts that it names do not help.
		expect("[h1 h1]", want(40, "*", 3, 1024))
		expect("[]", want(40, "g1", 1, 1024), want(40, "*", 1, 1024))
		// The row of all places says by which label, and may say so anew.
		if a := am.allocate(asking(of("gpu", want(40, "*", 1, 1024)))); fmt.Sprint(hostsOf(a)) != "[g1]" {
			t.Errorf("on %v in the call itself", hostsOf(a))
		}
		expect("[g1]", want(50, "h1", 1, 1024), of("gpu", want(50, "*", 1, 1024)))
	})
}

// What is free for an application is what its own partitions have.
func TestHeadroomOfLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.labelled("gpu", "g1", "/r1", 8, 65536)
		r.agent("h1", "/r1", 8, 8192)
		am := started(r)
		r.sleep(2 * time.Second)
		if a := am.allocate(&wire.AllocateRequestProto{}); a.GetLimit().GetMemory() != 8192-2048 || a.GetLimit().GetVirtualCores() != 7 {
			t.Errorf("without a label: %v", a.GetLimit())
		}
		am.allocate(asking(of("gpu", want(20, "*", 1, 1024))))
		r.sleep(2 * time.Second)
		if a := am.allocate(&wire.AllocateRequestProto{}); a.GetLimit().GetMemory() != 8192-2048+65536-1024 {
			t.Errorf("with one: %v", a.GetLimit())
		}
	})
}

// A submission's label is that of its master and of asks that name none; both may say otherwise.
func TestLabelsOfSubmissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.labelled("gpu", "g1", "/r1", 8, 8192)
		r.labelled("fast", "f1", "/r1", 8, 8192)
		r.agent("h1", "/r1", 8, 8192)
		master := func(label *string) func(*wire.ApplicationSubmissionContextProto) {
			return func(x *wire.ApplicationSubmissionContextProto) {
				row := want(0, "*", 1, 1024)
				row.NodeLabelExpression = label
				x.NodeLabelExpression, x.AmContainerResourceRequest = proto.String(" gpu "), []*wire.ResourceRequestProto{row}
			}
		}
		for name, x := range map[string]struct {
			change             func(*wire.ApplicationSubmissionContextProto)
			master             string
			asks               []string // by rows without a label, with "", with fast
			saidAll, saidAtAll string
		}{
			"none":     {nil, "h1", []string{"h1", "h1", "f1"}, "<Not set>", "<Not set>"},
			"its own":  {func(x *wire.ApplicationSubmissionContextProto) { x.NodeLabelExpression = proto.String("gpu") }, "g1", []string{"g1", "h1", "f1"}, "gpu", "gpu"},
			"its rows": {master(nil), "g1", []string{"g1", "h1", "f1"}, "gpu", "gpu"},
			"another":  {master(proto.String("fast")), "f1", []string{"g1", "h1", "f1"}, "gpu", "fast"},
			"unnamed":  {master(proto.String("")), "h1", []string{"g1", "h1", "f1"}, "gpu", "<Not set>"},
		} {
			i := r.submit(x.change)
			am := r.master(i)
			am.register()
			if on := r.where(am.container).info.Host; on != x.master {
				t.Errorf("%s: the master is on %s, want %s", name, on, x.master)
			}
			var on []string
			for _, row := range []*wire.ResourceRequestProto{want(20, "*", 1, 1024), of("", want(30, "*", 1, 1024)), of("fast", want(40, "*", 1, 1024))} {
				on = append(on, am.served(row)...)
			}
			if !slices.Equal(on, x.asks) {
				t.Errorf("%s: containers on %v, want %v", name, on, x.asks)
			}
			if rep := r.report(i); rep.GetAppNodeLabelExpression() != x.saidAll || rep.GetAmNodeLabelExpression() != x.saidAtAll {
				t.Errorf("%s: %q, %q", name, rep.GetAppNodeLabelExpression(), rep.GetAmNodeLabelExpression())
			}
			am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
			r.sleep(15 * time.Second)
		}
	})
}

// What is no label here is refused as YARN refuses it, and does nothing.
func TestUnknownLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 8192)
		am := started(r)
		check := func(name string, row *wire.ResourceRequestProto, text string) {
			t.Helper()
			_, err := am.call(asking(want(20, "*", 1, 1024), row))
			if class(err) != hadooprpc.InvalidLabelResourceRequest || !strings.Contains(err.Error(), text) {
				t.Errorf("%s, of an ask: %v", name, err)
			}
			x := r.submission()
			x.AmContainerResourceRequest = []*wire.ResourceRequestProto{want(0, "*", 1, 1024), row}
			_, err = r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x})
			if class(err) != hadooprpc.InvalidLabelResourceRequest || !strings.Contains(err.Error(), text) {
				t.Errorf("%s, of a master: %v", name, err)
			}
			if row.GetResourceName() != anywhere {
				return
			}
			x = r.submission()
			x.NodeLabelExpression = row.NodeLabelExpression
			_, err = r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x})
			if class(err) != hadooprpc.InvalidLabelResourceRequest || !strings.Contains(err.Error(), text) {
				t.Errorf("%s, of a submission: %v", name, err)
			}
		}
		check("no labels at all", of("gpu", want(20, "*", 1, 1024)), "node label not enabled but request contains label expression")
		r.labelled("gpu", "g1", "/r1", 8, 8192)
		check("another", of("fpga", want(20, "*", 1, 1024)), "Invalid label resource request, cluster do not contain , label= fpga")
		check("two", of("gpu && fast", want(20, "*", 1, 1024)), "specified more than one node label in a node label expression, node label expression = gpu && fast")
		check("a host's", of("gpu", want(20, "g1", 1, 1024)), "specified node label expression in a resource request has resource name = g1")
		check("no text", of("\xff"+strings.Repeat("x", 1<<16), want(20, "*", 1, 1024)), "cluster do not contain")
		if on := am.served(); len(on) != 0 {
			t.Errorf("what was refused brought containers on %v", on)
		}
		// An agent whose label is none is in no partition: it serves nobody.
		r.labelled("a b", "b1", "/r1", 8, 65536)
		am.allocate(asking(want(30, "*", 9, 1024)))
		if r.sleep(10 * time.Second); len(r.agents[2].byName) != 0 {
			t.Errorf("it serves %v", r.agents[2].byName)
		}
		if x, err := r.m.getClusterNodes(context.Background(), as("ann"), &wire.GetClusterNodesRequestProto{}); err != nil || len(x.(*wire.GetClusterNodesResponseProto).NodeReports) != 2 {
			t.Errorf("%v, %v", x, err)
		}
	})
}

// Agents come after those that wait for them, and are offered before any snapshot knows of their label.
func TestLabelsOfAgentsThatCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.labelled("gpu", "g1", "/r1", 2, 2048)
		r.agent("h1", "/r1", 2, 2048)
		am := started(r)
		if on := am.served(of("gpu", want(10, "*", 3, 1024)), want(20, "*", 1, 1024)); fmt.Sprint(on) != "[g1 g1]" {
			t.Fatalf("on %v", on)
		}
		waiting := r.submit(func(x *wire.ApplicationSubmissionContextProto) { x.NodeLabelExpression = proto.String("gpu") })
		other := r.appear("fast", "f1", "/r1", 8, 8192)
		r.sleep(10 * time.Second)
		if len(other.byName) != 0 {
			t.Errorf("an agent with another label serves %v", other.byName)
		}
		r.appear("", "h2", "/r1", 8, 8192)
		r.sleep(10 * time.Second)
		if a := am.allocate(&wire.AllocateRequestProto{}); fmt.Sprint(hostsOf(a)) != "[h2]" {
			t.Errorf("on %v", hostsOf(a))
		}
		// One that changes its label serves those of the new one, and what runs there runs on.
		other.relabel("gpu")
		r.sleep(10 * time.Second)
		if a := am.allocate(&wire.AllocateRequestProto{}); fmt.Sprint(hostsOf(a)) != "[f1]" || len(other.byName) != 2 {
			t.Errorf("on %v, and there %v", hostsOf(a), other.byName)
		}
		if on := r.where(r.master(waiting).container); on != other {
			t.Errorf("the master that waited is on %v", on.info.Host)
		}
		other.relabel("")
		if on := am.served(of("gpu", want(10, "*", 1, 1024)), want(20, "*", 12, 1024)); fmt.Sprint(on) != "[f1 f1 f1 f1 f1 h2 h2 h2 h2 h2 h2 h2]" {
			t.Errorf("on %v", on)
		}
	})
}

// A label that a live application asks by stays known to it when its last agent has gone, and over the broker's restart.
func TestLabelsOutliveTheirAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		g := r.labelled("gpu", "g1", "/r1", 2, 2048)
		r.agent("h1", "/r1", 8, 8192)
		am := started(r)
		am.served(of("gpu", want(10, "*", 3, 1024)))
		r.halt()
		r.start()
		r.sleep(1100 * time.Millisecond)
		// No agent is back yet; the master states its asks again.
		am.register()
		am.allocate(asking(of("gpu", want(10, "*", 2, 1024)), want(20, "*", 1, 1024)))
		r.agents[1].connect()
		r.sleep(10 * time.Second)
		if a := am.allocate(&wire.AllocateRequestProto{}); fmt.Sprint(hostsOf(a)) != "[h1]" {
			t.Errorf("on %v", hostsOf(a))
		}
		g.relabel("")
		if on := am.served(of("gpu", want(10, "*", 1, 1024))); len(on) != 0 {
			t.Errorf("on %v", on)
		}
		x := r.submission()
		x.NodeLabelExpression = proto.String("gpu")
		if _, err := r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x}); class(err) != hadooprpc.InvalidLabelResourceRequest {
			t.Errorf("a new one by a label of no agent: %v", err)
		}
	})
}

// What clients hear of labels, and that nobody changes them from outside.
func TestLabelsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.labelled("gpu", "g2", "/r1", 2, 2048)
		r.labelled("gpu", "g1", "/r1", 2, 2048)
		r.labelled("fast", "f1", "/r1", 2, 2048)
		r.agent("h1", "/r1", 8, 8192)
		methods := r.m.clientProtocol().Methods
		call := func(name string, q, into proto.Message) {
			t.Helper()
			b, _ := proto.Marshal(q)
			x, err := methods[name](context.Background(), as("ann"), b)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			proto.Merge(into, x)
		}
		var labels wire.GetClusterNodeLabelsResponseProto
		call("getClusterNodeLabels", &wire.GetClusterNodeLabelsRequestProto{}, &labels)
		said := ""
		for _, l := range labels.NodeLabels {
			said += fmt.Sprintf("%s %v;", l.GetName(), l.GetIsExclusive())
		}
		if said != "fast true;gpu true;" {
			t.Errorf("labels: %s", said)
		}
		var nodes wire.GetNodesToLabelsResponseProto
		call("getNodeToLabels", &wire.GetNodesToLabelsRequestProto{}, &nodes)
		said = ""
		for _, n := range nodes.NodeToLabels {
			said += fmt.Sprintf("%s:%d %v;", n.GetNodeId().GetHost(), n.GetNodeId().GetPort(), n.NodeLabels)
		}
		if said != "f1:8041 [fast];g1:8041 [gpu];g2:8041 [gpu];" {
			t.Errorf("nodes: %s", said)
		}
		for _, x := range []struct {
			filter []string
			want   string
		}{{nil, "fast [f1];gpu [g1 g2];"}, {[]string{"gpu", "none"}, "gpu [g1 g2];"}, {[]string{"none"}, ""}} {
			var by wire.GetLabelsToNodesResponseProto
			call("getLabelsToNodes", &wire.GetLabelsToNodesRequestProto{NodeLabels: x.filter}, &by)
			said = ""
			for _, l := range by.LabelsToNodes {
				var hosts []string
				for _, n := range l.NodeId {
					hosts = append(hosts, n.GetHost())
				}
				said += fmt.Sprintf("%s %v;", l.GetNodeLabels(), hosts)
			}
			if said != x.want {
				t.Errorf("nodes by %v: %s", x.filter, said)
			}
		}
		var reports wire.GetClusterNodesResponseProto
		call("getClusterNodes", &wire.GetClusterNodesRequestProto{}, &reports)
		said = ""
		for _, n := range reports.NodeReports {
			said += fmt.Sprintf("%s %v;", n.GetNodeId().GetHost(), n.NodeLabels)
		}
		if said != "f1 [fast];g1 [gpu];g2 [gpu];h1 [];" {
			t.Errorf("reports: %s", said)
		}
		for _, name := range []string{"addToClusterNodeLabels", "removeFromClusterNodeLabels", "replaceLabelsOnNodes"} {
			_, err := r.m.adminProtocol().Methods[name](context.Background(), as("admin"), nil)
			if class(err) != hadooprpc.YarnException || !strings.Contains(err.Error(), "because centralized node label configuration is not enabled") || !strings.Contains(err.Error(), "agent.attributes") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Whatever agents and asks there are: no container is where its ask's label is not, and none waits that could run.
func TestRandomLabels(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomLabels(t, rand.New(rand.NewPCG(seed, 4))) })
		})
	}
}

func randomLabels(t *testing.T, rnd *rand.Rand) {
	r := newRig(t, nil)
	names := []string{"", "gpu", "fast"}
	labels := map[string]string{} // by host
	room := map[string]int{}      // containers, by label
	for i := range 6 {
		host, label := fmt.Sprint("h", i), names[rnd.IntN(3)]
		if i < 3 {
			label = names[i]
		}
		labels[host] = label
		room[label] += 8
		r.appear(label, host, "/r1", 8, 8192)
	}
	r.sleep(1100 * time.Millisecond)
	am := started(r)
	room[""] -= 2
	wanted := map[int32]string{}
	count := map[string]int{}
	var rows []*wire.ResourceRequestProto
	for p := range int32(8) {
		label, n := names[rnd.IntN(3)], 1+rnd.IntN(6)
		wanted[p+10] = label
		count[label] += n
		rows = append(rows, of(label, want(p+10, "*", int32(n), 1024)), want(p+10, fmt.Sprint("h", rnd.IntN(6)), int32(n), 1024))
	}
	got := map[string]int{}
	hear := func(a *wire.AllocateResponseProto) {
		for _, c := range a.AllocatedContainers {
			label := wanted[c.GetPriority().GetPriority()]
			if is := labels[c.GetNodeId().GetHost()]; is != label {
				t.Errorf("an ask by %q is served by %q", label, is)
			}
			if g := r.grants(mustContainer(t, c).Application())[containerName(c)]; g == nil {
				t.Errorf("%s does not run", containerName(c))
			}
			got[label]++
		}
	}
	hear(am.allocate(asking(rows...)))
	for range 3 {
		r.sleep(10 * time.Second)
		hear(am.allocate(&wire.AllocateRequestProto{}))
	}
	for _, label := range names {
		if n := min(count[label], room[label]); got[label] != n {
			t.Errorf("%q: %d containers of %d wanted, room for %d", label, got[label], count[label], room[label])
		}
	}
}

func mustContainer(t *testing.T, c *wire.ContainerProto) id.ContainerID {
	t.Helper()
	i, err := id.ContainerFrom(c.GetId())
	if err != nil {
		t.Fatal(err)
	}
	return i
}
