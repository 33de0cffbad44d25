package yarnjobs

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"fairway/integration/testbed"
)

const cliPackage = "org.apache.hadoop.yarn.client.cli."

// cli runs a command of YARN's or MapReduce's command line, which must succeed within half a minute and say all of want.
func (r *rig) cli(t *testing.T, user string, want []string, class string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	out, err := r.client(user).Java(ctx, append([]string{class}, args...)...)
	if err != nil {
		t.Errorf("%s %v: %v\n%s", class, args, err, out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%s %v does not say %q:\n%s", class, args, w, out)
		}
	}
	return out
}

// get returns a page of the resource manager's REST interface.
func (r *rig) get(t *testing.T, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Web+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v %s", path, resp.Status, err, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v in %s", path, err, b)
	}
}

// TestCommandLine walks through what operators and users type, while a job runs and after its end.
func TestCommandLine(t *testing.T) {
	r := world.rig
	m, started, open := gate(t)
	j := r.beginGated(t, testbed.WithAccount, "cli", 2, m, "-Dmapreduce.job.queuename=analytics")
	await(t, "a map's start", 2*time.Minute, func() bool { return started() > 0 })
	list := r.cli(t, testbed.WithAccount, []string{"RUNNING", "root.analytics", testbed.WithAccount}, cliPackage+"ApplicationCLI", "application", "-list")
	app := regexp.MustCompile(`application_\d+_\d+`).FindString(list)
	if app == "" {
		t.Fatal("no application is listed")
	}
	job := strings.Replace(app, "application", "job", 1)
	r.cli(t, testbed.WithAccount, []string{"State : RUNNING", "Queue : root.analytics"}, cliPackage+"ApplicationCLI", "application", "-status", app)
	attempts := r.cli(t, testbed.WithAccount, []string{"RUNNING"}, cliPackage+"ApplicationCLI", "applicationattempt", "-list", app)
	attempt := regexp.MustCompile(`appattempt_\d+_\d+_\d+`).FindString(attempts)
	containers := r.cli(t, testbed.WithAccount, []string{"_01_000001", "RUNNING"}, cliPackage+"ApplicationCLI", "container", "-list", attempt)
	if n := len(regexp.MustCompile(`(?m)^container_`).FindAllString(containers, -1)); n < 2 {
		t.Errorf("%d containers are listed:\n%s", n, containers)
	}
	r.cli(t, testbed.WithAccount, []string{"State : RUNNING", "Container-Id"}, cliPackage+"ApplicationCLI", "container", "-status",
		regexp.MustCompile(`container_\d+_\d+_\d+_\d+`).FindString(containers))
	nodes := r.cli(t, testbed.WithAccount, []string{"Total Nodes:3", "127.0.1.1:", "RUNNING"}, cliPackage+"NodeCLI", "-list")
	r.cli(t, testbed.WithAccount, []string{"Node-State : RUNNING", "Rack : /rack1"}, cliPackage+"NodeCLI", "-status", regexp.MustCompile(`127\.0\.1\.1:\d+`).FindString(nodes))
	r.cli(t, testbed.WithAccount, []string{"State : RUNNING", "Queue Name : "}, cliPackage+"QueueCLI", "-status", "analytics")
	r.cli(t, testbed.WithAccount, []string{job, "RUNNING"}, "org.apache.hadoop.mapred.JobClient", "-list")
	r.cli(t, testbed.WithAccount, []string{"Job state: RUNNING", "Number of maps: 2"}, "org.apache.hadoop.mapred.JobClient", "-status", job)
	r.cli(t, testbed.WithAccount, []string{"LogType:syslog", "may not be complete"}, cliPackage+"LogsCLI", "-applicationId", app)
	r.cli(t, "root", nil, cliPackage+"RMAdminCLI", "-refreshQueues")
	r.cli(t, testbed.WithAccount, []string{"Successfully completed move"}, cliPackage+"ApplicationCLI", "application", "-movetoqueue", app, "-queue", "batch")
	var info struct {
		ClusterInfo struct{ State, HaState string }
	}
	if r.get(t, "/ws/v1/cluster/info", &info); info.ClusterInfo.State != "STARTED" {
		t.Errorf("cluster info is %+v", info)
	}
	var one struct {
		App struct{ ID, State, Queue, User string }
	}
	if r.get(t, "/ws/v1/cluster/apps/"+app, &one); one.App.State != "RUNNING" || one.App.Queue != "root.batch" || one.App.User != testbed.WithAccount {
		t.Errorf("the application is %+v", one)
	}
	var nodesPage struct {
		Nodes struct{ Node []struct{ State string } }
	}
	if r.get(t, "/ws/v1/cluster/nodes", &nodesPage); len(nodesPage.Nodes.Node) != 3 {
		t.Errorf("the nodes are %+v", nodesPage)
	}
	resp, err := http.Get("http://" + r.Web + "/proxy/" + app + "/")
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(page), "MapReduce Application") {
		t.Errorf("the ApplicationMaster's page: %s\n%.300s", resp.Status, page)
	}
	open()
	j.wait(t, r, 2*time.Minute)
	r.cli(t, testbed.WithAccount, []string{"State : FINISHED", "Final-State : SUCCEEDED"}, cliPackage+"ApplicationCLI", "application", "-status", app)
	await(t, "the logs' aggregation", 30*time.Second, func() bool {
		list, err := world.FS.List(t.Context(), "/tmp/logs/"+testbed.WithAccount+"/bucket-logs-tfile/"+app[len(app)-4:]+"/"+app)
		return err == nil && len(list) > 0
	})
	r.cli(t, testbed.WithAccount, []string{"LogType:syslog", "MRAppMaster"}, cliPackage+"LogsCLI", "-applicationId", app)
}

// A job that its user kills, by YARN's command or by MapReduce's, ends with what it left cleaned up.
func TestKill(t *testing.T) {
	r := world.rig
	for name, kill := range map[string]func(t *testing.T, app string){
		"application": func(t *testing.T, app string) {
			r.cli(t, testbed.WithAccount, []string{"Killing application " + app}, cliPackage+"ApplicationCLI", "application", "-kill", app)
		},
		"job": func(t *testing.T, app string) {
			id := strings.Replace(app, "application", "job", 1)
			r.cli(t, testbed.WithAccount, []string{"Killed job " + id}, jobClient, "-kill", id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "job" {
				testbed.Long(t)
			}
			m, started, _ := gate(t)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			j := r.beginGated(t, testbed.WithAccount, "kill-"+name, 1, m)
			await(t, "a map's start", 2*time.Minute, func() bool { return started() > 0 })
			list := r.cli(t, testbed.WithAccount, nil, cliPackage+"ApplicationCLI", "application", "-list")
			app := regexp.MustCompile(`application_\d+_\d+`).FindString(list)
			kill(t, app)
			select {
			case <-j.done:
				if j.err == nil {
					t.Error("the client of a killed job succeeded")
				}
			case <-ctx.Done():
				t.Fatal("the client of a killed job hangs")
			}
			r.cli(t, testbed.WithAccount, []string{"State : KILLED"}, cliPackage+"ApplicationCLI", "application", "-status", app)
			await(t, "the end of its processes", 20*time.Second, func() bool { return len(processes(app)) == 0 })
		})
	}
}
