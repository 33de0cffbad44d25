package resourcemanager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	rpc "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core"
)

func hostsOf(a *wire.AllocateResponseProto) (out []string) {
	for _, c := range a.AllocatedContainers {
		out = append(out, c.GetNodeId().GetHost())
	}
	slices.Sort(out)
	return out
}

func unrelaxed(r *wire.ResourceRequestProto) *wire.ResourceRequestProto {
	r.RelaxLocality = proto.Bool(false)
	return r
}

func started(r *rig) *fakeMaster {
	am := r.master(r.submit(nil))
	am.register()
	return am
}

func TestLocality(t *testing.T) {
	three := func(r *rig) {
		r.agent("h1", "/r1", 16, 32768)
		r.agent("h2", "/r1", 16, 32768)
		r.agent("h3", "/r2", 16, 32768)
	}
	for name, x := range map[string]struct {
		rows []*wire.ResourceRequestProto
		want []string
	}{
		"hosts":              {[]*wire.ResourceRequestProto{want(20, "h3", 2, 1024), want(20, "/r2", 2, 1024), want(20, "*", 2, 1024)}, []string{"h3", "h3"}},
		"hosts in capitals":  {[]*wire.ResourceRequestProto{want(20, "H3", 2, 1024), want(20, "*", 2, 1024)}, []string{"h3", "h3"}},
		"a rack":             {[]*wire.ResourceRequestProto{want(20, "/r2", 2, 1024), want(20, "*", 2, 1024)}, []string{"h3", "h3"}},
		"replicas":           {[]*wire.ResourceRequestProto{want(20, "h1", 1, 1024), want(20, "h3", 1, 1024), want(20, "*", 1, 1024)}, []string{"h1"}},
		"an unknown rack":    {[]*wire.ResourceRequestProto{want(20, "/nowhere", 1, 1024), want(20, "h2", 1, 1024), want(20, "*", 1, 1024)}, []string{"h2"}},
		"strict":             {[]*wire.ResourceRequestProto{want(20, "h2", 1, 1024), unrelaxed(want(20, "/r1", 1, 1024)), unrelaxed(want(20, "*", 1, 1024))}, []string{"h2"}},
		"strict nowhere":     {[]*wire.ResourceRequestProto{want(20, "h9", 1, 1024), unrelaxed(want(20, "/r1", 1, 1024)), unrelaxed(want(20, "*", 1, 1024))}, nil},
		"strict in a rack":   {[]*wire.ResourceRequestProto{want(20, "/r2", 2, 1024), unrelaxed(want(20, "*", 2, 1024))}, []string{"h3", "h3"}},
		"rows without a sum": {[]*wire.ResourceRequestProto{want(20, "h2", 1, 1024), want(20, "/r1", 1, 1024)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				three(r)
				am := started(r)
				got := hostsOf(am.allocate(asking(x.rows...)))
				if len(x.want) == 1 && name == "replicas" && len(got) == 1 && got[0] == "h3" {
					return // either will do
				}
				if !slices.Equal(got, x.want) {
					t.Errorf("on %v, want %v", got, x.want)
				}
				r.sleep(20 * time.Second)
				if more := am.allocate(&wire.AllocateRequestProto{}); len(more.AllocatedContainers) != 0 {
					t.Errorf("later more on %v", hostsOf(more))
				}
			})
		})
	}
}

// Priorities are strict: nothing goes to a lower one while a higher one waits for what is there.
func TestPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 16, 2048+4*1024)
		am := started(r)
		a := am.allocate(asking(want(20, "*", 3, 1024), want(10, "*", 2, 1024), want(5, "*", 1, 1024)))
		count := map[int32]int{}
		for _, c := range a.AllocatedContainers {
			count[c.GetPriority().GetPriority()]++
		}
		if count[5] != 1 || count[10] != 2 || count[20] != 1 {
			t.Errorf("by priority: %v", count)
		}
		if a.GetLimit().GetMemory() != 0 {
			t.Errorf("headroom %v on a full cluster", a.GetLimit())
		}
	})
}

