package hadooprpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	rpc "fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"fairway/integration/hadoop"
)

const (
	clientProtocol  = "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB"
	masterProtocol  = "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB"
	managerProtocol = "org.apache.hadoop.yarn.api.ContainerManagementProtocolPB"
)

// thrown are the exceptions that the server answers by the number of the application that is asked for, and what Java's
// client makes of them.
var thrown = []struct {
	give error
	want string
}{
	{rpc.Errorf(rpc.ApplicationNotFound, "Application with id 'a' doesn't exist in RM."), "!org.apache.hadoop.yarn.exceptions.ApplicationNotFoundException|Application with id 'a' doesn't exist in RM."},
	{rpc.Errorf(rpc.AttemptNotFound, "no attempt"), "!org.apache.hadoop.yarn.exceptions.ApplicationAttemptNotFoundException|no attempt"},
	{rpc.Errorf(rpc.ContainerNotFound, "no container"), "!org.apache.hadoop.yarn.exceptions.ContainerNotFoundException|no container"},
	{rpc.Errorf(rpc.ApplicationMasterNotRegistered, "register"), "!org.apache.hadoop.yarn.exceptions.ApplicationMasterNotRegisteredException|register"},
	{rpc.Errorf(rpc.InvalidApplicationMasterRequest, "again"), "!org.apache.hadoop.yarn.exceptions.InvalidApplicationMasterRequestException|again"},
	{rpc.Errorf(rpc.InvalidResourceRequest, "too much"), "!org.apache.hadoop.yarn.exceptions.InvalidResourceRequestException|too much"},
	{rpc.Errorf(rpc.InvalidContainerRelease, "not yours"), "!org.apache.hadoop.yarn.exceptions.InvalidContainerReleaseException|not yours"},
	{rpc.Errorf(rpc.InvalidResourceBlacklistRequest, "all"), "!org.apache.hadoop.yarn.exceptions.InvalidResourceBlacklistRequestException|all"},
	{rpc.Errorf(rpc.YarnException, "plain"), "!org.apache.hadoop.yarn.exceptions.YarnException|plain"},
	{errors.New("an error of ours"), "!org.apache.hadoop.yarn.exceptions.YarnException|an error of ours"},
	{rpc.Errorf("no.such.Class", "unknown"), "!org.apache.hadoop.yarn.exceptions.YarnException|unknown"},
	{rpc.Errorf(rpc.AccessControlException, "not allowed"), "!org.apache.hadoop.security.AccessControlException|not allowed"},
	{rpc.Errorf(rpc.InvalidToken, "bad token"), "!org.apache.hadoop.security.token.SecretManager$InvalidToken|bad token"},
	{rpc.Errorf(rpc.StandbyException, "standby"), "!org.apache.hadoop.ipc.StandbyException|standby"},
	{rpc.Errorf(rpc.RetriableException, "later"), "!org.apache.hadoop.ipc.RetriableException|later"},
	{rpc.Errorf(rpc.IOException, "io"), "!java.io.IOException|io"},
	{rpc.Errorf(rpc.IllegalArgument, "argument"), "!java.lang.IllegalArgumentException|argument"},
	{fmt.Errorf("wrapped: %w", rpc.Errorf(rpc.FeatureNotEnabled, "off")), "!org.apache.hadoop.yarn.exceptions.YARNFeatureNotEnabledException|off"},
	{rpc.Errorf(rpc.InvalidLabelResourceRequest, "label"), "!org.apache.hadoop.yarn.exceptions.InvalidLabelResourceRequestException|label"},
	{rpc.Errorf(rpc.ApplicationIDNotProvided, "id"), "!org.apache.hadoop.yarn.exceptions.ApplicationIdNotProvidedException|id"},
	{rpc.Errorf(rpc.NMNotYetReady, "soon"), "!org.apache.hadoop.yarn.exceptions.NMNotYetReadyException|soon"},
	{rpc.Errorf(rpc.InvalidContainer, "old"), "!org.apache.hadoop.yarn.exceptions.InvalidContainerException|old"},
}

const largeAnswer = 20 << 20

// stub answers what the probe asks.
type stub struct {
	retries atomic.Int32
	mu      sync.Mutex
	callers map[string]rpc.Caller // by method
}

