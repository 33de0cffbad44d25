package yarnjobs

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	"fairway/broker/server"
	"fairway/integration/testbed"
)

// badPeer is an address that nothing else of the tests calls from, so that each line that names it is about bad input.
const badPeer = "127.0.9.1"

func fromBadPeer(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(badPeer)}}
	return d.DialContext(ctx, "tcp", addr)
}

// delegationKey is what the broker proves delegation tokens with.
func (r *rig) delegationKey(t *testing.T) []byte {
	t.Helper()
	text, err := server.LoadToken(filepath.Join(r.Dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, []byte(text))
	h.Write([]byte("fairway yarn delegation tokens"))
	return h.Sum(nil)
}

// register begins a container of one's own with a job's secret, and says where the node serves that job's map output.
func (r *rig) register(t *testing.T, nm *hadooprpc.Client, c *wire.ContainerProto, node id.NodeID) (shuffle string) {
	t.Helper()
	secret := writable.Token{Identifier: []byte("job"), Password: []byte("0123456789abcdef0123"), Kind: "mapreduce.job", Service: "job"}
	var started wire.StartContainersResponseProto
	err := nm.Call(t.Context(), "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{{
		ContainerToken: c.ContainerToken, ContainerLaunchContext: &wire.ContainerLaunchContextProto{
			Command: []string{"sleep 60"}, ServiceData: []*wire.StringBytesMapProto{{Key: proto.String("mapreduce_shuffle"), Value: secret.Append(nil)}},
		},
	}}}, &started)
	if err != nil || len(started.SucceededRequests) != 1 {
		t.Fatalf("start: %v, %v", err, &started)
	}
	for _, s := range started.ServicesMetaData {
		if s.GetKey() == "mapreduce_shuffle" && len(s.Value) == 4 {
			return fmt.Sprintf("%s:%d", node.Host, binary.BigEndian.Uint32(s.Value))
		}
	}
	t.Fatalf("no shuffle among %v", started.ServicesMetaData)
	return ""
}

