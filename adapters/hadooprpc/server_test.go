package hadooprpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

func callIt(t *testing.T, c *Client, method, text string) (string, error) {
	t.Helper()
	var a answer
	err := c.Call(context.Background(), method, ask(text), &a)
	return a.GetKind(), err
}

// The first bytes of a real YarnClient.createApplication by alice (reference yarn-wire.md, section 1.3).
func TestFirstCallOfRealClient(t *testing.T) {
	r := tcpRig(t, nil)
	c := r.raw(t)
	name := "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB"
	var b bytes.Buffer
	b.Write(unhex(t, "68727063 09 00 00"))
	b.Write(unhex(t, "0000005d 1a 0802 1000 1805 2210 5e8e8272c7b6495c838d9d2f5a0c4436 2801 41 1207 0a05 616c696365 1a36"))
	b.WriteString(name)
	b.Write(unhex(t, "0000006a 1a 0802 1000 1800 2210 5e8e8272c7b6495c838d9d2f5a0c4436 2800 4d 0a11"))
	b.WriteString("getNewApplication")
	b.Write(unhex(t, "1236"))
	b.WriteString(name)
	b.Write(unhex(t, "1801 00"))
	if _, err := c.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	want := unhex(t, "0000001c 1a 0800 1000 1809 3a10 5e8e8272c7b6495c838d9d2f5a0c4436 4000 00")
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v\nwant %x", got, err, want)
	}
	if who := <-r.seen; who.User != "alice" || who.RealUser != "" || who.Token != nil || who.Protocol != name || who.Remote == nil {
		t.Errorf("%+v", who)
	}
}

// A client with tokens begins with SASL; a port that knows only SIMPLE answers SUCCESS.
func TestSASLOnSimplePort(t *testing.T) {
	r := tcpRig(t, nil)
	c := r.raw(t)
	if _, err := c.Write(unhex(t, "68727063 09 00 df 0000000e 0a 0802 1000 1841 2200 2801 02 1001")); err != nil {
		t.Fatal(err)
	}
	a, err := readReply(t, c)
	if err != nil || int32(a.head.GetCallId()) != -33 || a.head.GetStatus() != wire.RpcResponseHeaderProto_SUCCESS || !bytes.Equal(a.body, unhex(t, "02 1000")) {
		t.Fatalf("%v, %v", a, err)
	}
	if _, err := c.Write(append(hello(t, "bob")[7:], callOf(t, 0, "who", ask(""))...)); err != nil {
		t.Fatal(err)
	}
	if _, err := readReply(t, c); err != nil || (<-r.seen).User != "bob" {
		t.Error(err)
	}
}

func TestWhoCalls(t *testing.T) {
	token := func(o *Options) { o.Secrets = secrets }
	only := func(o *Options) { o.Secrets, o.Simple = secrets, false }
	for name, c := range map[string]struct {
		server func(*Options)
		client ClientOptions
		want   Caller
	}{
		"simple":                    {nil, ClientOptions{User: "alice"}, Caller{User: "alice"}},
		"a foreign token on simple": {nil, ClientOptions{User: "alice", Token: tokenOf("foreign", "x")}, Caller{User: "alice"}},
		"simple beside tokens":      {token, ClientOptions{User: "alice"}, Caller{User: "alice"}},
		"token beside simple":       {token, ClientOptions{Token: tokenOf("alice's", "other")}, Caller{User: "alice", RealUser: "oozie", Token: &Token{Kind: "RM_DELEGATION_TOKEN"}}},
		"token":                     {only, ClientOptions{Token: tokenOf("good", "secret")}, Caller{User: "appattempt_1700000000000_0007_000001", Token: &Token{Kind: "YARN_AM_RM_TOKEN"}}},
		"token of him who it says":  {only, ClientOptions{User: "alice", RealUser: "oozie", Token: tokenOf("alice's", "other")}, Caller{User: "alice", RealUser: "oozie", Token: &Token{Kind: "RM_DELEGATION_TOKEN"}}},
		"for another":               {func(o *Options) { o.Impersonate = func(*Caller) error { return nil } }, ClientOptions{User: "alice", RealUser: "oozie"}, Caller{User: "alice", RealUser: "oozie"}},
		"for himself":               {nil, ClientOptions{User: "alice", RealUser: "alice"}, Caller{User: "alice"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := tcpRig(t, c.server)
			got, err := callIt(t, r.dial(t, c.client), "who", "")
			if err != nil {
				t.Fatal(err)
			}
			who := <-r.seen
			if got != c.want.User || who.User != c.want.User || who.RealUser != c.want.RealUser || (who.Token == nil) != (c.want.Token == nil) {
				t.Fatalf("%+v", who)
			}
			if who.Token != nil && (who.Token.Kind != c.want.Token.Kind || string(who.Token.Identifier) != string(c.client.Token.Identifier)) {
				t.Errorf("%+v", who.Token)
			}
			if who.RealUser == "oozie" && who.Token != nil && who.Value != 42 {
				t.Errorf("its value is %v", who.Value)
			}
			if n := len(r.reasons()); n != 0 {
				t.Errorf("refused: %v", r.reasons())
			}
		})
	}
}

