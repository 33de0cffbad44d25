package yarnjobs

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	stock "github.com/colinmarc/hdfs/v2"

	"fairway/integration/hadoop"
	"fairway/integration/testbed"
)

const jobClient = "org.apache.hadoop.mapred.JobClient"

// With the JobHistoryServer beside the cluster a job that has ended is found by its id: by MapReduce's commands, and by
// whoever follows the link that the resource manager gives.
func TestHistory(t *testing.T) {
	testbed.Long(t)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	in, err := world.In.FetchHistory(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := hadoop.HistoryConf("/mr-history")
	if err != nil {
		t.Fatal(err)
	}
	historyFolders(t, "/mr-history")
	r := &rig{Cluster: &testbed.Cluster{Cluster: world.rig.Cluster.Cluster, Web: world.rig.Web, ConfDir: filepath.Join(t.TempDir(), "conf")}} // the same cluster, another client
	more := map[string]string{}
	for _, m := range []map[string]string{settings, world.rig.addresses} {
		for k, v := range m {
			more[k] = v
		}
	}
	if err := world.In.ClientConf(r.ConfDir, world.DFS, more); err != nil {
		t.Fatal(err)
	}
	world.Put(t, testbed.WithAccount, home(testbed.WithAccount, "history/in.txt"), "one two\n")
	server, err := in.StartHistory(ctx, r.ConfDir, settings) // first: it makes the folder without which no master begins
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	defer func() {
		if t.Failed() {
			t.Log(server.Log())
		}
	}()
	j := r.begin(ctx, testbed.WithAccount, world.In.ExamplesJar(), "wordcount", home(testbed.WithAccount, "history"), home(testbed.WithAccount, "history-out"))
	res := j.wait(t, r, 7*time.Minute)
	if res.Counters["Launched map tasks"] != 1 {
		t.Errorf("the client has no counters:\n%s", res.Output)
	}
	job := strings.Replace(res.Application, "application", "job", 1)
	_, port, err := net.SplitHostPort(server.Web) // the host is as the master's JVM calls it
	if err != nil {
		t.Fatal(err)
	}
	port = ":" + port
	r.cli(t, testbed.WithAccount, []string{"Job state: SUCCEEDED", "Number of maps: 1", "Launched map tasks=1", port + "/jobhistory/job/" + job}, jobClient, "-status", job)
	r.cli(t, testbed.WithAccount, []string{"Hadoop job: " + job, "User: " + testbed.WithAccount, "Status: SUCCEEDED"}, jobClient, "-history", job)
	status := r.cli(t, testbed.WithAccount, []string{"State : FINISHED"}, cliPackage+"ApplicationCLI", "application", "-status", res.Application)
	link := regexp.MustCompile(`Tracking-URL : (\S+)`).FindStringSubmatch(status)
	if link == nil {
		t.Fatalf("no link in\n%s", status)
	}
	for _, url := range []string{link[1], "http://" + r.Web + "/proxy/" + res.Application + "/"} {
		follow(t, url, port, job)
	}
	var page struct {
		App struct{ TrackingUI, TrackingURL string }
	}
	r.get(t, "/ws/v1/cluster/apps/"+res.Application, &page)
	if page.App.TrackingUI != "History" {
		t.Errorf("the link is called %q", page.App.TrackingUI)
	}
	follow(t, page.App.TrackingURL, port, job)
}

// follow opens a link, which must lead to the history server's page of a job. port is ":" and the server's.
func follow(t *testing.T, url, port, job string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	at := resp.Request.URL
	if resp.StatusCode != http.StatusOK || !strings.HasSuffix(at.Host, port) || !strings.HasSuffix(strings.TrimSuffix(at.Path, "/"), "/jobhistory/job/"+job) ||
		!strings.Contains(string(body), job) || !strings.Contains(string(body), "SUCCEEDED") {
		t.Errorf("%s leads to %s: %s\n%.500s", url, at, resp.Status, body)
	}
}

// historyFolders makes the server's folders as an operator does: users leave their history in one, and read in the other as
// members of its group.
func historyFolders(t *testing.T, dir string) {
	t.Helper()
	for p, mode := range map[string]fs.FileMode{dir: 0o755, dir + "/tmp": os.ModeSticky | 0o777, dir + "/done": 0o770} {
		if err := world.FS.Mkdir(t.Context(), p, mode); err != nil {
			t.Fatal(err)
		}
	}
	self, err := user.Current() // HDFS's superuser
	if err != nil {
		t.Fatal(err)
	}
	c, err := stock.NewClient(stock.ClientOptions{Addresses: []string{world.DFS.Authority}, User: self.Username})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Chown(dir+"/done", "", testbed.WithAccount); err != nil { // the account's own group bears its name
		t.Fatal(err)
	}
}

// Without a history server the submitting client ends well, as in all the other tests, and at once; who asks later is told
// that there is none when the client's own retries are over.
func TestWithoutHistory(t *testing.T) {
	testbed.Long(t)
	if c, err := net.DialTimeout("tcp", "127.0.0.1:10020", time.Second); err == nil {
		c.Close()
		t.Skip("something on this machine listens where clients look for a history server")
	}
	r := world.rig
	world.Put(t, testbed.WithAccount, home(testbed.WithAccount, "nohistory/in.txt"), "one two\n")
	res := r.run(t, testbed.WithAccount, 2*time.Minute, world.In.ExamplesJar(), "wordcount", home(testbed.WithAccount, "nohistory"), home(testbed.WithAccount, "nohistory-out"))
	ended := time.Now()
	var page struct {
		App struct{ FinishedTime int64 }
	}
	r.get(t, "/ws/v1/cluster/apps/"+res.Application, &page)
	if late := ended.Sub(time.UnixMilli(page.App.FinishedTime)); late > 10*time.Second {
		t.Errorf("the client ended %v after its job", late)
	}
	if res.Counters["Launched map tasks"] != 1 {
		t.Errorf("the client has no counters:\n%s", res.Output)
	}
	const patience = 5 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begun := time.Now()
	out, err := r.client(testbed.WithAccount).Java(ctx, jobClient, "-status", strings.Replace(res.Application, "application", "job", 1))
	t.Logf("mapred job -status gave up after %v", time.Since(begun).Round(time.Second))
	if err == nil || ctx.Err() != nil {
		t.Errorf("mapred job -status without a history server: %v (limit %v)\n%s", err, patience, out)
	}
	// The default address is 0.0.0.0:10020; of one without a host Hadoop says this, and neither host nor port.
	for _, want := range []string{"Your endpoint configuration is wrong", "Connection refused"} {
		if !strings.Contains(out, want) {
			t.Errorf("mapred job -status does not say %q:\n%s", want, out)
		}
	}
}
