package resourcemanager

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/core"
)

// The broker is killed while an application runs: its master registers again, its containers are known, and one that no
// master ever heard of ends.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		h1 := r.agent("h1", "/r1", 8, 16384)
		i := r.submit(nil)
		am := r.master(i)
		am.register()
		a := am.allocate(asking(want(20, "*", 3, 2048)))
		if len(a.AllocatedContainers) != 3 {
			t.Fatalf("%v", a)
		}
		keeps, ends := containerName(a.AllocatedContainers[0]), containerName(a.AllocatedContainers[1])
		h1.lazy = true // the next one is granted and waits for its master, which never hears of it
		if _, err := am.call(asking(want(20, "*", 2, 2048))); err != nil {
			t.Fatal(err)
		}
		before := len(r.grants(i))
		if before != 6 {
			t.Fatalf("%d containers", before)
		}
		h1.lazy = false
		slow := id.NewContainer(keepsID(t, keeps).Attempt, 0, 6) // its master was told, and it is still being localised
		untold := containerName(a.AllocatedContainers[2])
		h1.finish(untold, 3, "ended before its master asked again")
		r.begun = map[id.ContainerID]bool{slow: true}
		h1.disconnect()
		h1.mu.Lock()
		h1.say(nil, h1.byName[ends], v1.TaskState_TASK_STATE_FAILED, nil) // while nobody listens
		h1.mu.Unlock()
		r.restart()
		rep := r.report(i)
		if rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_RUNNING || rep.GetHost() != "h1" || rep.GetQueue() != "root.default" || rep.GetAppResource_Usage().GetUsedResources().GetMemory() < 2048*3 {
			t.Fatalf("after the restart: %v", rep)
		}
		if _, err := am.call(&wire.AllocateRequestProto{}); class(err) != hadooprpc.ApplicationMasterNotRegistered {
			t.Fatalf("a master that has not registered again: %v", err)
		}
		if _, err := r.m.finishMaster(context.Background(), am.caller, &wire.FinishApplicationMasterRequestProto{}); class(err) != hadooprpc.ApplicationMasterNotRegistered {
			t.Fatalf("a master that has not registered again: %v", err)
		}
		am.register()
		r.sleep(2 * time.Second) // offers resume
		b := am.allocate(asking(want(20, "*", 1, 2048)))
		if len(b.CompletedContainerStatuses) != 2 || len(b.AllocatedContainers) != 1 || len(b.NmTokens) != 1 {
			t.Fatalf("after registration: %v", b)
		}
		if n := containerName(b.AllocatedContainers[0]); !strings.HasSuffix(n, "_01_000007") {
			t.Errorf("the next container is %s", n)
		}
		if c := am.allocate(&wire.AllocateRequestProto{}); len(c.CompletedContainerStatuses) != 0 || r.where(untold) != nil {
			t.Errorf("an end was told twice, or never acknowledged: %v", c)
		}
		r.sleep(59 * time.Second)
		if r.where(keeps) == nil || r.where(am.container) == nil {
			t.Error("containers that run were killed")
		}
		r.sleep(2 * time.Second)
		if left := r.grants(i); len(left) != 4 || left[slow.String()] == nil {
			t.Errorf("%d containers are left: %v", len(left), left)
		}
		// A submission that comes again is the same application.
		x := r.submission()
		x.ApplicationId = i.Proto()
		if _, err := r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x}); err != nil {
			t.Error(err)
		}
		if _, err := r.m.submitApplication(context.Background(), as("bob"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x}); class(err) != hadooprpc.YarnException {
			t.Errorf("somebody else submits under its id: %v", err)
		}
	})
}

func keepsID(t *testing.T, name string) id.ContainerID {
	t.Helper()
	i, err := id.ParseContainer(name)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// The broker is killed before a submission is written, and after it: the client that asks again finds one application, which
// then runs once.
func TestCrashAtSubmission(t *testing.T) {
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprint("written ", written), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.agent("h1", "/r1", 8, 16384)
				x := r.submission()
				i, _ := id.ApplicationFrom(x.ApplicationId)
				r.journal.hold()
				answered := make(chan error, 1)
				go func() {
					_, err := r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x})
					answered <- err
				}()
				synctest.Wait()
				select {
				case err := <-answered:
					t.Fatalf("answered before it is durable: %v", err)
				default:
				}
				if written {
					r.journal.release()
					synctest.Wait()
				}
				r.restart()
				if err := <-answered; (err == nil) != written {
					t.Fatalf("the answer: %v", err)
				}
				_, err := r.m.getApplicationReport(context.Background(), as("ann"), &wire.GetApplicationReportRequestProto{ApplicationId: i.Proto()})
				if (err == nil) != written || err != nil && class(err) != hadooprpc.ApplicationNotFound {
					t.Errorf("the report: %v", err)
				}
				if _, err := r.m.submitApplication(context.Background(), as("ann"), &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: x}); err != nil {
					t.Fatal(err)
				}
				r.sleep(2 * time.Second)
				if n := len(r.grants(i)); n != 1 {
					t.Errorf("%d masters run", n)
				}
				r.master(i).register()
				if jobs, _ := r.broker.ListJobs(context.Background(), operator, &v1.ListJobsRequest{}); len(jobs.Jobs) != 1 {
					t.Errorf("%d jobs", len(jobs.Jobs))
				}
			})
		})
	}
}

