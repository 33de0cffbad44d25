package yarnjobs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"fairway/integration/testbed"
)

const (
	clientProtocol = "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB"
	masterProtocol = "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB"
	nodeProtocol   = "org.apache.hadoop.yarn.api.ContainerManagementProtocolPB"
)

// dial connects as Hadoop's clients do.
func dial(t *testing.T, addr string, o hadooprpc.ClientOptions) *hadooprpc.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := hadooprpc.Dial(ctx, addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// refused says that a call's error is of a Java class.
func refused(t *testing.T, what string, err error, class string) {
	t.Helper()
	var x *hadooprpc.Exception
	if !errors.As(err, &x) || x.Class != class {
		t.Errorf("%s: %v, want %s", what, err, class)
	}
}

// master submits an application whose master is a shell that gives its tokens away, and registers in its place. A queue has
// room for one master here.
func (r *rig) master(t *testing.T, client *hadooprpc.Client, queue string) (*hadooprpc.Client, writable.Token) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp(world.Dir, "master-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	var fresh wire.GetNewApplicationResponseProto
	if err := client.Call(ctx, "getNewApplication", &wire.GetNewApplicationRequestProto{}, &fresh); err != nil {
		t.Fatal(err)
	}
	err = client.Call(ctx, "submitApplication", &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: &wire.ApplicationSubmissionContextProto{
		ApplicationId: fresh.ApplicationId, Queue: proto.String(queue), Resource: token.Resource(256, 1),
		AmContainerSpec: &wire.ContainerLaunchContextProto{Command: []string{
			fmt.Sprintf("cp $HADOOP_TOKEN_FILE_LOCATION %s/new && chmod 644 %s/new && mv %s/new %s/tokens && exec sleep 300", dir, dir, dir, dir),
		}},
	}}, &wire.SubmitApplicationResponseProto{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		late, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = client.Call(late, "forceKillApplication", &wire.KillApplicationRequestProto{ApplicationId: fresh.ApplicationId}, &wire.KillApplicationResponseProto{})
	})
	var text []byte
	await(t, "the master's start", 60*time.Second, func() bool {
		text, err = os.ReadFile(filepath.Join(dir, "tokens"))
		return err == nil
	})
	credentials, err := writable.ParseCredentials(text)
	if err != nil {
		t.Fatal(err)
	}
	tok, ok := credentials.OfKind(token.KindAMRM)
	if !ok {
		t.Fatal("the master has no AMRM token")
	}
	am := dial(t, r.addresses["yarn.resourcemanager.scheduler.address"], hadooprpc.ClientOptions{Protocol: masterProtocol, Token: &tok})
	if err := am.Call(ctx, "registerApplicationMaster", &wire.RegisterApplicationMasterRequestProto{Host: proto.String("127.0.0.1"), RpcPort: proto.Int32(1)},
		&wire.RegisterApplicationMasterResponseProto{}); err != nil {
		t.Fatal(err)
	}
	return am, tok
}

func asking(memory int64) *wire.AllocateRequestProto {
	return &wire.AllocateRequestProto{ResponseId: proto.Int32(0), Ask: []*wire.ResourceRequestProto{{
		Priority: &wire.PriorityProto{Priority: proto.Int32(1)}, ResourceName: proto.String("*"), Capability: token.Resource(memory, 1), NumContainers: proto.Int32(1),
	}}}
}

// allocate asks until a container and the token of its node have come, and says which response brought them.
func allocate(t *testing.T, am *hadooprpc.Client, host string) (c *wire.ContainerProto, node writable.Token, answered int32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	q := asking(256)
	if host != "" { // there and nowhere else
		for _, name := range []string{"/default-rack", host} {
			row := proto.Clone(q.Ask[0]).(*wire.ResourceRequestProto)
			row.ResourceName, row.RelaxLocality = proto.String(name), proto.Bool(name == host)
			q.Ask = append(q.Ask, row)
		}
		q.Ask[0].RelaxLocality = proto.Bool(false)
	}
	for {
		var a wire.AllocateResponseProto
		if err := am.Call(ctx, "allocate", q, &a); err != nil {
			t.Fatal(err)
		}
		if len(a.AllocatedContainers) > 0 && len(a.NmTokens) > 0 {
			return a.AllocatedContainers[0], writable.TokenFrom(a.NmTokens[0].Token), a.GetResponseId()
		}
		q = &wire.AllocateRequestProto{ResponseId: a.ResponseId}
	}
}

