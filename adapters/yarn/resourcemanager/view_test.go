package resourcemanager

import (
	"context"
	"fmt"
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

// guarded is a rig with access lists.
func guarded(t *testing.T) *rig {
	return newRig(t, func(c *core.Config, o *Options) {
		c.Roles = []core.Role{{Path: "a/b"}}
		o.Queues = func() (map[string]Queue, error) { return map[string]Queue{"a": {Administer: "boss"}}, nil }
		o.ACLs, o.Admins = true, "ops sysadmins"
	})
}

func viewers(list string) func(*wire.ApplicationSubmissionContextProto) {
	return func(x *wire.ApplicationSubmissionContextProto) {
		x.AmContainerSpec.Application_ACLs = []*wire.ApplicationACLMapProto{
			{AccessType: wire.ApplicationAccessTypeProto_APPACCESS_VIEW_APP.Enum(), Acl: proto.String(list)},
			{AccessType: wire.ApplicationAccessTypeProto_APPACCESS_MODIFY_APP.Enum(), Acl: proto.String("mover")},
		}
	}
}

func TestLists(t *testing.T) {
	groups := func() []string { return []string{"staff", "wheel"} }
	for list, want := range map[string]bool{
		"": false, " ": false, "ann": true, "bob": false, "bob,ann": true, "bob, ann": false, // the second is a group
		" staff": true, "bob wheel,x": true, "bob x, staff ": true, " nobody": false, "*": true, " * ": true, "staff": false, "bob *": false, ",": false,
	} {
		if listed(list, "ann", groups) != want {
			t.Errorf("%q: %t", list, !want)
		}
	}
	if listed(" staff", "ann", func() []string { return nil }) || listed("ann", "", func() []string { return []string{""} }) {
		t.Error("somebody who is nobody")
	}
	asked := false
	listed("bob,ann", "x", func() []string { asked = true; return nil })
	if asked {
		t.Error("groups are looked up for a list of users")
	}
}

// Who may see what: by every call that tells of an application.
func TestViewers(t *testing.T) {
	root, err := user.LookupId("0")
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(root.Gid)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := guarded(t)
		r.agent("h1", "/r1", 64, 64<<10)
		ctx := context.Background()
		i := r.submit(func(x *wire.ApplicationSubmissionContextProto) {
			viewers("eve,cat " + group.Name)(x)
			x.Queue = proto.String("root.a.b")
		})
		am := r.master(i)
		am.register()
		a := am.allocate(asking(want(20, "*", 1, 1024)))
		container := a.AllocatedContainers[0].Id
		open := r.submit(viewers("*"))
		shut := r.submit(viewers(" "))

		report := func(who string, i id.ApplicationID) *wire.ApplicationReportProto {
			t.Helper()
			x, err := r.m.getApplicationReport(ctx, as(who), &wire.GetApplicationReportRequestProto{ApplicationId: i.Proto()})
			if err != nil {
				t.Fatal(err)
			}
			return x.(*wire.GetApplicationReportResponseProto).ApplicationReport
		}
		listOf := func(who string, scope wire.ApplicationsRequestScopeProto) (all, hidden int) {
			t.Helper()
			x, err := r.m.getApplications(ctx, as(who), &wire.GetApplicationsRequestProto{Scope: scope.Enum()})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range x.(*wire.GetApplicationsResponseProto).Applications {
				all++
				if p.GetTrackingUrl() == "N/A" {
					hidden++
				}
			}
			return all, hidden
		}
		attempt := &wire.ApplicationAttemptIdProto{ApplicationId: i.Proto(), AttemptId: proto.Int32(1)}
		calls := map[string]func(who string) error{
			"attempt " + id.AttemptID{Application: i, Number: 1}.String(): func(who string) error {
				_, err := r.m.getAttemptReport(ctx, as(who), &wire.GetApplicationAttemptReportRequestProto{ApplicationAttemptId: attempt})
				return err
			},
			"application " + i.String(): func(who string) error {
				_, err := r.m.getAttempts(ctx, as(who), &wire.GetApplicationAttemptsRequestProto{ApplicationId: i.Proto()})
				_, err2 := r.m.getContainerReport(ctx, as(who), &wire.GetContainerReportRequestProto{ContainerId: container})
				_, err3 := r.m.getContainers(ctx, as(who), &wire.GetContainersRequestProto{ApplicationAttemptId: attempt})
				if fmt.Sprint(err) != fmt.Sprint(err2) || fmt.Sprint(err) != fmt.Sprint(err3) {
					t.Errorf("%s: %v, %v, %v", who, err, err2, err3)
				}
				return err
			},
		}
		for who, sees := range map[string]bool{"ann": true, "admin": true, "ops": true, "boss": true, "eve": true, "cat": true, root.Username: true,
			"bob": false, "mover": false, group.Name + "x": false, "dr.who": false} {
			if seen := report(who, i).GetTrackingUrl() != "N/A"; seen != sees {
				t.Errorf("%s sees it: %t", who, seen)
			}
			if sees2 := r.m.Sees(Caller{User: who + "@REALM"})(i); sees2 != sees {
				t.Errorf("%s sees its page: %t", who, sees2)
			}
			if !strings.Contains(report(who, open).GetTrackingUrl(), "/proxy/") {
				t.Errorf("%s does not see what is for everybody", who)
			}
			all := slices.Contains([]string{"ann", "admin", "ops"}, who)
			if seen := report(who, shut).GetTrackingUrl() != "N/A"; seen != all {
				t.Errorf("%s sees what is for nobody: %t", who, seen)
			}
			viewable := 1
			for _, may := range []bool{sees, all} {
				if may {
					viewable++
				}
			}
			if n, hidden := listOf(who, wire.ApplicationsRequestScopeProto_ALL); n != 3 || hidden != 3-viewable {
				t.Errorf("%s has a list of %d, %d hidden", who, n, hidden)
			}
			if n, hidden := listOf(who, wire.ApplicationsRequestScopeProto_VIEWABLE); n != viewable || hidden != 0 {
				t.Errorf("%s may see %d of which %d are hidden, want %d", who, n, hidden, viewable)
			}
			x, err := r.m.getQueueInfo(ctx, as(who), &wire.GetQueueInfoRequestProto{QueueName: proto.String("root.a.b"), IncludeApplications: proto.Bool(true)})
			if err != nil || len(x.(*wire.GetQueueInfoResponseProto).QueueInfo.Applications) == 1 != sees {
				t.Errorf("%s: queue %v, %v", who, x, err)
			}
			for what, f := range calls {
				err := f(who)
				if sees && err != nil || !sees && (class(err) != hadooprpc.YarnException || err.Error() != "User "+who+" does not have privilege to see this "+what) {
					t.Errorf("%s of %s: %v", who, what, err)
				}
			}
		}
		// What is not there is said as it is; whether an attempt is there is not for everybody.
		none := &wire.ApplicationAttemptIdProto{ApplicationId: i.Proto(), AttemptId: proto.Int32(9)}
		if _, err := r.m.getAttemptReport(ctx, as("bob"), &wire.GetApplicationAttemptReportRequestProto{ApplicationAttemptId: none}); class(err) != hadooprpc.YarnException {
			t.Error(err)
		}
		if _, err := r.m.getAttemptReport(ctx, as("eve"), &wire.GetApplicationAttemptReportRequestProto{ApplicationAttemptId: none}); class(err) != hadooprpc.AttemptNotFound {
			t.Error(err)
		}
		absent := &wire.GetApplicationReportRequestProto{ApplicationId: id.ApplicationID{Timestamp: 1, Number: 1}.Proto()}
		if _, err := r.m.getApplicationReport(ctx, as("bob"), absent); class(err) != hadooprpc.ApplicationNotFound || r.m.Sees(Caller{User: "bob"})(id.ApplicationID{Timestamp: 1, Number: 1}) {
			t.Error(err)
		}
		golden(t, "hidden", report("bob", i))

		// Seeing is not changing, and changing is not seeing.
		kill := &wire.KillApplicationRequestProto{ApplicationId: i.Proto()}
		if _, err := r.m.forceKillApplication(ctx, as("eve"), kill); class(err) != hadooprpc.AccessControlException {
			t.Errorf("who sees kills: %v", err)
		}
		// It holds when the application has ended, and after another start of the broker.
		if _, err := r.m.forceKillApplication(ctx, as("mover"), kill); err != nil {
			t.Error(err)
		}
		r.sleep(time.Minute)
		for range 2 {
			if a, b := report("eve", i), report("bob", i); a.GetTrackingUrl() == "N/A" || b.GetTrackingUrl() != "N/A" || b.GetDiagnostics() != "N/A" ||
				b.GetYarnApplicationState() != wire.YarnApplicationStateProto_KILLED || b.GetFinishTime() == 0 {
				t.Errorf("ended: %v, %v", a, b)
			}
			if a, b := report("eve", open), report("eve", shut); a.GetTrackingUrl() == "N/A" || b.GetTrackingUrl() != "N/A" {
				t.Errorf("those that live: %v, %v", a, b)
			}
			r.restart()
		}
	})
}

