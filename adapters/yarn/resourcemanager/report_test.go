package resourcemanager

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata")

// golden compares a message with a file. Nothing in it may hang on chance.
func golden(t *testing.T, name string, x proto.Message) {
	t.Helper()
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	path := filepath.Join("testdata", name+".json")
	if *rewrite {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s is\n%s\nwant\n%s", name, &got, want)
	}
}

// complete reports fields that are not set: Java clients fall over null.
func complete(t *testing.T, x proto.Message, except ...string) {
	t.Helper()
	m := x.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !f.IsList() && !f.IsMap() && !m.Has(f) && !slices.Contains(except, string(f.Name())) {
			t.Errorf("%s.%s is not set", m.Descriptor().Name(), f.Name())
		}
		if f.Kind() == protoreflect.MessageKind && !f.IsList() && m.Has(f) && !slices.Contains(except, string(f.Name())) {
			complete(t, m.Get(f).Message().Interface(), except...)
		}
	}
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		i := r.submit(func(x *wire.ApplicationSubmissionContextProto) { x.ApplicationTags = []string{"Blue"} })
		optional := []string{"app_id", "client_to_am_token", "am_rm_token", "log_aggregation_status", "rmClusterId", "am_container_id", "decommissioning_timeout", "subClusterId",
			"minResourceVCore", "minResourceMemory", "maxResourceVCore", "maxResourceMemory", "reservedResourceVCore", "reservedResourceMemory", "steadyFairShareVCore",
			"steadyFairShareMemory", "maxRunningApp"}
		golden(t, "accepted", r.report(i))
		complete(t, r.report(i), optional...)
		am := r.master(i)
		am.register()
		a := am.allocate(asking(want(20, "*", 1, 1024)))
		r.sleep(10 * time.Second)
		golden(t, "running", r.report(i))
		complete(t, r.report(i), optional...)
		ctx := context.Background()
		ask := func(name string, x proto.Message, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, x)
			complete(t, x, optional...)
		}
		x, err := r.m.getAttempts(ctx, as("ann"), &wire.GetApplicationAttemptsRequestProto{ApplicationId: i.Proto()})
		ask("attempts", x, err)
		x, err = r.m.getContainerReport(ctx, as("ann"), &wire.GetContainerReportRequestProto{ContainerId: a.AllocatedContainers[0].Id})
		ask("container", x, err)
		x, err = r.m.getClusterNodes(ctx, as("ann"), &wire.GetClusterNodesRequestProto{})
		ask("nodes", x, err)
		for _, n := range x.(*wire.GetClusterNodesResponseProto).NodeReports {
			complete(t, n, optional...)
		}
		x, err = r.m.getQueueInfo(ctx, as("ann"), &wire.GetQueueInfoRequestProto{QueueName: proto.String("default")})
		ask("queue", x, err)
		x, err = r.m.getClusterMetrics(ctx, as("ann"), &wire.GetClusterMetricsRequestProto{})
		ask("metrics", x, err)
		// A completed container's status, as its master gets it.
		name := containerName(a.AllocatedContainers[0])
		r.where(name).finish(name, 137, "Killed")
		b := am.allocate(&wire.AllocateRequestProto{})
		golden(t, "allocate", b)
		complete(t, b.CompletedContainerStatuses[0], "container_sub_state", "app_id")
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		golden(t, "finished", r.report(i))
		complete(t, r.report(i), optional...)
	})
}

// A master that its client runs by itself gets its token by the report, and only its owner does.
func TestUnmanagedMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.agent("h1", "/r1", 8, 16384)
		i := r.submit(func(x *wire.ApplicationSubmissionContextProto) {
			x.UnmanagedAm, x.AmContainerSpec, x.Resource = proto.Bool(true), nil, nil
		})
		p := r.report(i).GetAmRmToken()
		if p == nil {
			t.Fatalf("no token: %v", r.report(i))
		}
		other, err := r.m.getApplicationReport(context.Background(), as("bob"), &wire.GetApplicationReportRequestProto{ApplicationId: i.Proto()})
		if err != nil || other.(*wire.GetApplicationReportResponseProto).ApplicationReport.AmRmToken != nil {
			t.Errorf("a stranger gets the token: %v", err)
		}
		am := &fakeMaster{r: r, caller: &hadooprpc.Caller{User: "x", Token: &hadooprpc.Token{Kind: token.KindAMRM, Identifier: p.Identifier}}}
		am.register()
		if a := am.allocate(asking(want(1, "*", 2, 1024))); len(a.AllocatedContainers) != 2 {
			t.Fatalf("%v", a)
		}
		am.finish(wire.FinalApplicationStatusProto_APP_SUCCEEDED)
		if n := len(r.grants(i)); n != 0 {
			t.Errorf("%d containers are left", n)
		}
	})
}