func (s *stub) saw(method string, c *rpc.Caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callers[method] = *c
}

func (s *stub) protocols() map[string]rpc.Protocol {
	return map[string]rpc.Protocol{
		"client": {Name: clientProtocol, Version: 1, Methods: map[string]rpc.Method{
			"getNewApplication": rpc.Handle(func(_ context.Context, c *rpc.Caller, _ *wire.GetNewApplicationRequestProto) (proto.Message, error) {
				return &wire.GetNewApplicationResponseProto{ApplicationId: id.ApplicationID{Timestamp: 1700000000000, Number: 7}.Proto(), MaximumCapability: token.Resource(8192, 4)}, nil
			}),
			"getApplicationReport": rpc.Handle(s.report),
		}},
		"master": {Name: masterProtocol, Version: 1, Methods: map[string]rpc.Method{
			"registerApplicationMaster": rpc.Handle(func(_ context.Context, c *rpc.Caller, _ *wire.RegisterApplicationMasterRequestProto) (proto.Message, error) {
				s.saw("register", c)
				return &wire.RegisterApplicationMasterResponseProto{Queue: proto.String(c.User), MaximumCapability: token.Resource(8192, 4)}, nil
			}),
		}},
		"manager": {Name: managerProtocol, Version: 1, Methods: map[string]rpc.Method{
			"stopContainers": rpc.Handle(func(_ context.Context, c *rpc.Caller, _ *wire.StopContainersRequestProto) (proto.Message, error) {
				s.saw("stop", c)
				return &wire.StopContainersResponseProto{}, nil
			}),
		}},
	}
}