// Without access lists everybody sees everything, also of what says that nobody may.
func TestNoLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, queues)
		r.agent("h1", "/r1", 64, 64<<10)
		i := r.submit(viewers(" "))
		x, err := r.m.getApplicationReport(context.Background(), as("bob"), &wire.GetApplicationReportRequestProto{ApplicationId: i.Proto()})
		if err != nil || !proto.Equal(x.(*wire.GetApplicationReportResponseProto).ApplicationReport, r.report(i)) {
			t.Errorf("%v, %v", x, err)
		}
		if _, err := r.m.getAttempts(context.Background(), as("bob"), &wire.GetApplicationAttemptsRequestProto{ApplicationId: i.Proto()}); err != nil {
			t.Error(err)
		}
		if !r.m.Sees(Caller{User: "bob"})(i) {
			t.Error("a page is hidden")
		}
	})
}

// A list that is too long to keep leaves nobody once the application has ended.
func TestLongLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := guarded(t)
		r.agent("h1", "/r1", 64, 64<<10)
		i := r.submit(viewers(strings.Repeat("x,", maxViewACL/2) + "eve"))
		if !r.m.Sees(Caller{User: "eve"})(i) {
			t.Error("who is listed does not see it")
		}
		if _, err := r.m.forceKillApplication(context.Background(), as("ann"), &wire.KillApplicationRequestProto{ApplicationId: i.Proto()}); err != nil {
			t.Fatal(err)
		}
		r.sleep(time.Minute)
		if r.m.Sees(Caller{User: "eve"})(i) || !r.m.Sees(Caller{User: "ann"})(i) {
			t.Error("a list that is not kept is followed")
		}
	})
}
