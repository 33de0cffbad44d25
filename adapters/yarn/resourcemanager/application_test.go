package resourcemanager

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// An application from its submission to its end.
func TestLifeOfAnApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		r.agent("h2", "/r1", 8, 16384)
		i := r.submit(nil)
		rep := r.report(i)
		if rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_ACCEPTED || rep.GetUser() != "ann" || rep.GetQueue() != "root.default" || rep.GetHost() != "N/A" || rep.GetRpcPort() != -1 {
			t.Fatalf("after submission: %v", rep)
		}
		am := r.master(i)
		task := r.where(am.container).task(am.container)
		if !strings.HasSuffix(am.container, "_01_000001") || task.spec.Command.User != "ann" || task.grant.User != "ann" || task.grant.MemoryMb != 2048 {
			t.Errorf("the master is %v", task.spec)
		}
		x := &wire.ContainerLaunchContextProto{}
		if err := proto.Unmarshal(task.grant.LaunchContext, x); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{}
		for _, e := range x.Environment {
			env[e.GetKey()] = e.GetValue()
		}
		if env["APPLICATION_WEB_PROXY_BASE"] != "/proxy/"+i.String() || env["APP_SUBMIT_TIME_ENV"] == "" || env["A"] != "b" {
			t.Errorf("the master's environment is %v", env)
		}
		reg := am.register()
		if reg.GetQueue() != "root.default" || reg.GetMaximumCapability().GetMemory() != 16384 || len(reg.GetSchedulerResourceTypes()) != 2 || len(reg.GetApplication_ACLs()) != 1 {
			t.Errorf("registration: %v", reg)
		}
		if rep := r.report(i); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_RUNNING || rep.GetHost() != "h1" || rep.GetRpcPort() != 4000 {
			t.Errorf("running: %v", rep)
		}
		begun := time.Now()
		a := am.allocate(asking(want(20, "*", 3, 1024)))
		if len(a.AllocatedContainers) != 3 || time.Since(begun) > 20*time.Millisecond {
			t.Fatalf("%d containers after %v", len(a.AllocatedContainers), time.Since(begun))
		}
		nodes := map[string]bool{}
		for _, c := range a.AllocatedContainers {
			nodes[c.GetNodeId().GetHost()] = true
			k, err := token.ParseContainer(c.GetContainerToken().GetIdentifier())
			if err != nil || k.User != "ann" || k.MemoryMB != 1024 || k.Priority != 20 || k.ID.String() != containerName(c) {
				t.Errorf("container token %+v, %v", k, err)
			}
			keys := token.Keys(r.where(containerName(c)).task(containerName(c)).spec.JobSecret)
			if !token.Check(keys.Container, c.ContainerToken.Identifier, c.ContainerToken.Password) {
				t.Error("the agent does not know the container's token")
			}
		}
		if len(a.NmTokens) != len(nodes) {
			t.Errorf("%d tokens for %d nodes", len(a.NmTokens), len(nodes))
		}
		if a.GetNumClusterNodes() != 2 || a.GetLimit().GetMemory() <= 0 || a.GetLimit().GetMemory() > 32768-2048-3*1024 {
			t.Errorf("nodes %d, headroom %v", a.GetNumClusterNodes(), a.GetLimit())
		}
		// The same call again has the same answer.
		again, err := r.m.allocate(context.Background(), am.caller, &wire.AllocateRequestProto{ResponseId: proto.Int32(0)})
		if err != nil || again != proto.Message(a) {
			t.Errorf("a repeated call: %v, %v", again, err)
		}
		if _, err := r.m.allocate(context.Background(), am.caller, &wire.AllocateRequestProto{ResponseId: proto.Int32(7)}); class(err) != hadooprpc.InvalidApplicationMasterRequest {
			t.Errorf("a wrong response id: %v", err)
		}
		first := containerName(a.AllocatedContainers[0])
		r.where(first).finish(first, 1, "it broke")
		b := am.allocate(asking(want(20, "*", 0, 1024)))
		if len(b.CompletedContainerStatuses) != 1 || b.CompletedContainerStatuses[0].GetExitStatus() != 1 || b.CompletedContainerStatuses[0].GetDiagnostics() != "it broke" || len(b.NmTokens) != 0 {
			t.Fatalf("after an end: %v", b)
		}
		if r.where(first) == nil {
			t.Error("an end was acknowledged before its master has read it")
		}
		release, _ := id.ParseContainer(containerName(a.AllocatedContainers[1]))
		am.allocate(&wire.AllocateRequestProto{Release: []*wire.ContainerIdProto{release.Proto()}})
		if r.where(first) != nil {
			t.Error("an end that its master has read was not acknowledged")
		}
		c := am.allocate(&wire.AllocateRequestProto{})
		if len(c.CompletedContainerStatuses) != 1 || c.CompletedContainerStatuses[0].GetExitStatus() != -100 || c.CompletedContainerStatuses[0].GetDiagnostics() != saidReleased {
			t.Errorf("after a release: %v", c)
		}
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		if rep := r.report(i); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_FINISHED || rep.GetFinalApplicationStatus() != wire.FinalApplicationStatusProto_APP_SUCCEEDED || rep.GetOriginalTrackingUrl() != "http://jhs:19888/job" {
			t.Errorf("finished: %v", rep)
		}
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		r.sleep(11 * time.Second)
		if len(r.grants(i)) != 2 {
			t.Errorf("a master that unregistered was not left alone: %v", r.grants(i))
		}
		r.where(am.container).finish(am.container, 0, "")
		if len(r.grants(i)) != 0 {
			t.Errorf("left over: %v", r.grants(i))
		}
		jobs, err := r.broker.ListJobs(context.Background(), operator, &v1.ListJobsRequest{})
		if err != nil || len(jobs.Jobs) != 1 || jobs.Jobs[0].Phase != v1.JobPhase_JOB_PHASE_SUCCEEDED || jobs.Jobs[0].Kind != "yarn" || jobs.Jobs[0].User != "ann" {
			t.Errorf("jobs: %v, %v", jobs, err)
		}
		if rep := r.report(i); rep.GetAppResource_Usage().GetNumUsedContainers() != -1 || rep.GetAppResource_Usage().GetMemorySeconds() == 0 {
			t.Errorf("usage after the end: %v", rep.GetAppResource_Usage())
		}
		// It is known after a restart, from its job.
		r.restart()
		if rep := r.report(i); rep.GetYarnApplicationState() != wire.YarnApplicationStateProto_FINISHED || rep.GetDiagnostics() != "said" || rep.GetApplicationType() != "MAPREDUCE" {
			t.Errorf("after a restart: %v", rep)
		}
	})
}