// Counts are absolute; what was granted and not handed over is taken off what the master states meanwhile.
func TestAsksAreAbsolute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 64, 65536)
		am := started(r)
		r.journal.hold() // grants take longer than the call waits
		begun := time.Now()
		a := am.allocate(asking(want(20, "*", 4, 1024)))
		if len(a.AllocatedContainers) != 0 || time.Since(begun) != 100*time.Millisecond { // the disk is waited for a little longer
			t.Fatalf("%d containers after %v", len(a.AllocatedContainers), time.Since(begun))
		}
		// It has heard of none and states its total again, with one more.
		b := am.allocate(asking(want(20, "*", 5, 1024)))
		if len(b.AllocatedContainers) != 0 {
			t.Fatalf("%v", b)
		}
		r.journal.release()
		synctest.Wait()
		r.sleep(time.Second)
		c := am.allocate(&wire.AllocateRequestProto{})
		if len(c.AllocatedContainers) != 5 {
			t.Fatalf("%d containers, want 5", len(c.AllocatedContainers))
		}
		// Less than before, then nothing.
		d := am.allocate(asking(want(20, "*", 2, 1024)))
		e := am.allocate(asking(want(20, "*", 0, 1024)))
		r.sleep(time.Second)
		f := am.allocate(&wire.AllocateRequestProto{})
		if len(d.AllocatedContainers) != 2 || len(e.AllocatedContainers)+len(f.AllocatedContainers) != 0 {
			t.Errorf("%d, %d, %d", len(d.AllocatedContainers), len(e.AllocatedContainers), len(f.AllocatedContainers))
		}
	})
}

func TestBlacklist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 16, 32768)
		r.agent("h2", "/r2", 16, 32768)
		am := started(r)
		q := asking(want(20, "*", 3, 1024), want(20, "h1", 3, 1024))
		q.BlacklistRequest = &wire.ResourceBlacklistRequestProto{BlacklistAdditions: []string{"h1"}}
		if got := hostsOf(am.allocate(q)); !slices.Equal(got, []string{"h2", "h2", "h2"}) {
			t.Errorf("on %v", got)
		}
		q = asking(want(20, "*", 1, 1024), want(20, "h1", 1, 1024))
		q.BlacklistRequest = &wire.ResourceBlacklistRequestProto{BlacklistAdditions: []string{"/r2"}, BlacklistRemovals: []string{"h1"}}
		if got := hostsOf(am.allocate(q)); !slices.Equal(got, []string{"h1"}) {
			t.Errorf("on %v", got)
		}
		q = &wire.AllocateRequestProto{BlacklistRequest: &wire.ResourceBlacklistRequestProto{BlacklistAdditions: []string{"*"}}}
		if _, err := am.call(q); class(err) != hadooprpc.InvalidResourceBlacklistRequest {
			t.Error(err)
		}
	})
}