// report answers by the time stamp of the application that is asked for.
func (s *stub) report(ctx context.Context, c *rpc.Caller, q *wire.GetApplicationReportRequestProto) (proto.Message, error) {
	a, err := id.ApplicationFrom(q.GetApplicationId())
	if err != nil {
		return nil, err
	}
	r := &wire.ApplicationReportProto{ApplicationId: a.Proto(), User: proto.String(c.User)}
	switch a.Timestamp {
	case 1:
		if c.RealUser != "" {
			r.User = proto.String(c.User + " by " + c.RealUser)
		}
		if a.Number > 0 {
			return nil, thrown[a.Number-1].give
		}
	case 2:
		r.Diagnostics = proto.String(strings.Repeat("x", largeAnswer))
	case 3:
		if s.retries.Add(1)%3 != 0 {
			return nil, rpc.Errorf([]string{rpc.StandbyException, rpc.RetriableException}[a.Number-1], "not ready")
		}
	case 4:
		select {
		case <-time.After(2 * time.Second): // four of the client's pings
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case 5:
		r.Name = proto.String(fmt.Sprintf("n%d", a.Number))
	}
	return &wire.GetApplicationReportResponseProto{ApplicationReport: r}, nil
}

func serve(t *testing.T, o rpc.Options) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpc.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

var (
	attempt = id.AttemptID{Application: id.ApplicationID{Timestamp: 1700000000000, Number: 7}, Number: 1}
	keys    = token.Keys([]byte("the application's secret"))
	rmKey   = []byte("the resource manager's key")
)

// secretOf takes the tokens of all kinds; a server of ours takes one.
func secretOf(_ context.Context, identifier []byte) (rpc.Secret, error) {
	if d, err := token.ParseDelegation(identifier); err == nil {
		return rpc.Secret{Password: token.Password(rmKey, identifier), User: d.Owner, RealUser: d.RealUser, Kind: token.KindDelegation}, nil
	}
	if n, err := token.ParseNM(identifier); err == nil && n.Attempt == attempt {
		return rpc.Secret{Password: token.Password(keys.NM, identifier), User: n.Attempt.String(), Kind: token.KindNM}, nil
	}
	if m, err := token.ParseAMRM(identifier); err == nil && m.Attempt == attempt {
		return rpc.Secret{Password: token.Password(keys.AMRM, identifier), User: m.User(), Kind: token.KindAMRM}, nil
	}
	return rpc.Secret{}, errors.New("nobody's token")
}

func TestJavaClients(t *testing.T) {
	if os.Getenv("FAIRWAY_INTEGRATION") != "1" {
		t.Skip("starts a JVM; set FAIRWAY_INTEGRATION=1")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	in, err := hadoop.Fetch(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{callers: make(map[string]rpc.Caller)}
	p := s.protocols()
	impersonate := func(c *rpc.Caller) error {
		if c.RealUser != "oozie" {
			return rpc.Errorf(rpc.AuthorizationException, "User: %s is not allowed to impersonate %s", c.RealUser, c.User)
		}
		return nil
	}
	simple := serve(t, rpc.Options{Simple: true, Protocols: []rpc.Protocol{p["client"]}})
	both := serve(t, rpc.Options{Simple: true, Secrets: secretOf, Impersonate: impersonate, Protocols: []rpc.Protocol{p["client"]}})
	only := serve(t, rpc.Options{Secrets: secretOf, Protocols: []rpc.Protocol{p["master"], p["manager"]}})

	master := token.Issue(token.KindAMRM, "", keys.AMRM, token.AMRM{Attempt: attempt, KeyID: token.KeyID}.Marshal())
	wrong := token.Issue(token.KindAMRM, "", keys.NM, master.Identifier)
	another := attempt
	another.Application.Number = 8
	foreign := token.Issue(token.KindAMRM, "", keys.AMRM, token.AMRM{Attempt: another, KeyID: token.KeyID}.Marshal())
	delegation := token.Issue(token.KindDelegation, "", rmKey, token.Delegation{Owner: "carol", Renewer: "carol", Issued: time.Now(), Max: time.Now().Add(time.Hour), Sequence: 1, KeyID: 1}.Marshal())
	agent := token.Issue(token.KindNM, "", keys.NM, token.NM{Attempt: attempt, Node: id.NodeID{Host: "127.0.0.1", Port: 1}, User: "alice", KeyID: token.KeyID}.Marshal())

	dir := t.TempDir()
	container := token.Container{
		ID: id.NewContainer(attempt, 5, 2), Node: "node1:45454", User: "alice", MemoryMB: 2048, VCores: 3, Expires: time.UnixMilli(1700000600000), KeyID: 44,
		ResourceManager: 1699999999999, Priority: 20, Created: time.UnixMilli(1700000000500), Type: wire.ContainerTypeProto_TASK, AllocationRequestID: -1,
	}
	credentials := &writable.Credentials{}
	credentials.PutToken("", master)
	credentials.PutSecret("MapReduceShuffleToken", []byte{9, 8, 7})
	for name, b := range map[string][]byte{
		"container": container.Marshal(), "credentials": credentials.Marshal(),
		"log4j.properties": []byte("log4j.rootLogger=ERROR,stderr\nlog4j.appender.stderr=org.apache.log4j.ConsoleAppender\nlog4j.appender.stderr.target=System.err\nlog4j.appender.stderr.layout=org.apache.log4j.SimpleLayout\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd, err := in.Client(dir, "nobody").Command(ctx, "java/Probe.java", simple, both, only,
		master.URLString(), wrong.URLString(), foreign.URLString(), delegation.URLString(), agent.URLString(), dir, fmt.Sprint(len(thrown)))
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), errs.String())
	}
	got := make(map[string]string)
	for line := range strings.Lines(out.String()) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			got[name] = value
		}
	}
	const created = "application_1700000000000_0007 8192 "
	want := map[string]string{
		"createApplication":                                  created + "alice",
		"createApplication, foreign token, simple port":      created + "alice",
		"createApplication, port with tokens":                created + "alice",
		"createApplication, foreign token, port with tokens": created + "alice",
		"createApplication, delegation token":                created + "carol",
		"createApplication, proxy user":                      created + "alice by oozie",
		"master":                                             attempt.String(),
		"master, another name of its user":                   attempt.String(),
		"agent":                                              "ok",
		"large answer":                                       fmt.Sprint(largeAnswer),
		"retried 1":                                          "retry1",
		"retried 2":                                          "retry2",
		"pings":                                              "ping",
		"many":                                               "2000",
		"amrm":                                               hex.EncodeToString(token.AMRM{Attempt: attempt, KeyID: 42}.Marshal()),
		"nm":                                                 hex.EncodeToString(token.NM{Attempt: attempt, Node: id.NodeID{Host: "node1", Port: 45454}, User: "alice", KeyID: 43}.Marshal()),
		"client":                                             hex.EncodeToString(token.ClientToAM{Attempt: attempt, Client: "alice"}.Marshal()),
		"delegation":                                         hex.EncodeToString(token.Delegation{Owner: "alice", Renewer: "oozie", RealUser: "hue", Issued: time.UnixMilli(1700000000001), Max: time.UnixMilli(1700000000002), Sequence: 3, KeyID: 4}.Marshal()),
		"container":                                          hex.EncodeToString(container.Marshal()),
		"our container token":                                "container_e05_1700000000000_0007_01_000002 node1:45454 alice <memory:2048, vCores:3> 1700000600000 44 1699999999999 20 1700000000500 TASK GUARANTEED -1",
		"our credentials":                                    fmt.Sprintf("1 YARN_AM_RM_TOKEN  %x %x 090807", master.Identifier, master.Password),
	}
	for i, e := range thrown {
		want[fmt.Sprintf("exception %d", i+1)] = e.want
	}
	for _, s := range []string{"container_e07_1700000000000_0007_01_000002", "container_1700000000000_12345_123_1234567"} {
		c, err := id.ParseContainer(s)
		if err != nil {
			t.Fatal(err)
		}
		want[s] = fmt.Sprintf("%d %v", c.ID, c)
	}
	var numbers []byte
	for bits := range 64 {
		for _, v := range []int64{1 << bits, 1<<bits - 1, -(1 << bits)} {
			numbers = writable.AppendVLong(numbers, v)
		}
	}
	want["numbers"] = hex.EncodeToString(numbers)
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s: %q, want %q", name, got[name], w)
		}
	}
	// What is refused says why, in Java's words, and is not tried again for minutes.
	for name, parts := range map[string][]string{
		"createApplication, token port":         {"AccessControlException", "SIMPLE authentication is not enabled.  Available:[TOKEN]"},
		"createApplication, proxy user refused": {"AuthorizationException", "User: mallory is not allowed to impersonate alice"},
		"master, wrong password":                {"SaslException", "Mismatched response"},
		"master, foreign token of the kind":     {"InvalidToken", "nobody's token"},
		"master, no token":                      {"AccessControlException", "SIMPLE authentication is not enabled"},
		"agent, unknown method":                 {"", "Unknown method getContainerStatuses called on " + managerProtocol},
		"unknown method":                        {"", "Unknown method getClusterMetrics called on " + clientProtocol},
		"unknown protocol":                      {"", "Unknown protocol: " + masterProtocol},
	} {
		if !strings.HasPrefix(got[name], "!") {
			t.Errorf("%s: %q is no exception", name, got[name])
		}
		for _, p := range parts {
			if !strings.Contains(got[name], p) {
				t.Errorf("%s: %q does not say %q", name, got[name], p)
			}
		}
		if took, ok := got[name+", seconds"]; ok && took != "0" && took != "1" {
			t.Errorf("%s: took %s s", name, took)
		}
	}
	for method, kind := range map[string]string{"register": token.KindAMRM, "stop": token.KindNM} {
		if c := s.callers[method]; c.Token == nil || c.Token.Kind != kind || c.User != attempt.String() {
			t.Errorf("%s: %+v", method, c)
		}
	}
	// What Java wrote.
	mine := map[string]writable.Token{
		"alias é": {Identifier: []byte{1, 2}, Password: make([]byte, 300), Kind: "kind", Service: "10.0.0.1:8032"},
		"":        {Identifier: []byte{}, Password: []byte{}, Kind: "K2"},
	}
	for _, format := range []string{"WRITABLE", "PROTOBUF"} {
		b, err := os.ReadFile(filepath.Join(dir, "java-"+format))
		if err != nil {
			t.Fatal(err)
		}
		c, err := writable.ParseCredentials(b)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		read := make(map[string]writable.Token)
		for _, n := range c.Tokens {
			read[n.Alias] = n.Token
		}
		if !reflect.DeepEqual(read, mine) || !bytes.Equal(c.Secret("secret"), []byte{9, 8, 7}) {
			t.Errorf("%s: %+v", format, c)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", out.String(), errs.String())
	}
}