func TestUnauthorized(t *testing.T) {
	token := func(o *Options) { o.Secrets = secrets }
	only := func(o *Options) { o.Secrets, o.Simple = secrets, false }
	for name, c := range map[string]struct {
		server func(*Options)
		client ClientOptions
		class  string
	}{
		"simple on a token port":    {only, ClientOptions{User: "alice"}, AccessControlException},
		"a wrong password":          {only, ClientOptions{Token: tokenOf("good", "Secret")}, SaslException},
		"a foreign token":           {only, ClientOptions{Token: tokenOf("foreign", "secret")}, InvalidToken},
		"a flipped bit":             {only, ClientOptions{Token: tokenOf("gooe", "secret")}, InvalidToken},
		"beside simple":             {token, ClientOptions{Token: tokenOf("good", "wrong")}, SaslException},
		"another user than it says": {only, ClientOptions{User: "root", Token: tokenOf("good", "secret")}, AccessControlException},
		"another real user":         {only, ClientOptions{User: "alice", RealUser: "root", Token: tokenOf("alice's", "other")}, AccessControlException},
		"standby": {func(o *Options) {
			o.Simple, o.Secrets = false, func(context.Context, []byte) (Secret, error) { return Secret{}, Errorf(StandbyException, "not here") }
		}, ClientOptions{Token: tokenOf("good", "secret")}, StandbyException},
		"for another":          {nil, ClientOptions{User: "alice", RealUser: "oozie"}, AuthorizationException},
		"for another, refused": {func(o *Options) { o.Impersonate = func(*Caller) error { return errors.New("no") } }, ClientOptions{User: "alice", RealUser: "oozie"}, AuthorizationException},
		"a name of two lines":  {nil, ClientOptions{User: "alice\nroot"}, AccessControlException},
		"a long name":          {nil, ClientOptions{User: strings.Repeat("a", 256)}, AccessControlException},
	} {
		t.Run(name, func(t *testing.T) {
			r := tcpRig(t, c.server)
			cl, err := r.tryDial(c.client)
			if err == nil {
				defer cl.Close()
				_, err = callIt(t, cl, "who", "")
			}
			var e *Exception
			if !errors.As(err, &e) || e.Class != c.class || !e.Fatal {
				t.Errorf("%v (%T), want %s", err, err, c.class)
			}
			if len(r.seen) != 0 {
				t.Error("the call was made")
			}
			r.stop()
			if got := r.reasons(); got["unauthorized"] != 1 {
				t.Errorf("logged %v", got)
			}
		})
	}
}