// The broker is killed when the launch of a master is written and no agent has it: the attempt is placed again, and its
// master runs once.
func TestCrashAtLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		h1 := r.agent("h1", "/r1", 8, 16384)
		h1.missing = true
		i := r.submit(nil)
		r.sleep(2 * time.Second)
		if n := len(r.grants(i)); n != 0 {
			t.Fatalf("%d masters run", n)
		}
		h1.missing = false
		r.restart()
		r.sleep(5 * time.Second)
		r.master(i).register()
		m, err := r.m.getAttempts(context.Background(), as("ann"), &wire.GetApplicationAttemptsRequestProto{ApplicationId: i.Proto()})
		if err != nil {
			t.Fatal(err)
		}
		a := m.(*wire.GetApplicationAttemptsResponseProto)
		if n := len(r.grants(i)); n != 1 || len(a.ApplicationAttempts) != 1 {
			t.Fatalf("%d masters run, of attempts %v", n, a)
		}
		if s := a.ApplicationAttempts[0].GetYarnApplicationAttemptState(); s != wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_RUNNING {
			t.Errorf("the attempt is %v", s)
		}
	})
}

// The journal is lost and the broker begins again in the same process: masters do not notice, what was not durable comes
// again, what was durable is there once.
func TestJournalIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		h1 := r.agent("h1", "/r1", 8, 32768)
		i := r.submit(nil)
		am := r.master(i)
		am.register()
		a := am.allocate(asking(want(20, "*", 2, 1024)))
		r.journal.hold()
		if b := am.allocate(asking(want(20, "*", 3, 1024))); len(a.AllocatedContainers) != 2 || len(b.AllocatedContainers) != 0 {
			t.Fatalf("%v, %v", a, b)
		}
		release, _ := id.ParseContainer(containerName(a.AllocatedContainers[0]))
		am.allocate(&wire.AllocateRequestProto{Release: []*wire.ContainerIdProto{release.Proto()}})
		r.journal.fail()
		r.sleep(time.Second)
		h1.disconnect()
		h1.connect()
		r.sleep(5 * time.Second)
		got, ended := 0, 0
		for range 3 {
			c := am.allocate(&wire.AllocateRequestProto{})
			got += len(c.AllocatedContainers)
			ended += len(c.CompletedContainerStatuses)
			r.sleep(time.Second)
		}
		if got != 3 || ended != 1 || len(r.grants(i)) != 1+1+3 {
			t.Errorf("%d containers came, %d ended, %d run", got, ended, len(r.grants(i)))
		}
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
	})
}

// A master dies: the next attempt has another token, what the first one ran is killed, and at the limit the application has
// failed. An end that is not the master's fault does not count.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		h1 := r.agent("h1", "/r1", 8, 16384)
		i := r.submit(nil)
		am := r.master(i)
		am.register()
		a := am.allocate(asking(want(20, "*", 2, 1024)))
		h1.finish(am.container, -100, "lost") // of no fault of its own
		if rep := r.report(i); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_ACCEPTED || rep.GetCurrentApplicationAttemptId().GetAttemptId() != 2 {
			t.Fatalf("after the first end: %v", rep)
		}
		if r.where(containerName(a.AllocatedContainers[0])) != nil {
			t.Error("a container outlived its attempt")
		}
		if _, err := am.call(&wire.AllocateRequestProto{}); class(err) != hadooprpc.AttemptNotFound {
			t.Errorf("a master whose attempt is over: %v", err)
		}
		if _, err := r.m.masterSecret(context.Background(), am.caller.Token.Identifier); class(err) != hadooprpc.InvalidToken {
			t.Errorf("its token: %v", err)
		}
		r.sleep(2 * time.Second)
		for n := int32(2); n <= 3; n++ {
			am = r.master(i)
			if want := fmt.Sprintf("_%02d_000001", n); !strings.HasSuffix(am.container, want) {
				t.Fatalf("the master is %s, want %s", am.container, want)
			}
			h1.finish(am.container, 1, "broke")
		}
		rep := r.report(i)
		if rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_FAILED || rep.GetFinalApplicationStatus() != wire.FinalApplicationStatusProto_APP_FAILED ||
			!strings.HasPrefix(rep.GetDiagnostics(), "Application "+i.String()+" failed 2 times due to AM Container for "+am.caller.User+" exited with  exitCode: 1") ||
			!strings.HasSuffix(rep.GetDiagnostics(), ". Failing the application.") {
			t.Errorf("at the limit: %v", rep)
		}
		all, ok := r.m.Attempts(i)
		if !ok || len(all) != 3 || all[2].State != wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_FAILED {
			t.Errorf("attempts: %v", all)
		}
	})
}