// What a master may not ask is refused as YARN refuses it, and leaves everything as it was.
func TestBadAllocate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 16, 32768)
		am := started(r)
		labelled, negative := want(20, "*", 1, 1024), want(20, "*", -1, 1024)
		labelled.NodeLabelExpression = proto.String("gpu")
		other := id.NewContainer(id.AttemptID{Application: id.ApplicationID{Timestamp: 5, Number: 1}, Number: 1}, 0, 2)
		gpu := want(20, "*", 1, 1024)
		gpu.Capability.ResourceValueMap = append(gpu.Capability.ResourceValueMap, &wire.ResourceInformationProto{Key: proto.String("yarn.io/gpu"), Value: proto.Int64(1)})
		for name, x := range map[string]struct {
			q    *wire.AllocateRequestProto
			want string
		}{
			"more than any agent has":    {asking(want(20, "*", 1, 65536)), hadooprpc.InvalidResourceRequest},
			"a kind that nobody has":     {asking(gpu), hadooprpc.InvalidResourceRequest},
			"a label":                    {asking(labelled), hadooprpc.InvalidLabelResourceRequest},
			"a negative count":           {asking(want(20, "*", 1, 1024), negative), hadooprpc.InvalidResourceRequest},
			"negative memory":            {asking(want(20, "*", 1, -1)), hadooprpc.InvalidResourceRequest},
			"another's container":        {&wire.AllocateRequestProto{Release: []*wire.ContainerIdProto{other.Proto()}}, hadooprpc.InvalidContainerRelease},
			"no container":               {&wire.AllocateRequestProto{Release: []*wire.ContainerIdProto{{}}}, hadooprpc.InvalidContainerRelease},
			"a scheduling request":       {&wire.AllocateRequestProto{SchedulingRequests: []*wire.SchedulingRequestProto{{}}}, hadooprpc.InvalidResourceRequest},
			"a name of a place too long": {asking(want(20, strings.Repeat("x", 300), 1, 1024)), hadooprpc.InvalidResourceRequest},
		} {
			if _, err := am.call(x.q); class(err) != x.want {
				t.Errorf("%s: %v, want %s", name, err, x.want)
			}
		}
		if a := am.allocate(&wire.AllocateRequestProto{}); a.GetResponseId() != 1 || len(a.AllocatedContainers) != 0 {
			t.Errorf("after the refusals: %v", a)
		}
		i, _ := id.ParseContainer(am.container)
		a := am.allocate(&wire.AllocateRequestProto{Release: []*wire.ContainerIdProto{i.Proto()}, UpdateRequests: []*wire.UpdateContainerRequestProto{
			{ContainerVersion: proto.Int32(0), ContainerId: i.Proto(), UpdateType: wire.ContainerUpdateTypeProto_INCREASE_RESOURCE.Enum()},
		}})
		if len(a.UpdateErrors) != 1 || r.where(am.container) == nil {
			t.Errorf("a master changes and releases itself: %v", a)
		}
		if _, err := r.m.registerMaster(context.Background(), am.caller, &wire.RegisterApplicationMasterRequestProto{}); class(err) != hadooprpc.InvalidApplicationMasterRequest {
			t.Errorf("registers twice: %v", err)
		}
		if _, err := r.m.allocate(context.Background(), as("ann"), &wire.AllocateRequestProto{}); class(err) != hadooprpc.AccessControlException {
			t.Errorf("without a token: %v", err)
		}
	})
}

func queues(config *core.Config, o *Options) {
	config.Roles = []core.Role{{Path: "a/b"}, {Path: "closed"}, {Path: "full"}, {Path: "small", Limit: &v1.Resources{MemoryBytes: 6 << 30}}}
	o.Queues = func() (map[string]Queue, error) {
		return map[string]Queue{"closed": {Stopped: true}, "full": {MaxApplications: 1}, "a": {Submit: "bob"}, "a/b": {Administer: "boss"}}, nil
	}
}

func TestQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, queues)
		r.agent("h1", "/r1", 16, 65536)
		try := func(who, queue string) (id.ApplicationID, error) {
			x := r.submission()
			x.Queue = proto.String(queue)
			i, _ := id.ApplicationFrom(x.ApplicationId)
			_, err := r.m.submitApplication(context.Background(), as(who), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x})
			synctest.Wait()
			return i, err
		}
		i, err := try("ann", "nosuch")
		if class(err) != hadooprpc.YarnException || err.Error() != fmt.Sprintf("Application %s submitted by user ann to unknown queue: nosuch", i) {
			t.Errorf("unknown: %v", err)
		}
		i, err = try("ann", "root.closed")
		if class(err) != hadooprpc.YarnException || err.Error() != fmt.Sprintf("Queue root.closed is STOPPED. Cannot accept submission of application: %s", i) {
			t.Errorf("stopped: %v", err)
		}
		if _, err := try("ann", "full"); err != nil {
			t.Errorf("the first: %v", err)
		}
		i, err = try("ann", "full")
		if class(err) != hadooprpc.YarnException || err.Error() != fmt.Sprintf("Queue root.full already has 1 applications, cannot accept submission of application: %s", i) {
			t.Errorf("full: %v", err)
		}
		i, err = try("ann", "root.a.b")
		if class(err) != hadooprpc.AccessControlException || err.Error() != fmt.Sprintf("User ann does not have permission to submit %s to queue root.a.b", i) {
			t.Errorf("no right: %v", err)
		}
		i, err = try("bob", "b") // the right is inherited, and a last name is enough
		if err != nil || r.report(i).GetQueue() != "root.a.b" {
			t.Fatalf("%v, %v", err, r.report(i))
		}
		if _, err := r.m.forceKillApplication(context.Background(), as("boss"), &wire.KillApplicationRequestProto{ApplicationId: i.Proto()}); err != nil {
			t.Errorf("who administers the queue may kill: %v", err)
		}
		// Moving.
		i = r.submit(nil)
		am := r.master(i)
		am.register()
		am.allocate(asking(want(20, "*", 1, 2048)))
		move := func(who, to string) error {
			_, err := r.m.moveApplication(context.Background(), as(who), &wire.MoveApplicationAcrossQueuesRequestProto{ApplicationId: i.Proto(), TargetQueue: proto.String(to)})
			synctest.Wait()
			return err
		}
		if err := move("bob", "a.b"); class(err) != hadooprpc.AccessControlException {
			t.Errorf("a stranger moves: %v", err)
		}
		if err := move("ann", "small"); err != nil || r.report(i).GetQueue() != "root.small" {
			t.Fatalf("move: %v, %v", err, r.report(i))
		}
		b := am.allocate(asking(want(20, "*", 3, 2048)))
		if len(b.AllocatedContainers) != 1 { // its master, one container of before, and this one fill the 6 GiB
			t.Errorf("%d containers in a small queue", len(b.AllocatedContainers))
		}
		r.restart()
		if r.report(i).GetQueue() != "root.small" {
			t.Errorf("after a restart: %v", r.report(i))
		}
		x, err := r.m.getQueueInfo(context.Background(), as("ann"), &wire.GetQueueInfoRequestProto{QueueName: proto.String("root"), IncludeChildQueues: proto.Bool(true), Recursive: proto.Bool(true), IncludeApplications: proto.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, q := range x.(*wire.GetQueueInfoResponseProto).QueueInfo.ChildQueues {
			names = append(names, q.GetQueuePath())
		}
		if !slices.Equal(names, []string{"root.a", "root.closed", "root.default", "root.full", "root.small"}) {
			t.Errorf("queues %v", names)
		}
		if _, err := r.m.getQueueInfo(context.Background(), as("ann"), &wire.GetQueueInfoRequestProto{QueueName: proto.String("x")}); class(err) != hadooprpc.YarnException {
			t.Error(err)
		}
	})
}

// Masters take a part of their queue only, and the next one comes when one has gone.
func TestMastersDoNotFillAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 64, 32*1024)
		var all []id.ApplicationID
		for range 5 {
			all = append(all, r.submit(nil))
		}
		running := func() (n int) {
			for _, i := range all {
				n += len(r.grants(i))
			}
			return n
		}
		if running() != 3 { // 3 times 2 GiB within a fifth of 32
			t.Fatalf("%d masters run", running())
		}
		am := r.master(all[0])
		am.register()
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.where(am.container).finish(am.container, 0, "")
		synctest.Wait()
		if running() != 3 || len(r.grants(all[3])) != 1 {
			t.Errorf("%d masters run, the fourth: %v", running(), r.grants(all[3]))
		}
		if _, err := r.m.forceKillApplication(context.Background(), as("ann"), &wire.KillApplicationRequestProto{ApplicationId: all[4].Proto()}); err != nil {
			t.Error(err)
		}
	})
}

func TestDelegationTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := core.New(core.Options{Journal: &memJournal{}})
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t}
		if r.m, err = New(Options{Broker: b, Key: []byte("0123456789abcdef"), Host: "rm.example"}); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }() // and no manager, which would look around each second of these days
		defer func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		<-b.Ready()
		close(r.m.ready)
		get := func() *rpc.TokenProto {
			x, err := r.m.getDelegationToken(context.Background(), as("ann"), &rpc.GetDelegationTokenRequestProto{Renewer: proto.String("oozie/host@R")})
			if err != nil {
				t.Fatal(err)
			}
			return x.(*rpc.GetDelegationTokenResponseProto).Token
		}
		p := get()
		s, err := r.m.clientSecret(context.Background(), p.Identifier)
		if err != nil || s.User != "ann" || string(s.Password) != string(p.Password) || p.GetKind() != token.KindDelegation {
			t.Fatalf("%v, %v", s, err)
		}
		r.sleep(20 * time.Hour)
		if _, err := r.m.renewDelegationToken(context.Background(), as("bob"), &rpc.RenewDelegationTokenRequestProto{Token: p}); class(err) != hadooprpc.AccessControlException {
			t.Errorf("a stranger renews: %v", err)
		}
		if _, err := r.m.renewDelegationToken(context.Background(), as("oozie"), &rpc.RenewDelegationTokenRequestProto{Token: p}); err != nil {
			t.Error(err)
		}
		r.sleep(20 * time.Hour)
		if _, err := r.m.clientSecret(context.Background(), p.Identifier); err != nil {
			t.Errorf("after it was renewed: %v", err)
		}
		r.sleep(5 * time.Hour)
		if _, err := r.m.clientSecret(context.Background(), p.Identifier); class(err) != hadooprpc.InvalidToken {
			t.Errorf("after its end: %v", err)
		}
		p = get()
		forged := writable.TokenFrom(p)
		forged.Password = append([]byte{forged.Password[0] ^ 1}, forged.Password[1:]...)
		if _, err := r.m.cancelDelegationToken(context.Background(), as("ann"), &rpc.CancelDelegationTokenRequestProto{Token: forged.Proto()}); class(err) != hadooprpc.InvalidToken {
			t.Errorf("a forged one: %v", err)
		}
		if _, err := r.m.cancelDelegationToken(context.Background(), as("ann"), &rpc.CancelDelegationTokenRequestProto{Token: p}); err != nil {
			t.Error(err)
		}
		if _, err := r.m.clientSecret(context.Background(), p.Identifier); class(err) != hadooprpc.InvalidToken {
			t.Errorf("a cancelled one: %v", err)
		}
	})
}

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 16, 65536)
		i := r.submit(nil)
		if _, err := r.m.updatePriority(context.Background(), as("ann"), &wire.UpdateApplicationPriorityRequestProto{ApplicationId: i.Proto(), ApplicationPriority: &wire.PriorityProto{Priority: proto.Int32(7)}}); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Hour)
		if _, err := r.m.updateTimeouts(context.Background(), as("ann"), &wire.UpdateApplicationTimeoutsRequestProto{ApplicationId: i.Proto(), ApplicationTimeouts: []*wire.ApplicationUpdateTimeoutMapProto{
			{ApplicationTimeoutType: wire.ApplicationTimeoutTypeProto_APP_TIMEOUT_LIFETIME.Enum(), ExpireTime: proto.String(at.Format(expiryFormat))},
		}}); err != nil {
			t.Fatal(err)
		}
		rep := r.report(i)
		if rep.GetPriority().GetPriority() != 7 || rep.AppTimeouts[0].ApplicationTimeout.GetRemainingTime() != 3600 {
			t.Errorf("%v", rep)
		}
		r.restart()
		r.master(i).register()
		if rep := r.report(i); rep.GetPriority().GetPriority() != 7 {
			t.Errorf("%v", rep)
		}
		am := r.master(i)
		for range 4 {
			r.sleep(14 * time.Minute)
			_, _ = am.call(&wire.AllocateRequestProto{})
		}
		r.sleep(4 * time.Minute)
		if rep := r.report(i); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_KILLED || !strings.Contains(rep.GetDiagnostics(), "exceeding its lifetime") {
			t.Errorf("after its lifetime: %v", rep)
		}
	})
}