// Whatever strangers send to the ports, the daemons refuse it, say so, and serve the others.
func TestBadInput(t *testing.T) {
	r := world.rig
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	clients, masters := r.addresses["yarn.resourcemanager.address"], r.addresses["yarn.resourcemanager.scheduler.address"]
	client := dial(t, clients, hadooprpc.ClientOptions{Protocol: clientProtocol, User: testbed.WithAccount})
	one, tokenOne := r.master(t, client, "default")
	two, _ := r.master(t, client, "analytics")
	theirs, _, answered := allocate(t, two, "")
	_, nodeOne, _ := allocate(t, one, theirs.NodeId.GetHost()) // whose token opens the same node
	node, err := id.NodeFrom(theirs.NodeId)
	if err != nil {
		t.Fatal(err)
	}

	ports := []string{clients, masters, r.addresses["yarn.resourcemanager.admin.address"], node.String()}
	hello := []byte{'h', 'r', 'p', 'c', 9, 0, 0}
	for _, addr := range ports {
		for what, bytes := range map[string][]byte{
			"frame of 2 GiB": binary.BigEndian.AppendUint32(slices.Clone(hello), 1<<31-1),
			"garbage":        []byte(strings.Repeat("\x00\xff garbage \x80", 100)),
			"a frame of it":  append(slices.Clone(hello), "\x00\x00\x00\x08\xff\xff\xff\xff\xff\xff\xff\xff"...),
		} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = c.Write(bytes)
			buf := make([]byte, 4096)
			for {
				if _, err = c.Read(buf); err != nil {
					break
				}
			}
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				t.Errorf("%s: after %s the connection stays open", addr, what)
			}
			c.Close()
		}
		for i := range 50 { // half open, at every stage of the greeting
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write(hello[:i%(len(hello)+1)])
		}
	}
	refused(t, "an unknown method", client.Call(ctx, "noSuchMethod", &wire.GetNewApplicationRequestProto{}, &wire.GetNewApplicationResponseProto{}),
		"org.apache.hadoop.ipc.RpcNoSuchMethodException")
	stranger := dial(t, clients, hadooprpc.ClientOptions{Protocol: "org.example.NoSuchProtocol", User: testbed.WithAccount})
	refused(t, "an unknown protocol", stranger.Call(ctx, "getNewApplication", &wire.GetNewApplicationRequestProto{}, &wire.GetNewApplicationResponseProto{}),
		"org.apache.hadoop.ipc.RpcNoSuchProtocolException")

	flipped := tokenOne
	flipped.Password = slices.Clone(tokenOne.Password)
	flipped.Password[5] ^= 4
	if c, err := hadooprpc.Dial(ctx, masters, hadooprpc.ClientOptions{Protocol: masterProtocol, Token: &flipped}); err == nil {
		c.Close()
		t.Error("a token with a flipped bit opens the masters' port")
	}
	q := asking(1 << 20)
	q.ResponseId = proto.Int32(answered)
	refused(t, "an ask for more than any agent has", two.Call(ctx, "allocate", q, &wire.AllocateResponseProto{}),
		"org.apache.hadoop.yarn.exceptions.InvalidResourceRequestException")

	// The first application's master brings the second's container token.
	nm := dial(t, node.String(), hadooprpc.ClientOptions{Protocol: nodeProtocol, Token: &nodeOne})
	var started wire.StartContainersResponseProto
	err = nm.Call(ctx, "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{{
		ContainerToken: theirs.ContainerToken, ContainerLaunchContext: &wire.ContainerLaunchContextProto{Command: []string{"true"}},
	}}}, &started)
	if err == nil && (len(started.SucceededRequests) != 0 || len(started.FailedRequests) != 1) {
		t.Errorf("another application's container: %v", &started)
	}

	var listed wire.GetApplicationsResponseProto
	quick, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	if err := dial(t, clients, hadooprpc.ClientOptions{Protocol: clientProtocol, User: testbed.WithAccount}).Call(quick, "getApplications", &wire.GetApplicationsRequestProto{}, &listed); err != nil || len(listed.Applications) < 2 {
		t.Errorf("a proper call afterwards: %v, %d applications", err, len(listed.Applications))
	}
	if log := r.Logs(); strings.Contains(log, "panic:") {
		t.Errorf("a daemon panicked:\n%s", log)
	}
}