// With keepContainers the next attempt hears of what the last one ran, and of what ended in between.
func TestKeepContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		h1 := r.agent("h1", "/r1", 8, 16384)
		i := r.submit(func(x *wire.ApplicationSubmissionContextProto) {
			x.KeepContainersAcrossApplicationAttempts = proto.Bool(true)
		})
		am := r.master(i)
		am.register()
		a := am.allocate(asking(want(20, "*", 2, 1024)))
		keeps, ends := containerName(a.AllocatedContainers[0]), containerName(a.AllocatedContainers[1])
		h1.finish(am.container, 1, "broke")
		h1.finish(ends, 0, "")
		am = r.master(i)
		reg := am.register()
		if len(reg.ContainersFromPreviousAttempts) != 1 || containerName(reg.ContainersFromPreviousAttempts[0]) != keeps || len(reg.NmTokensFromPreviousAttempts) != 1 {
			t.Fatalf("registration: %v", reg)
		}
		b := am.allocate(&wire.AllocateRequestProto{})
		if len(b.CompletedContainerStatuses) != 1 {
			t.Errorf("allocate: %v", b)
		}
	})
}

// An agent is cut off: after the expiry its containers are given up, once, and killed when it is back.
func TestLostNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, o *Options) {
			c.AgentTimeout, o.AgentTimeout = 15*time.Second, 15*time.Second
		})
		h1 := r.agent("h1", "/r1", 2, 4096) // the master
		i := r.submit(nil)
		h2 := r.agent("h2", "/r1", 8, 16384)
		am := r.master(i)
		am.register()
		a := am.allocate(asking(want(20, "*", 2, 4096), want(20, "h2", 2, 4096)))
		if len(a.AllocatedContainers) != 2 || r.where(am.container) != h1 {
			t.Fatalf("%v", a)
		}
		runs, ended := containerName(a.AllocatedContainers[0]), containerName(a.AllocatedContainers[1])
		h2.finish(ended, 0, "")
		am.allocate(&wire.AllocateRequestProto{})
		am.allocate(&wire.AllocateRequestProto{})
		h2.disconnect()
		r.sleep(50 * time.Second)
		if b := am.allocate(&wire.AllocateRequestProto{}); len(b.UpdatedNodes) != 0 || len(b.CompletedContainerStatuses) != 0 {
			t.Fatalf("before the expiry: %v", b)
		}
		r.sleep(12 * time.Second)
		b := am.allocate(&wire.AllocateRequestProto{})
		if len(b.UpdatedNodes) != 1 || b.UpdatedNodes[0].GetNodeState() != wire.NodeStateProto_NS_LOST || len(b.CompletedContainerStatuses) != 1 ||
			b.CompletedContainerStatuses[0].GetExitStatus() != -100 || b.CompletedContainerStatuses[0].GetDiagnostics() != saidLost {
			t.Fatalf("after the expiry: %v", b)
		}
		r.sleep(time.Minute)
		if b := am.allocate(&wire.AllocateRequestProto{}); len(b.UpdatedNodes) != 0 || len(b.CompletedContainerStatuses) != 0 {
			t.Fatalf("told twice: %v", b)
		}
		h2.connect()
		r.sleep(2 * time.Second)
		if len(h2.killed) != 1 || h2.killed[0] != runs {
			t.Errorf("the agent that is back killed %v, want %s", h2.killed, runs)
		}
		b = am.allocate(&wire.AllocateRequestProto{})
		if len(b.UpdatedNodes) != 1 || b.UpdatedNodes[0].GetNodeState() != wire.NodeStateProto_NS_RUNNING || len(b.CompletedContainerStatuses) != 0 {
			t.Fatalf("after it is back: %v", b)
		}
	})
}

// The node of the master is lost: another attempt begins, and this end does not count.
func TestLostNodeOfTheMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, o *Options) { o.MaxAttempts = 1 })
		h1 := r.agent("h1", "/r1", 8, 16384)
		i := r.submit(nil)
		r.agent("h2", "/r1", 8, 16384)
		h1.disconnect()
		r.sleep(65 * time.Second)
		if am := r.master(i); r.where(am.container) == h1 || !strings.HasSuffix(am.container, "_02_000001") {
			t.Errorf("the next master is %s", am.container)
		}
	})
}