func TestExceptions(t *testing.T) {
	r := tcpRig(t, nil)
	c := r.dial(t, ClientOptions{})
	for method, want := range map[string]Exception{
		"standby":    {Class: StandbyException, Message: "not the leader"},
		"error":      {Class: YarnException, Message: "something of ours"},
		"broken":     {Class: RPCServerException, Message: "proto: required field fairway.hadoop.rpc.TokenProto.identifier not set"},
		"noSuchCall": {Class: NoSuchMethod, Message: "Unknown method noSuchCall called on " + testProtocol + " protocol."},
	} {
		_, err := callIt(t, c, method, "")
		var e *Exception
		if !errors.As(err, &e) || e.Class != want.Class || strings.ReplaceAll(e.Message, "\u00a0", " ") != want.Message || e.Fatal {
			t.Errorf("%s: %#v", method, err)
		}
	}
	// The connection goes on.
	if got, err := callIt(t, c, "echo", "still here"); err != nil || got != "still here" {
		t.Error(got, err)
	}
	if err := c.Call(context.Background(), "nothing", ask(""), nil); err != nil {
		t.Error(err)
	}
	if got := r.reasons(); got["unknown call"] != 1 {
		t.Errorf("logged %v", got)
	}
	for o, class := range map[*ClientOptions]string{
		{Protocol: "org.apache.hadoop.hdfs.protocol.ClientProtocol"}: NoSuchProtocol,
		{Version: 2}: VersionMismatch,
	} {
		_, err := callIt(t, r.dial(t, *o), "echo", "")
		var e *Exception
		if !errors.As(err, &e) || e.Class != class || e.Fatal {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestUnreadableRequest(t *testing.T) {
	r := tcpRig(t, nil)
	c := r.raw(t)
	head := marshal(t, &wire.RequestHeaderProto{MethodName: proto.String("echo"), DeclaringClassProtocolName: proto.String(testProtocol), ClientProtocolVersion: proto.Uint64(1)})
	if _, err := c.Write(append(hello(t, "alice"), framed(marshal(t, rpcHeader(5)), head, []byte{0xff})...)); err != nil {
		t.Fatal(err)
	}
	a, err := readReply(t, c)
	if err != nil || a.head.GetStatus() != wire.RpcResponseHeaderProto_ERROR || a.head.GetCallId() != 5 || a.head.GetErrorDetail() != wire.RpcResponseHeaderProto_ERROR_RPC_SERVER || string(a.head.GetClientId()) != "0123456789abcdef" {
		t.Errorf("%v, %v", a.head, err)
	}
}

func TestMetaInfo(t *testing.T) {
	r := tcpRig(t, nil)
	c := r.dial(t, ClientOptions{Protocol: metaName})
	var v wire.GetProtocolVersionsResponseProto
	err := c.Call(context.Background(), "getProtocolVersions", &wire.GetProtocolVersionsRequestProto{Protocol: proto.String(testProtocol)}, &v)
	if err != nil || len(v.GetProtocolVersions()) != 1 || v.GetProtocolVersions()[0].GetRpcKind() != "RPC_PROTOCOL_BUFFER" || v.GetProtocolVersions()[0].GetVersions()[0] != 1 {
		t.Errorf("%v, %v", &v, err)
	}
	var s wire.GetProtocolSignatureResponseProto
	err = c.Call(context.Background(), "getProtocolSignature", &wire.GetProtocolSignatureRequestProto{Protocol: proto.String(testProtocol), RpcKind: proto.String("RPC_PROTOCOL_BUFFER")}, &s)
	if err != nil || len(s.GetProtocolSignature()) != 1 || s.GetProtocolSignature()[0].GetVersion() != 1 {
		t.Errorf("%v, %v", &s, err)
	}
}

// Calls of one connection are answered as they end, each to its caller.
func TestManyCallsAtOnce(t *testing.T) {
	r := tcpRig(t, func(o *Options) { o.Limits.Calls, o.Limits.Unsent = 8, 1<<20 })
	c := r.dial(t, ClientOptions{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			method := "echo"
			if i%10 == 0 {
				method = "big"
			}
			got, err := callIt(t, c, method, strconv.Itoa(i))
			if err != nil || i%10 != 0 && got != strconv.Itoa(i) || i%10 == 0 && len(got) != 1<<20 {
				t.Errorf("%d: %.20s, %v", i, got, err)
			}
		}()
	}
	wg.Wait()
}

func TestLargeRequest(t *testing.T) {
	r := tcpRig(t, func(o *Options) { o.Limits.MaxFrame = 12 << 20; o.Limits.Memory = 40 << 20 })
	c := r.dial(t, ClientOptions{})
	var wg sync.WaitGroup
	for range 4 { // one at a time: four of them are more than the budget
		wg.Add(1)
		go func() {
			defer wg.Done()
			if got, err := callIt(t, c, "size", strings.Repeat("x", 11<<20)); err != nil || len(got) != 11 {
				t.Error(len(got), err)
			}
		}()
	}
	wg.Wait()
	_, err := callIt(t, c, "size", strings.Repeat("x", 13<<20))
	var e *Exception
	if !errors.As(err, &e) || !e.Fatal || !strings.Contains(e.Message, "is longer than maximum configured RPC length 12582912") {
		t.Errorf("%v", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	r := tcpRig(t, func(o *Options) { o.Registerer = registry })
	if _, err := NewServer(Options{Name: "another", Simple: true, Registerer: registry}); err != nil {
		t.Error("a second server:", err)
	}
	if _, err := NewServer(Options{Name: "test", Simple: true, Registerer: registry}); err == nil {
		t.Error("two servers of a name")
	}
	c := r.dial(t, ClientOptions{})
	for _, method := range []string{"echo", "echo", "standby", "unknown"} {
		_, _ = callIt(t, c, method, "")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				if l.GetName() == "server" && l.GetValue() != "test" {
					name = "of another"
				} else if l.GetName() == "method" || l.GetName() == "class" || l.GetName() == "reason" {
					name += " " + l.GetValue()
				}
			}
			got[name] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"fairway_hadooprpc_connections": 1, "fairway_hadooprpc_half_open_connections": 0, "fairway_hadooprpc_call_seconds echo": 2, "fairway_hadooprpc_call_seconds standby": 1,
		"fairway_hadooprpc_call_errors_total " + StandbyException: 1, "fairway_hadooprpc_refused_total unknown call": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	if _, err := NewServer(Options{}); err == nil {
		t.Error("a server that nobody can talk to")
	}
	if _, err := NewServer(Options{Simple: true, Protocols: []Protocol{{Name: "p"}, {Name: "p"}}}); err == nil {
		t.Error("a protocol twice")
	}
}
