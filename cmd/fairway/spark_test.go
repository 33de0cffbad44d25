package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/spark/driver"
	"fairway/adapters/spark/launch"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// fakeSpark is a spark-submit for the scripts: a driver with an unmanaged master and a REST interface, which does what the
// application's name says. It prints its command line and what it found of configuration.
func fakeSpark() {
	if err := runFakeSpark(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fakespark:", err)
		os.Exit(9)
	}
}

func runFakeSpark(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	submission := ""
	var shown []string
	for _, a := range args {
		if _, v, ok := strings.Cut(a, resourcemanager.SubmissionVariable+"="); ok {
			submission, a = v, "SUBMISSION"
		}
		shown = append(shown, a)
	}
	fmt.Printf("arguments: %s\n", strings.Join(shown, " "))
	folder := os.Getenv("HADOOP_CONF_DIR")
	var c struct {
		Property []launch.Setting `xml:"property"`
	}
	text, err := os.ReadFile(filepath.Join(folder, "yarn-site.xml"))
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(text, &c); err != nil {
		return err
	}
	at := map[string]string{}
	for _, p := range c.Property {
		at[p.Name] = p.Value
	}
	if _, err := os.Stat(filepath.Join(folder, "core-site.xml")); err == nil {
		fmt.Println("core-site.xml is there")
	}
	fmt.Fprintln(os.Stderr, "the driver's stderr")
	what := ""
	for _, a := range args {
		if strings.HasSuffix(a, ".py") {
			what = filepath.Base(a)
		}
	}
	switch what {
	case "plain.py", "":
		return os.WriteFile("folder", []byte(folder), 0o600)
	case "fail.py":
		os.Exit(3)
	}
	app, err := newFakeApplication(ctx, submission, at)
	if err != nil {
		return err
	}
	defer app.close()
	switch what {
	case "count.py":
		select {
		case <-app.counted:
		case <-time.After(2 * time.Minute):
			return errors.New("nobody asks for its stages")
		case <-ctx.Done():
			return ctx.Err()
		}
		return app.finish(ctx)
	case "hang.py": // it dies in good time, and leaves its application as it is
		if err := os.WriteFile("hangs", []byte(folder), 0o600); err != nil {
			return err
		}
		<-ctx.Done()
		fmt.Println("interrupted")
		os.Exit(130)
	}
	return fmt.Errorf("what is %s?", what)
}

// fakeApplication is a Spark application whose master is its driver.
type fakeApplication struct {
	clients []*hadooprpc.Client
	master  *hadooprpc.Client
	server  *httptest.Server
	counted chan struct{} // closed when its tasks have been asked for and then its stages once more
}

func (a *fakeApplication) close() {
	for _, c := range a.clients {
		c.Close()
	}
	if a.server != nil {
		a.server.Close()
	}
}

func (a *fakeApplication) dial(ctx context.Context, address, protocol string, t *writable.Token) (*hadooprpc.Client, error) {
	o := hadooprpc.ClientOptions{Protocol: "org.apache.hadoop.yarn.api." + protocol, Token: t}
	if t == nil {
		o.User = account()
	}
	c, err := hadooprpc.Dial(ctx, address, o)
	if err == nil {
		a.clients = append(a.clients, c)
	}
	return c, err
}

func newFakeApplication(ctx context.Context, submission string, at map[string]string) (*fakeApplication, error) {
	a := &fakeApplication{counted: make(chan struct{})}
	c, err := a.dial(ctx, at["yarn.resourcemanager.address"], "ApplicationClientProtocolPB", nil)
	if err != nil {
		return nil, err
	}
	n := &wire.GetNewApplicationResponseProto{}
	if err := c.Call(ctx, "getNewApplication", &wire.GetNewApplicationRequestProto{}, n); err != nil {
		return nil, err
	}
	i, err := id.ApplicationFrom(n.ApplicationId)
	if err != nil {
		return nil, err
	}
	q := &wire.SubmitApplicationRequestProto{ApplicationSubmissionContext: &wire.ApplicationSubmissionContextProto{
		ApplicationId: n.ApplicationId, ApplicationName: proto.String("count"), ApplicationType: proto.String("SPARK"), Queue: proto.String("root.analytics"), UnmanagedAm: proto.Bool(true),
		AmContainerSpec: &wire.ContainerLaunchContextProto{Environment: []*wire.StringStringMapProto{{Key: proto.String(resourcemanager.SubmissionVariable), Value: &submission}}},
	}}
	if err := c.Call(ctx, "submitApplication", q, &wire.SubmitApplicationResponseProto{}); err != nil {
		return nil, err
	}
	r := &wire.GetApplicationReportResponseProto{}
	if err := c.Call(ctx, "getApplicationReport", &wire.GetApplicationReportRequestProto{ApplicationId: n.ApplicationId}, r); err != nil {
		return nil, err
	}
	p := r.GetApplicationReport().GetAmRmToken()
	t := &writable.Token{Identifier: p.GetIdentifier(), Password: p.GetPassword(), Kind: p.GetKind(), Service: p.GetService()}
	if a.master, err = a.dial(ctx, at["yarn.resourcemanager.scheduler.address"], "ApplicationMasterProtocolPB", t); err != nil {
		return nil, err
	}
	a.server = httptest.NewServer(a.pages(i))
	return a, a.master.Call(ctx, "registerApplicationMaster", &wire.RegisterApplicationMasterRequestProto{Host: proto.String("127.0.0.1"), RpcPort: proto.Int32(1), TrackingUrl: &a.server.URL},
		&wire.RegisterApplicationMasterResponseProto{})
}