// A master that says nothing for too long has failed; one that never registers too.
func TestSilentMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *core.Config, o *Options) { o.MaxAttempts = 1; o.MasterExpiry = time.Minute })
		r.agent("h1", "/r1", 8, 16384)
		i := r.submit(nil)
		am := r.master(i)
		am.register()
		r.sleep(50 * time.Second)
		am.allocate(&wire.AllocateRequestProto{})
		r.sleep(50 * time.Second)
		if r.report(i).GetYarnApplicationState() != wire.YarnApplicationStateProto_RUNNING {
			t.Fatal("it was given up too soon")
		}
		r.sleep(11 * time.Second)
		if rep := r.report(i); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_FAILED || !strings.Contains(rep.GetDiagnostics(), "ApplicationMaster for attempt "+am.caller.User+" timed out") {
			t.Errorf("%v", rep)
		}
	})
}

// A master that unregisters and does not go is left alone for a minute, then it goes.
func TestMasterThatLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		i := r.submit(nil)
		am := r.master(i)
		am.register()
		am.finish(wire.FinalApplicationStatusProto_APP_FAILED)
		r.sleep(59 * time.Second)
		if r.where(am.container) == nil {
			t.Error("it was killed too soon")
		}
		r.restart() // it is left alone once more
		if r.report(i).GetYarnApplicationState() != wire.YarnApplicationStateProto_FINISHED {
			t.Errorf("after a restart: %v", r.report(i))
		}
		r.sleep(61 * time.Second)
		if r.where(am.container) != nil {
			t.Error("it was not killed")
		}
	})
}

func TestKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		i := r.submit(nil)
		am := r.master(i)
		am.register()
		am.allocate(asking(want(20, "*", 2, 1024)))
		kill := func(who string, i id.ApplicationID) (bool, error) {
			x, err := r.m.forceKillApplication(context.Background(), as(who), &wire.KillApplicationRequestProto{ApplicationId: i.Proto()})
			if err != nil {
				return false, err
			}
			return x.(*wire.KillApplicationResponseProto).GetIsKillCompleted(), nil
		}
		if _, err := kill("bob", i); class(err) != hadooprpc.AccessControlException || err.Error() != "User bob cannot perform operation MODIFY_APP on "+i.String() {
			t.Errorf("a stranger kills: %v", err)
		}
		if done, err := kill("ann", i); !done || err != nil {
			t.Fatalf("kill: %v, %v", done, err)
		}
		synctest.Wait()
		if rep := r.report(i); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_KILLED || rep.GetFinalApplicationStatus() != wire.FinalApplicationStatusProto_APP_KILLED ||
			rep.GetDiagnostics() != "Application "+i.String()+" was killed by user ann" || len(r.grants(i)) != 0 {
			t.Errorf("%v, left %v", rep, r.grants(i))
		}
		if done, err := kill("ann", i); !done || err != nil {
			t.Errorf("once more: %v, %v", done, err)
		}
		if _, err := kill("ann", id.ApplicationID{Timestamp: 1, Number: 1}); class(err) != hadooprpc.ApplicationNotFound {
			t.Errorf("an unknown one: %v", err)
		}
		// The broker's own kill is the same.
		j := r.submit(nil)
		jobs, _ := r.broker.ListJobs(context.Background(), operator, &v1.ListJobsRequest{Phases: []v1.JobPhase{v1.JobPhase_JOB_PHASE_RUNNING}})
		if _, err := r.broker.KillJob(context.Background(), operator, jobs.Jobs[0].Id, "enough"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if rep := r.report(j); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_KILLED || !strings.Contains(rep.GetDiagnostics(), "enough") {
			t.Errorf("%v", rep)
		}
	})
}

// Failures of longer ago than the validity interval do not count.
func TestFailuresOfLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		i := r.submit(func(x *wire.ApplicationSubmissionContextProto) {
			x.MaxAppAttempts, x.AttemptFailuresValidityInterval = proto.Int32(2), proto.Int64(60_000)
		})
		fail := func() {
			t.Helper()
			am := r.master(i)
			r.where(am.container).finish(am.container, 1, "")
			r.sleep(time.Second)
		}
		fail()
		r.sleep(time.Minute)
		fail()
		if s := r.report(i).GetYarnApplicationState(); s != wire.YarnApplicationStateProto_ACCEPTED {
			t.Fatalf("%v after one failure within the interval", s)
		}
		fail()
		if rep := r.report(i); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_FAILED || !strings.Contains(rep.GetDiagnostics(), "failed 2 times in previous 60000 milliseconds") {
			t.Errorf("%v", rep)
		}
	})
}