// shuffle asks for map output with a hash that is wrong.
func shuffle(t *testing.T, c *http.Client, at, uri string) (status int, body string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header = http.Header{"name": {"mapreduce"}, "version": {"1.0.0"}, "UrlHash": {"chRgPnxgbMa0OsIb8D+ReQKDMJ0="}}
	resp, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// linesAbout are the lines of the daemons' logs that name an address; those for debugging repeat what was said already.
func (r *rig) linesAbout(t *testing.T, address string) (lines []string) {
	t.Helper()
	names := []string{"broker.log"}
	for _, h := range world.DFS.Hosts {
		names = append(names, h.Name+".log")
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(r.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.Contains(line, address+":") && !strings.Contains(line, "\tDEBUG\t") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// Each kind of bad input is logged once with its peer, though it comes again and again: by Hadoop's RPC once a minute for a
// host, a reason and the class of the exception; by the resource manager once a minute for a method, a user, a class and
// a host; by agents once a minute for a host, an attempt and what it wanted; by the shuffle once in ten minutes for a host, a reason and
// a job.
func TestBadInputIsLoggedOnce(t *testing.T) {
	r := world.rig
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	clients, masters := r.addresses["yarn.resourcemanager.address"], r.addresses["yarn.resourcemanager.scheduler.address"]
	client := dial(t, clients, hadooprpc.ClientOptions{Protocol: clientProtocol, User: testbed.WithAccount})
	one, _ := r.master(t, client, "default")
	two, tokenTwo := r.master(t, client, "analytics")
	theirs, nodeTwo, answered := allocate(t, two, "")
	_, nodeOne, _ := allocate(t, one, theirs.NodeId.GetHost())
	node, err := id.NodeFrom(theirs.NodeId)
	if err != nil {
		t.Fatal(err)
	}
	shuffles := r.register(t, dial(t, node.String(), hadooprpc.ClientOptions{Protocol: nodeProtocol, Token: &nodeTwo}), theirs, node)
	container, err := id.ContainerFrom(theirs.Id)
	if err != nil {
		t.Fatal(err)
	}
	job := strings.Replace(container.Application().String(), "application_", "job_", 1)
	output := fmt.Sprintf("/mapOutput?job=%s&reduce=0&map=attempt_%s_m_000000_0", job, strings.TrimPrefix(job, "job_"))
	await(t, "the job's registration for the shuffle", 30*time.Second, func() bool {
		_, body := shuffle(t, http.DefaultClient, shuffles, output)
		return !strings.Contains(body, "Could not find jobid")
	})
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return fromBadPeer(ctx, addr) }, DisableKeepAlives: true}}

	now := time.Now()
	delegation := func(key []byte, issued time.Time) *writable.Token {
		tok := token.Issue(token.KindDelegation, clients, key, token.Delegation{
			Owner: testbed.WithAccount, Renewer: testbed.WithAccount, Issued: issued, Max: issued.Add(24 * time.Hour), Sequence: 1, KeyID: token.KeyID,
		}.Marshal())
		return &tok
	}
	key := r.delegationKey(t)
	good, flipped, expired := delegation(key, now), delegation(key, now), delegation(key, now.Add(-48*time.Hour))
	flipped.Password = slices.Clone(flipped.Password)
	flipped.Password[5] ^= 4
	foreign := token.Issue(token.KindAMRM, "", []byte("another cluster's"), token.AMRM{
		Attempt: id.AttemptID{Application: id.ApplicationID{Timestamp: 1, Number: 1}, Number: 1}, KeyID: token.KeyID,
	}.Marshal())

	// open connects from the bad address and makes one harmless call.
	open := func(addr, protocol, user string, tok *writable.Token) error {
		c, err := hadooprpc.Dial(ctx, addr, hadooprpc.ClientOptions{Protocol: protocol, User: user, Token: tok, Dial: fromBadPeer})
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Call(ctx, "getClusterMetrics", &wire.GetClusterMetricsRequestProto{}, &wire.GetClusterMetricsResponseProto{})
	}
	if err := open(clients, clientProtocol, "", good); err != nil { // so it is not the peer that is refused
		t.Fatal(err)
	}
	call := func(addr, protocol, user string, tok *writable.Token, method string, q, p proto.Message) error {
		c, err := hadooprpc.Dial(ctx, addr, hadooprpc.ClientOptions{Protocol: protocol, User: user, Token: tok, Dial: fromBadPeer})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Call(ctx, method, q, p)
	}
	for _, bad := range []struct {
		what, line string
		do         func() error
	}{
		{"a token with a flipped bit", "Mismatched response", func() error { return open(clients, clientProtocol, "", flipped) }},
		{"an expired token", "is expired", func() error { return open(clients, clientProtocol, "", expired) }},
		{"a foreign token", "not found in AMRMTokenSecretManager", func() error { return open(masters, masterProtocol, "", &foreign) }},
		{"a user who is not who he says", "doesn't match what the client claims to be", func() error { return open(clients, clientProtocol, "mallory", good) }},
		{"a frame of 2 GiB", "packet too long", func() error {
			c, err := fromBadPeer(ctx, clients)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = c.Write(binary.BigEndian.AppendUint32([]byte{'h', 'r', 'p', 'c', 9, 0, 0}, 1<<31-1))
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("after the frame: %v", err)
			}
			return io.EOF
		}},
		{"an unknown method", "Unknown method noSuchMethod", func() error {
			return call(clients, clientProtocol, testbed.WithAccount, nil, "noSuchMethod", &wire.GetNewApplicationRequestProto{}, &wire.GetNewApplicationResponseProto{})
		}},
		{"an ask for more than any agent has", "InvalidResourceRequestException", func() error {
			q := asking(1 << 20)
			q.ResponseId = proto.Int32(answered)
			return call(masters, masterProtocol, "", &tokenTwo, "allocate", q, &wire.AllocateResponseProto{})
		}},
		{"a submission of a master larger than any agent", "submitApplication", func() error {
			var fresh wire.GetNewApplicationResponseProto
			if err := client.Call(ctx, "getNewApplication", &wire.GetNewApplicationRequestProto{}, &fresh); err != nil {
				t.Fatal(err)
			}
			return call(clients, clientProtocol, testbed.WithAccount, nil, "submitApplication", &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: &wire.ApplicationSubmissionContextProto{
				ApplicationId: fresh.ApplicationId, Resource: token.Resource(1<<20, 1), AmContainerSpec: &wire.ContainerLaunchContextProto{Command: []string{"true"}},
			}}, &wire.SubmitApplicationResponseProto{})
		}},
		{"a container of another application", "was used for starting container with container token issued for", func() error {
			var p wire.StartContainersResponseProto
			err := call(node.String(), nodeProtocol, "", &nodeOne, "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{{
				ContainerToken: theirs.ContainerToken, ContainerLaunchContext: &wire.ContainerLaunchContextProto{Command: []string{"true"}},
			}}}, &p)
			return either(err, p.FailedRequests)
		}},
		{"the status of another application's container", "attempted to get status for non-application container", func() error {
			var p wire.GetContainerStatusesResponseProto
			err := call(node.String(), nodeProtocol, "", &nodeOne, "getContainerStatuses", &wire.GetContainerStatusesRequestProto{ContainerId: []*wire.ContainerIdProto{theirs.Id}}, &p)
			return either(err, p.FailedRequests)
		}},
		{"a shuffle request with a wrong hash", "Verification of the hashReply failed", func() error { return unless(shuffle(t, web, shuffles, output)) }},
		{"a path that climbs", "Bad map parameter", func() error {
			return unless(shuffle(t, web, shuffles, "/mapOutput?job="+job+"&reduce=0&map=..%2f..%2f..%2fetc%2fpasswd"))
		}},
	} {
		before := r.linesAbout(t, badPeer)
		for range 3 {
			if err := bad.do(); err == nil {
				t.Errorf("%s is accepted", bad.what)
			}
		}
		lines := slices.DeleteFunc(r.linesAbout(t, badPeer), func(line string) bool { return slices.Contains(before, line) })
		if len(lines) != 1 || !strings.Contains(lines[0], bad.line) {
			t.Errorf("%s, three times, is logged by %d lines, want one with %q:\n%s", bad.what, len(lines), bad.line, strings.Join(lines, "\n"))
		}
	}
}

// either is why a call was refused, or the first of the containers in it.
func either(err error, failed []*wire.ContainerExceptionMapProto) error {
	if err == nil && len(failed) > 0 {
		err = errors.New(failed[0].GetException().GetMessage())
	}
	return err
}

// unless is an error for any status but 200.
func unless(status int, body string) error {
	if status == http.StatusOK {
		return nil
	}
	return fmt.Errorf("%d %s", status, body)
}
