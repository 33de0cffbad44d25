package resourcemanager

import (
	"context"
	"maps"
	"os/user"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	"fairway/broker/core"
)

// By `yarn applicationattempt -fail` a user ends the current attempt, which counts as any that failed.
func TestAttemptFailedByItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		i := r.submit(nil)
		r.master(i).register()
		fail := func(who string, of id.AttemptID) error {
			_, err := r.m.failApplicationAttempt(context.Background(), as(who), &wire.FailApplicationAttemptRequestProto{ApplicationAttemptId: of.Proto()})
			return err
		}
		first, second := id.AttemptID{Application: i, Number: 1}, id.AttemptID{Application: i, Number: 2}
		absent := id.ApplicationID{Timestamp: i.Timestamp, Number: i.Number + 1}
		if err := fail("bob", first); class(err) != hadooprpc.AccessControlException {
			t.Errorf("a stranger: %v", err)
		}
		if err := fail("ann", second); class(err) != hadooprpc.AttemptNotFound {
			t.Errorf("one that is not there: %v", err)
		}
		if err := fail("ann", id.AttemptID{Application: absent, Number: 1}); class(err) != hadooprpc.ApplicationNotFound {
			t.Errorf("of an application that is not there: %v", err)
		}
		if err := fail("ann", first); err != nil {
			t.Fatal(err)
		}
		r.sleep(5 * time.Second)
		am := r.master(i)
		am.register()
		if at, _ := id.ParseContainer(am.container); at.Attempt != second {
			t.Errorf("%s runs after the first attempt", am.container)
		}
		if err := fail("ann", first); err != nil { // it is over
			t.Error(err)
		}
		r.sleep(5 * time.Second)
		if s := r.report(i).GetYarnApplicationState(); s != wire.YarnApplicationStateProto_RUNNING {
			t.Errorf("after the first attempt was failed twice: %v", s)
		}
		if err := fail("ann", second); err != nil {
			t.Fatal(err)
		}
		r.sleep(5 * time.Second)
		if x := r.report(i); x.GetYarnApplicationState() != wire.YarnApplicationStateProto_FAILED || !strings.Contains(x.GetDiagnostics(), "failed 2 times") ||
			!strings.Contains(x.GetDiagnostics(), "was failed by user ann") {
			t.Errorf("after both: %v", x)
		}
		if err := fail("ann", second); err != nil {
			t.Error(err)
		}
	})
}

// What `mapred queue -showacls` asks for.
func TestOwnRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, o *Options) {
			c.Roles = []core.Role{{Path: "open"}, {Path: "shut"}, {Path: "shut/below"}}
			o.Queues = func() (map[string]Queue, error) {
				return map[string]Queue{"shut": {Submit: "ann", Administer: "boss"}, "shut/below": {Submit: "bob"}}, nil
			}
		})
		for who, want := range map[string]string{"ann": "open:S shut:S below:S", "bob": "open:S shut: below:S", "boss": "open:S shut:SA below:SA", "admin": "open:SA shut:SA below:SA"} {
			x, err := r.m.getQueueUserAcls(context.Background(), as(who), &wire.GetQueueUserAclsInfoRequestProto{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, q := range x.(*wire.GetQueueUserAclsInfoResponseProto).QueueUserAcls {
				rights := q.GetQueueName() + ":"
				for _, right := range q.UserAcls {
					rights += right.String()[len("QACL_"):][:1]
				}
				got = append(got, rights)
			}
			for _, one := range strings.Fields(want) {
				if !slices.Contains(got, one) {
					t.Errorf("%s has %v, want %s", who, got, one)
				}
			}
		}
	})
}

// Every method of clients and administrators has an answer for an empty request, or an exception of Hadoop's that its client
// takes for final: no bare IOException, after which it would try again.
func TestEveryMethodAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		for _, p := range []hadooprpc.Protocol{r.m.clientProtocol(), r.m.adminProtocol(), r.m.stateProtocol()} {
			for _, name := range slices.Sorted(maps.Keys(p.Methods)) {
				x, err := p.Methods[name](context.Background(), as("admin"), nil)
				switch {
				case err == nil && (x == nil || !x.ProtoReflect().IsValid()):
					t.Errorf("%s has no answer", name)
				case err != nil && !strings.HasPrefix(class(err), "org.apache.hadoop."):
					t.Errorf("%s: %q, %v", name, class(err), err)
				}
			}
		}
		call := func(name string, q proto.Message) proto.Message {
			t.Helper()
			b, err := proto.Marshal(q)
			if err != nil {
				t.Fatal(err)
			}
			x, err := r.m.adminProtocol().Methods[name](context.Background(), as("admin"), b)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return x
		}
		call("refreshNodes", &wire.RefreshNodesRequestProto{})
		call("refreshNodesResources", &wire.RefreshNodesResourcesRequestProto{})
		call("refreshAdminAcls", &wire.RefreshAdminAclsRequestProto{})
		root, err := user.LookupId("0")
		if err != nil {
			t.Fatal(err)
		}
		group, err := user.LookupGroupId(root.Gid)
		if err != nil {
			t.Fatal(err)
		}
		if x, ok := call("getGroupsForUser", &wire.GetGroupsForUserRequestProto{User: proto.String(root.Username)}).(*wire.GetGroupsForUserResponseProto); !ok || !slices.Contains(x.Groups, group.Name) {
			t.Errorf("%v", x)
		}
		x, err := r.m.getResourceTypes(context.Background(), as("ann"), &wire.GetAllResourceTypeInfoRequestProto{})
		if err != nil {
			t.Fatal(err)
		}
		if all := x.(*wire.GetAllResourceTypeInfoResponseProto).ResourceTypeInfo; len(all) != 2 || all[0].GetName() != "memory-mb" || all[0].GetUnits() != "Mi" || all[1].GetName() != "vcores" {
			t.Errorf("%v", all)
		}
	})
}
