package yarnjobs

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/integration/testbed"
)

// hostsOf are the hosts that a job's containers ran on, with how many.
func (r *rig) hostsOf(t *testing.T, application string) map[string]int {
	t.Helper()
	b, err := r.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	jobs, err := b.ListJobs(t.Context(), api.Caller{}, &v1.ListJobsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	on := map[string]int{}
	for _, j := range jobs.Jobs {
		if j.Status != application {
			continue
		}
		tasks, err := b.ListTasks(t.Context(), api.Caller{}, &v1.ListTasksRequest{JobId: j.Id})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range tasks.Tasks {
			on[x.Host]++
		}
	}
	return on
}

// A job with a label in its options runs on that label's agent, one without runs on the others, as the unmodified client
// and command line see it.
func TestNodeLabels(t *testing.T) {
	testbed.Long(t)
	r, err := startRig(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	last := world.DFS.Hosts[2]
	if err := r.Relabel(2, "gpu"); err != nil {
		t.Fatal(err)
	}
	var nodes struct {
		Nodes struct {
			Node []struct {
				ID         string
				State      string
				NodeLabels []string
			}
		}
	}
	labelled := ""
	await(t, "an agent with a label", 30*time.Second, func() bool {
		r.get(t, "/ws/v1/cluster/nodes", &nodes)
		for _, n := range nodes.Nodes.Node {
			if fmt.Sprint(n.NodeLabels) == "[gpu]" && n.State == "RUNNING" {
				labelled = n.ID
			}
		}
		return labelled != ""
	})
	r.cli(t, testbed.WithAccount, []string{"<gpu:exclusivity=true>"}, cliPackage+"ClusterCLI", "--list-node-labels")
	r.cli(t, testbed.WithAccount, []string{"Node-Labels : gpu"}, cliPackage+"NodeCLI", "-status", labelled)
	pi := func(label string) map[string]int {
		args := []string{"pi"}
		if label != "" {
			args = append(args, "-Dmapreduce.job.node-label-expression="+label)
		}
		res := r.run(t, testbed.WithAccount, 2*time.Minute, world.In.ExamplesJar(), append(args, "4", "100")...)
		return r.hostsOf(t, res.Application)
	}
	if on := pi("gpu"); len(on) != 1 || on[last.Name] < 6 {
		t.Errorf("with the label on %v, want all on %s", on, last.Name)
	}
	if on := pi(""); len(on) == 0 || on[last.Name] != 0 {
		t.Errorf("without a label on %v, want none on %s", on, last.Name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := r.client(testbed.WithAccount).RunJob(ctx, world.In.ExamplesJar(), "pi", "-Dmapreduce.job.node-label-expression=fpga", "1", "10")
	if err == nil || !strings.Contains(res.Output, "cluster do not contain , label= fpga") {
		t.Errorf("a label that nobody has: %v\n%s", err, res.Output)
	}
	out, err := r.client("root").Java(ctx, cliPackage+"RMAdminCLI", "-addToClusterNodeLabels", "fpga")
	if err == nil || !strings.Contains(out, "agent.attributes") {
		t.Errorf("rmadmin adds a label: %v\n%s", err, out)
	}
}
