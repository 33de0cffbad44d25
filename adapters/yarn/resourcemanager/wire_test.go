package resourcemanager

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	rpc "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core"
)

// served is a manager behind real sockets, on a real clock, with one agent whose launches are heard.
type served struct {
	m        *Manager
	broker   *core.Broker
	launched chan *v1.TaskSpec
	client   string
	master   string
	admin    string
}

func serve(t testing.TB) *served { return serveWith(t, "h1:8041") }

// serveWith has the agent say that its ContainerManagement server is at node.
func serveWith(t testing.TB, node string) *served {
	t.Helper()
	b, err := core.New(core.Options{Journal: &memJournal{}})
	if err != nil {
		t.Fatal(err)
	}
	var ls [3]net.Listener
	for i := range ls {
		if ls[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	m, err := New(Options{
		Broker: b, Key: []byte("0123456789abcdef"), Host: "127.0.0.1", Client: ls[0], Scheduler: ls[1], Admin: ls[2], Operators: []string{"admin"}, MasterShare: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- b.Run(ctx) }()
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	<-b.Ready()
	s, err := b.OpenAgent(ctx, api.Caller{User: "agent", Operator: true})
	if err != nil {
		t.Fatal(err)
	}
	x := &served{m: m, broker: b, launched: make(chan *v1.TaskSpec, 1<<16), client: ls[0].Addr().String(), master: ls[1].Addr().String(), admin: ls[2].Addr().String()}
	_ = s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Register{Register: &v1.RegisterAgent{Info: &v1.AgentInfo{
		Host: "h1", Rack: "/r1", BootId: "boot", Total: &v1.Resources{CpuMilli: 100_000_000, MemoryBytes: 1 << 50},
		Attributes: map[string]string{addressAttribute: node, httpAttribute: "h1:8042"},
	}}}})
	go func() {
		for c := range s.Commands() {
			if l := c.GetLaunch(); l != nil {
				_ = s.Send(&v1.AgentMessage{Message: &v1.AgentMessage_Status{Status: &v1.TaskStatus{Task: l.Task, State: v1.TaskState_TASK_STATE_RUNNING, Sequence: 1}}})
				x.launched <- l
			}
		}
	}()
	<-m.Ready()
	if err := m.refresh(ctx); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *served) dial(t testing.TB, addr string, o hadooprpc.ClientOptions) *hadooprpc.Client {
	t.Helper()
	c, err := hadooprpc.Dial(context.Background(), addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const masterProtocolName = "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB"

// start submits an application and is its master.
func (x *served) start(t testing.TB, client *hadooprpc.Client) *hadooprpc.Client {
	t.Helper()
	ctx := context.Background()
	var fresh wire.GetNewApplicationResponseProto
	if err := client.Call(ctx, "getNewApplication", &wire.GetNewApplicationRequestProto{}, &fresh); err != nil {
		t.Fatal(err)
	}
	err := client.Call(ctx, "submitApplication", &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: &wire.ApplicationSubmissionContextProto{
		ApplicationId: fresh.ApplicationId, Resource: token.Resource(1024, 1), AmContainerSpec: &wire.ContainerLaunchContextProto{Command: []string{"java"}},
	}}, &wire.SubmitApplicationResponseProto{})
	if err != nil {
		t.Fatal(err)
	}
	l := <-x.launched
	g, lc := &grant.Grant{}, &wire.ContainerLaunchContextProto{}
	if err := proto.Unmarshal(l.Data, g); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(g.LaunchContext, lc); err != nil {
		t.Fatal(err)
	}
	credentials, err := writable.ParseCredentials(lc.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	tok, _ := credentials.OfKind(token.KindAMRM)
	am := x.dial(t, x.master, hadooprpc.ClientOptions{Protocol: masterProtocolName, Token: &tok})
	if err := am.Call(ctx, "registerApplicationMaster", &wire.RegisterApplicationMasterRequestProto{Host: proto.String("h1"), RpcPort: proto.Int32(1)}, &wire.RegisterApplicationMasterResponseProto{}); err != nil {
		t.Fatal(err)
	}
	return am
}

// Over the wire: a client, a master with its token, an operator; and those that are not who they say.
func TestOverTheWire(t *testing.T) {
	x := serve(t)
	ctx := context.Background()
	client := x.dial(t, x.client, hadooprpc.ClientOptions{Protocol: clientProtocolName, User: "ann"})
	am := x.start(t, client)
	var a wire.AllocateResponseProto
	if err := am.Call(ctx, "allocate", asking(want(20, "*", 2, 1024)), &a); err != nil || len(a.AllocatedContainers) != 2 {
		t.Errorf("allocate: %v, %v", err, &a)
	}
	// By a delegation token the bearer is its owner, whoever the connection names.
	var got rpc.GetDelegationTokenResponseProto
	if err := client.Call(ctx, "getDelegationToken", &rpc.GetDelegationTokenRequestProto{Renewer: proto.String("ann")}, &got); err != nil {
		t.Fatal(err)
	}
	tok := writable.TokenFrom(got.Token)
	bearer := x.dial(t, x.client, hadooprpc.ClientOptions{Protocol: clientProtocolName, Token: &tok})
	var listed wire.GetApplicationsResponseProto
	if err := bearer.Call(ctx, "getApplications", &wire.GetApplicationsRequestProto{Scope: wire.ApplicationsRequestScopeProto_OWN.Enum()}, &listed); err != nil || len(listed.Applications) != 1 {
		t.Errorf("own applications: %v, %v", err, &listed)
	}
	tok.Password = slices.Clone(tok.Password)
	tok.Password[3] ^= 1
	if c, err := hadooprpc.Dial(ctx, x.client, hadooprpc.ClientOptions{Protocol: clientProtocolName, Token: &tok}); err == nil {
		_ = c.Close()
		t.Error("a token with a flipped bit opens the door")
	}
	foreign := token.Issue(token.KindAMRM, "", []byte("another key"), token.AMRM{KeyID: 1}.Marshal())
	if c, err := hadooprpc.Dial(ctx, x.master, hadooprpc.ClientOptions{Protocol: masterProtocolName, Token: &foreign}); err == nil {
		_ = c.Close()
		t.Error("a foreign token opens the masters' door")
	}
	if err := client.Call(ctx, "listReservations", &wire.GetNewApplicationRequestProto{}, &wire.GetNewApplicationResponseProto{}); err == nil || err.(*hadooprpc.Exception).Class != hadooprpc.YarnException {
		t.Errorf("reservations: %v", err)
	}
	admin := x.dial(t, x.admin, hadooprpc.ClientOptions{Protocol: "org.apache.hadoop.yarn.server.api.ResourceManagerAdministrationProtocolPB", User: "admin"})
	if err := admin.Call(ctx, "refreshQueues", &wire.RefreshQueuesRequestProto{}, &wire.RefreshQueuesResponseProto{}); err != nil {
		t.Error(err)
	}
	var fin wire.FinishApplicationMasterResponseProto
	if err := am.Call(ctx, "finishApplicationMaster", &wire.FinishApplicationMasterRequestProto{FinalApplicationStatus: wire.FinalApplicationStatusProto_APP_SUCCEEDED.Enum()}, &fin); err != nil || !fin.GetIsUnregistered() {
		t.Errorf("finish: %v, %v", err, &fin)
	}
}

// A client's signal reaches the container's agent, by the attempt's right; so does the question which containers were begun.
func TestAgentIsCalled(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := serveWith(t, ln.Addr().String())
	heard := make(chan *wire.SignalContainerRequestProto, 1)
	secret := make(chan []byte, 1)
	node, err := hadooprpc.NewServer(hadooprpc.Options{
		Secrets: func(ctx context.Context, identifier []byte) (hadooprpc.Secret, error) {
			k := <-secret
			secret <- k
			n, err := token.ParseNM(identifier)
			return hadooprpc.Secret{Password: token.Password(token.Keys(k).NM, identifier), User: n.Attempt.String(), Kind: token.KindNM}, err
		},
		Protocols: []hadooprpc.Protocol{{Name: "org.apache.hadoop.yarn.api.ContainerManagementProtocolPB", Methods: map[string]hadooprpc.Method{
			"signalToContainer": hadooprpc.Handle(func(_ context.Context, _ *hadooprpc.Caller, q *wire.SignalContainerRequestProto) (proto.Message, error) {
				heard <- q
				return &wire.SignalContainerResponseProto{}, nil
			}),
			"getContainerStatuses": hadooprpc.Handle(func(_ context.Context, _ *hadooprpc.Caller, q *wire.GetContainerStatusesRequestProto) (proto.Message, error) {
				return &wire.GetContainerStatusesResponseProto{Status: []*wire.ContainerStatusProto{{ContainerId: q.ContainerId[0], State: wire.ContainerStateProto_C_RUNNING.Enum()}}}, nil
			}),
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client := x.dial(t, x.client, hadooprpc.ClientOptions{Protocol: clientProtocolName, User: "ann"})
	am := x.start(t, client)
	var a wire.AllocateResponseProto
	if err := am.Call(ctx, "allocate", asking(want(20, "*", 2, 1024)), &a); err != nil || len(a.AllocatedContainers) != 2 {
		t.Fatalf("allocate: %v, %v", err, &a)
	}
	l := <-x.launched
	secret <- l.JobSecret
	q := &wire.SignalContainerRequestProto{ContainerId: a.AllocatedContainers[0].Id, Command: wire.SignalContainerCommandProto_OUTPUT_THREAD_DUMP.Enum()}
	if err := client.Call(ctx, "signalToContainer", q, &wire.SignalContainerResponseProto{}); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; !proto.Equal(got, q) {
		t.Errorf("the agent heard %v", got)
	}
	stranger := x.dial(t, x.client, hadooprpc.ClientOptions{Protocol: clientProtocolName, User: "bob"})
	if err := stranger.Call(ctx, "signalToContainer", q, &wire.SignalContainerResponseProto{}); err == nil || err.(*hadooprpc.Exception).Class != hadooprpc.AccessControlException {
		t.Errorf("a stranger signals: %v", err)
	}
	app := x.m.all()[0]
	app.mu.Lock()
	all := app.live()[1:]
	at, where := app.current(), all[0].node
	app.mu.Unlock()
	begun, err := x.m.askNode(ctx, app, at, where, all)
	if err != nil || !begun[all[0].id] || begun[all[1].id] {
		t.Errorf("begun are %v, %v", begun, err)
	}
}

// FuzzClient and FuzzMaster call every method with arbitrary bytes: an answer or an exception, never a panic.
func FuzzClient(f *testing.F) {
	b, err := core.New(core.Options{Journal: &memJournal{}})
	if err != nil {
		f.Fatal(err)
	}
	m, err := New(Options{Broker: b, Key: []byte("0123456789abcdef"), Host: "rm"})
	if err != nil {
		f.Fatal(err)
	}
	close(m.ready)
	close(m.over)
	var methods []hadooprpc.Method
	for _, p := range []hadooprpc.Protocol{m.clientProtocol(), m.adminProtocol(), m.stateProtocol()} {
		var names []string
		for name := range p.Methods {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			methods = append(methods, p.Methods[name])
		}
	}
	x := &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: &wire.ApplicationSubmissionContextProto{
		ApplicationId: &wire.ApplicationIdProto{Id: proto.Int32(1), ClusterTimestamp: proto.Int64(1)}, Resource: token.Resource(1024, 1),
		AmContainerSpec: &wire.ContainerLaunchContextProto{Command: []string{"java"}, Tokens: []byte("HDTS")}, ApplicationTags: []string{"A"},
	}}
	seed, _ := proto.Marshal(x)
	for i := range methods {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), seed)
	}
	f.Fuzz(func(t *testing.T, n uint8, request []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_, _ = methods[int(n)%len(methods)](ctx, &hadooprpc.Caller{User: "admin", Remote: &net.TCPAddr{}}, request)
	})
}

func FuzzMaster(f *testing.F) {
	m, a, t := loneMaster(f)
	c := &hadooprpc.Caller{User: t.id.String(), Token: &hadooprpc.Token{Kind: token.KindAMRM, Identifier: token.AMRM{Attempt: t.id, KeyID: 1}.Marshal()}}
	seed := func(q proto.Message) []byte {
		b, _ := proto.Marshal(q)
		return b
	}
	f.Add(uint8(0), seed(asking(want(20, "*", 3, 1024), want(20, "h1", 3, 1024), want(20, "/r1", 3, 1024))))
	f.Add(uint8(0), seed(&wire.AllocateRequestProto{BlacklistRequest: &wire.ResourceBlacklistRequestProto{BlacklistAdditions: []string{"h1", "/r1"}, BlacklistRemovals: []string{"h1"}}, Progress: proto.Float32(0.5)}))
	f.Add(uint8(0), seed(&wire.AllocateRequestProto{Release: []*wire.ContainerIdProto{{AppAttemptId: t.id.Proto(), Id: proto.Int64(1)}}}))
	f.Add(uint8(1), seed(&wire.RegisterApplicationMasterRequestProto{Host: proto.String("h")}))
	f.Fuzz(func(tt *testing.T, n uint8, request []byte) {
		switch n % 2 {
		case 0:
			q := &wire.AllocateRequestProto{}
			if proto.Unmarshal(request, q) != nil {
				return
			}
			q.ResponseId = proto.Int32(t.responseID)
			before := t.responseID
			p, err := m.allocate(context.Background(), c, q)
			if err == nil && p.(*wire.AllocateResponseProto).GetResponseId() != following(before) {
				tt.Errorf("response %d after %d", p.(*wire.AllocateResponseProto).GetResponseId(), before)
			}
			if err != nil && t.responseID != before {
				tt.Error("a refused call counts")
			}
		case 1:
			t.registered = false
			_, _ = m.registerMaster(context.Background(), c, &wire.RegisterApplicationMasterRequestProto{})
			a.mu.Lock()
			t.registered, a.out = true, nil
			a.mu.Unlock()
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.out = a.out[:0]
		for _, g := range t.asks.byID {
			if g.any.count < 0 || t.asks.groups[g.key] != g {
				tt.Errorf("group %+v", g)
			}
		}
	})
}

// loneMaster is a registered master whose broker is never there.
func loneMaster(t testing.TB) (*Manager, *application, *attempt) {
	b, err := core.New(core.Options{Journal: &memJournal{}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Options{Broker: b, Key: []byte("0123456789abcdef"), Host: "rm", Hold: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	close(m.ready)
	a, err := m.prepare(m.newID(), Caller{User: "ann"}, &wire.ApplicationSubmissionContextProto{
		Resource: token.Resource(1024, 1), AmContainerSpec: &wire.ContainerLaunchContextProto{Command: []string{"java"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.queue, a.keys = queueOf("default"), token.Keys([]byte("secret"))
	m.apps[a.id] = a
	x := a.current()
	x.registered = true
	return m, a, x
}
