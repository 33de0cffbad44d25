package main

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"fairway/conf"
)

// submitYARN NAME ADDRESS QUEUE MEMORY COMMAND submits as alice, as Hadoop's client does, an application whose master is a
// shell command. Its id is in the file and the variable NAME then.
func submitYARN(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := hadooprpc.Dial(ctx, args[1], hadooprpc.ClientOptions{Protocol: "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB", User: "alice"})
	ts.Check(err)
	defer c.Close()
	n := &wire.GetNewApplicationResponseProto{}
	ts.Check(c.Call(ctx, "getNewApplication", &wire.GetNewApplicationRequestProto{}, n))
	mebibytes, err := strconv.ParseInt(args[3], 10, 64)
	ts.Check(err)
	q := &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: &wire.ApplicationSubmissionContextProto{
		ApplicationId: n.ApplicationId, ApplicationName: proto.String(args[0]), ApplicationType: proto.String("MAPREDUCE"), Queue: proto.String(args[2]),
		Resource: token.Resource(mebibytes, 1), MaxAppAttempts: proto.Int32(1),
		AmContainerSpec: &wire.ContainerLaunchContextProto{Command: []string{"{ " + args[4] + "; }", "1><LOG_DIR>/stdout", "2><LOG_DIR>/stderr"}},
	}}
	ts.Check(c.Call(ctx, "submitApplication", q, &wire.SubmitApplicationResponseProto{}))
	app, err := id.ApplicationFrom(n.ApplicationId)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(app.String()), 0o600))
	ts.Setenv(args[0], app.String())
	ts.Setenv(args[0]+"_JOB", strings.Replace(app.String(), "application", "job", 1))
}

func TestApplicationOf(t *testing.T) {
	for name, want := range map[string]string{
		"application_1700000000000_0012": "application_1700000000000_0012", "job_1700000000000_0012": "application_1700000000000_0012",
		"job-000001": "", "job_": "", "application_x_1": "", "": "",
	} {
		app, ok := applicationOf(name)
		if ok != (want != "") || ok && app.String() != want {
			t.Errorf("%s: %s, %v", name, app, ok)
		}
	}
}

func TestOwnAddress(t *testing.T) {
	names := map[string][]string{"node": {"fe80::1", "10.0.0.7"}, "debian": {"127.0.1.1"}, "both": {"127.0.1.1", "10.0.0.7"}, "six": {"fe80::1"},
		"rm": {"10.0.0.1"}, "localhost": {"::1", "127.0.0.1"}, "0.0.0.0": {"0.0.0.0"}}
	lookup := func(name string) ([]string, error) {
		if l := names[name]; l != nil {
			return l, nil
		}
		return nil, errors.New("no such host")
	}
	for _, tc := range []struct{ host, manager, want, refusal string }{
		{"node", "rm", "10.0.0.7", ""}, {"both", "rm", "10.0.0.7", ""}, {"debian", "localhost", "127.0.1.1", ""}, {"localhost", "localhost", "127.0.0.1", ""},
		{"debian", "rm", "", "which no other host reaches"}, {"six", "rm", "", "no IPv4 address"}, {"0.0.0.0", "localhost", "", "no address that others could reach"},
		{"absent", "rm", "", "does not resolve"}, {"debian", "absent", "127.0.1.1", ""},
	} {
		got, err := ownAddress(tc.host, tc.manager, lookup)
		if got != tc.want || (err == nil) != (tc.refusal == "") || err != nil && !strings.Contains(err.Error(), tc.refusal) {
			t.Errorf("%s for %s: %q, %v", tc.host, tc.manager, got, err)
		}
	}
}

func TestAdmins(t *testing.T) {
	for _, tc := range []struct {
		operators []string
		admins    string
		want      string
	}{
		{nil, "", "root "}, {[]string{"op"}, "ann,bob staff", "root,op,ann,bob staff"}, {nil, " staff", "root staff"}, {nil, "*", "*"},
	} {
		c := conf.Default()
		c.Broker.Operators, c.YARN.ACL.Admins = tc.operators, tc.admins
		if got := admins(c); got != tc.want {
			t.Errorf("%v %q: %q", tc.operators, tc.admins, got)
		}
	}
}