// pages are a driver's, for who comes in its user's name only.
func (a *fakeApplication) pages(i id.ApplicationID) http.Handler {
	var once sync.Once
	asked := false
	base := "/api/v1/applications/" + i.String()
	mux := http.NewServeMux()
	mux.HandleFunc(base+"/stages", func(w http.ResponseWriter, r *http.Request) {
		if asked {
			once.Do(func() { close(a.counted) })
		}
		fmt.Fprint(w, `[{"status":"COMPLETE","stageId":0,"attemptId":0,"numTasks":3,"numCompleteTasks":3,"name":"count at count.py:7"}]`)
	})
	mux.HandleFunc(base+"/stages/0/0/taskList", func(w http.ResponseWriter, r *http.Request) {
		asked = true // one reader asks one thing after another
		fmt.Fprint(w, `[{"taskLocality":"NODE_LOCAL"},{"taskLocality":"NODE_LOCAL"},{"taskLocality":"ANY"}]`)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, err := r.Cookie("proxy-user"); err != nil || u.Value != account() {
			http.Error(w, "who?", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (a *fakeApplication) finish(ctx context.Context) error {
	q := &wire.FinishApplicationMasterRequestProto{FinalApplicationStatus: wire.FinalApplicationStatusProto_APP_SUCCEEDED.Enum()}
	for {
		r := &wire.FinishApplicationMasterResponseProto{}
		if err := a.master.Call(ctx, "finishApplicationMaster", q, r); err != nil || r.GetIsUnregistered() {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func TestStageReports(t *testing.T) {
	x := driver.Report{Seen: 3, Ended: 2, Failed: 1, Uncounted: 5, Locality: driver.Locality{Process: 1, Node: 2, Rack: 3, Any: 4, None: 6},
		Stages: []driver.Stage{{ID: 1, Attempt: 1, Name: "count at a.py:1", Ended: true, OK: true, Tasks: 4, Done: 4}, {ID: 2, Name: "x: y", Tasks: 9, Running: 2, Done: 3, Failed: 1}}}
	j := &v1.Job{Id: "job-1", Status: "application_1_0001", Role: "r", Phase: v1.JobPhase_JOB_PHASE_RUNNING, Progress: stageProgress(x), Counters: stageCounters(x),
		Labels: map[string]string{resourcemanager.SubmissionLabel: "s"}}
	if got, want := progress(j), "stages 1/3 stage 1.1 4/4 stage 2 3/9"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	j.Progress = append(j.Progress, j.Progress[1], j.Progress[1])
	if got, want := progress(j), "stages 1/3 stage 2 3/9"; got != want {
		t.Errorf("of many: %q, want %q", got, want)
	}

	var out bytes.Buffer
	f := &sparkFollower{submission: "s", show: &out, changed: make(chan struct{})}
	now := time.Now()
	f.update(&v1.Job{Id: "other"}, now)
	f.update(j, now)
	f.update(j, now)
	later := proto.Clone(j).(*v1.Job)
	later.Progress[2].Done = 4
	f.update(later, now.Add(time.Second)) // too soon
	f.update(later, now.Add(6*time.Second))
	later = proto.Clone(later).(*v1.Job)
	later.Progress[2].Done, later.Progress[2].Running = 9, 0
	f.update(later, now.Add(7*time.Second)) // an end is shown at once
	f.last(launch.End{}, 12*time.Second)
	want := `application_1_0001 is job-1 in role r; why it waits, if it does: fairway explain job-1
stage 1.1 (count at a.py:1): 4/4 tasks
stage 2 (x: y): 3/9 tasks, 2 running, 1 failed
stage 2 (x: y): 4/9 tasks, 2 running, 1 failed
stage 2 (x: y): 9/9 tasks, 1 failed
application_1_0001 running in 12s: 2 stages; tasks: 1 process-local, 2 node-local, 3 rack-local, 4 elsewhere, 6 without a preference, 5 not counted
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
	b, err := json.Marshal(f.summary(launch.End{Code: 1}, 1500*time.Millisecond))
	const text = `{"application_id":"application_1_0001","job_id":"job-1","state":"running","exit_code":1,"wall_ms":1500,"stages":2,` +
		`"tasks":{"process":1,"node":2,"rack":3,"any":4,"no_preference":6,"not_counted":5}}`
	if err != nil || string(b) != text {
		t.Errorf("%s, %v", b, err)
	}
	if x := f.summary(launch.End{Code: 130, Stopped: true}, 0); x.State != "interrupted" {
		t.Errorf("%+v", x)
	}
	if x := (&sparkFollower{}).summary(launch.End{Code: 1}, 0); x.State != "failed" || x.Application != "" {
		t.Errorf("%+v", x)
	}
}

// Words of an application are its own, whatever they look like.
func TestStreamingFlagsAreMapReduces(t *testing.T) {
	args := []string{"submit", "spark", "app.py", "mapreduce", "-input", "x"}
	if got := streamingFlags(args); !slices.Equal(got, args) {
		t.Errorf("%v", got)
	}
	if got := streamingFlags([]string{"submit", "mapreduce", "-input", "spark"}); got[2] != "--input" {
		t.Errorf("%v", got)
	}
}

func TestChildsExitCode(t *testing.T) {
	for _, tc := range []struct {
		end  launch.End
		err  error
		want int
	}{
		{launch.End{}, nil, 0}, {launch.End{Code: 3}, nil, 3}, {launch.End{Code: 137, Stopped: true}, nil, 137}, {launch.End{Stopped: true}, nil, exitInterrupted}, {launch.End{}, syscall.ENOENT, exitFailed},
	} {
		if got := report(exit(tc.end, tc.err)); got != tc.want {
			t.Errorf("%+v %v: %d, want %d", tc.end, tc.err, got, tc.want)
		}
	}
}