// Operators may, others may not; what does nothing here is not answered with success.
func TestAdministration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := false
		r := newRig(t, func(c *core.Config, o *Options) {
			o.Queues = func() (map[string]Queue, error) { return map[string]Queue{"default": {Stopped: stopped}}, nil }
		})
		methods := r.m.adminProtocol().Methods
		call := func(who, name string, q proto.Message) error {
			b, _ := proto.Marshal(q)
			_, err := methods[name](context.Background(), as(who), b)
			return err
		}
		if err := call("ann", "refreshQueues", &wire.RefreshQueuesRequestProto{}); class(err) != hadooprpc.AccessControlException {
			t.Errorf("ann: %v", err)
		}
		stopped = true
		if err := call("admin", "refreshQueues", &wire.RefreshQueuesRequestProto{}); err != nil {
			t.Error(err)
		}
		if !r.m.isStopped("default") {
			t.Error("the queues were not read again")
		}
		for _, name := range []string{"addToClusterNodeLabels", "updateNodeResource", "refreshServiceAcls", "getFederationSubClusters"} {
			if err := call("admin", name, &wire.RefreshQueuesRequestProto{}); class(err) != hadooprpc.YarnException {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Submissions that cannot be, each with what its client hears.
func TestBadSubmissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		many := make([]string, 11)
		for name, x := range map[string]struct {
			change func(*wire.ApplicationSubmissionContextProto)
			who    string
			want   string
		}{
			"an id of tomorrow": {func(x *wire.ApplicationSubmissionContextProto) {
				x.ApplicationId.ClusterTimestamp = proto.Int64(1 << 50)
			}, "ann", hadooprpc.YarnException},
			"an id not given":    {func(x *wire.ApplicationSubmissionContextProto) { x.ApplicationId.Id = proto.Int32(1 << 20) }, "ann", hadooprpc.YarnException},
			"no id":              {func(x *wire.ApplicationSubmissionContextProto) { x.ApplicationId = nil }, "ann", hadooprpc.YarnException},
			"two megabytes":      {func(x *wire.ApplicationSubmissionContextProto) { x.AmContainerSpec.Tokens = make([]byte, 2<<20) }, "ann", hadooprpc.YarnException},
			"broken credentials": {func(x *wire.ApplicationSubmissionContextProto) { x.AmContainerSpec.Tokens = []byte("HDTSx") }, "ann", hadooprpc.YarnException},
			"too large":          {func(x *wire.ApplicationSubmissionContextProto) { x.Resource = token.Resource(1<<20, 1) }, "ann", hadooprpc.InvalidResourceRequest},
			"no command":         {func(x *wire.ApplicationSubmissionContextProto) { x.AmContainerSpec.Command = nil }, "ann", hadooprpc.YarnException},
			"many tags":          {func(x *wire.ApplicationSubmissionContextProto) { x.ApplicationTags = many }, "ann", hadooprpc.IllegalArgument},
			"a label":            {func(x *wire.ApplicationSubmissionContextProto) { x.NodeLabelExpression = proto.String("gpu") }, "ann", hadooprpc.InvalidLabelResourceRequest},
			"a reservation":      {func(x *wire.ApplicationSubmissionContextProto) { x.ReservationId = &wire.ReservationIdProto{} }, "ann", hadooprpc.YarnException},
			"nobody":             {func(x *wire.ApplicationSubmissionContextProto) {}, "", hadooprpc.AccessControlException},
			"a path":             {func(x *wire.ApplicationSubmissionContextProto) {}, "..", hadooprpc.AccessControlException},
		} {
			s := r.submission()
			x.change(s)
			_, err := r.m.submitApplication(context.Background(), as(x.who), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: s})
			if class(err) != x.want {
				t.Errorf("%s: %v, want %s", name, err, x.want)
			}
		}
		if n := len(r.m.Applications()); n != 0 {
			t.Errorf("%d applications are left", n)
		}
		// Nothing that was refused takes a place.
		r.master(r.submit(nil))
	})
}

// An ask waits for places of its own hosts about as long as a JVM holds one, from the last that it got.
func TestNodeWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 2, 4096)
		r.agent("h2", "/r1", 16, 32768)
		am := started(r)
		got := hostsOf(am.allocate(asking(want(20, "h1", 20, 1024), want(20, "/r1", 20, 1024), want(20, "*", 20, 1024))))
		first := len(got)
		if first == 0 || slices.Contains(got, "h2") {
			t.Fatalf("on %v", got)
		}
		r.sleep(9 * time.Second)
		if more := am.allocate(&wire.AllocateRequestProto{}); len(more.AllocatedContainers) != 0 {
			t.Errorf("within the wait more on %v", hostsOf(more))
		}
		r.sleep(2 * time.Second)
		if more := hostsOf(am.allocate(&wire.AllocateRequestProto{})); len(more) == 0 || slices.Contains(more, "h1") {
			t.Errorf("after the wait more on %v", more)
		}
	})
}
