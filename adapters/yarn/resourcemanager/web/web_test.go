package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager"
	"fairway/adapters/yarn/wire"
)

func TestMain(m *testing.M) {
	// net/http waits half a second for a client to read what was sent before it resets the connection.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

var _ Manager = (*resourcemanager.Manager)(nil)

// fake is a manager of what a real YARN had when testdata/yarn was written.
type fake struct {
	mu         sync.Mutex
	apps       []resourcemanager.Application
	attempts   []resourcemanager.Attempt
	containers []resourcemanager.Container
	nodes      []resourcemanager.Node
	queues     []resourcemanager.QueueInfo
	metrics    resourcemanager.Metrics
	killed     []string
	unseen     string // a user from whom all is hidden
}

const cluster = 1795392256416

func at(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

var (
	appID     = id.ApplicationID{Timestamp: cluster, Number: 1}
	attemptID = id.AttemptID{Application: appID, Number: 1}
	masterID  = id.NewContainer(attemptID, 0, 1)
)

const masterLogs = "http://node1:41429/node/containerlogs/container_1795392256416_0001_01_000001/root"

func running() resourcemanager.Application {
	return resourcemanager.Application{
		ID: appID, User: "root", Name: "QuasiMonteCarlo", Queue: "root.default", Type: "MAPREDUCE", State: wire.YarnApplicationStateProto_RUNNING,
		Submitted: at(1795392260898), Launched: at(1795392262710), Attempt: attemptID, Host: "node1", RPCPort: 40255,
		TrackingURL: "http://localhost:39907/proxy/application_1795392256416_0001/", OriginalURL: "http://node1:46357",
		MasterNode: "node1:35959", MasterHTTP: "node1:41429", MasterID: masterID, Live: true, Containers: 1, Memory: 2048, VCores: 1,
		MemorySecs: 10665, VCoreSecs: 5, QueueShare: 33.333336, ClusterShare: 33.333336, LogsURL: masterLogs,
		LogStatus: wire.LogAggregationStatusProto_LOG_DISABLED,
	}
}

func newFake() *fake {
	return &fake{
		apps: []resourcemanager.Application{running()},
		attempts: []resourcemanager.Attempt{{ID: attemptID, State: wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_RUNNING, Host: "node1", RPCPort: 40255,
			TrackingURL: "http://localhost:39907/proxy/application_1795392256416_0001/", OriginalURL: "http://node1:46357",
			Started: at(1795392260948), Master: masterID, Node: "node1:35959", NodeHTTP: "node1:41429", LogsURL: masterLogs}},
		containers: []resourcemanager.Container{{ID: masterID, Node: id.NodeID{Host: "node1", Port: 35959}, NodeHTTP: "node1:41429", Memory: 2048, VCores: 1,
			State: wire.ContainerStateProto_C_RUNNING, Created: at(1795392262172), LogsURL: masterLogs}},
		nodes: []resourcemanager.Node{{ID: id.NodeID{Host: "node1", Port: 35959}, HTTP: "node1:41429", Rack: "/rack1", State: wire.NodeStateProto_NS_RUNNING,
			Containers: 1, Memory: 6144, VCores: 4, UsedMemory: 2048, UsedVCores: 1, Heard: at(1795392252018), Version: "3.4.2"}},
		queues: []resourcemanager.QueueInfo{
			{Name: "root", Path: "root", Children: []string{"default", "a"}, Capacity: 1, Absolute: 1, Maximum: 1, Used: .25, AbsoluteUsed: .25, Memory: 2048, VCores: 1, Containers: 1, Running: 1},
			{Name: "default", Path: "root.default", Capacity: .75, Absolute: .75, Maximum: 1, Used: .5, AbsoluteUsed: .375, Memory: 2048, VCores: 1, Containers: 1, Running: 1, Waiting: 2, Pending: 7},
			{Name: "a", Path: "root.a", Children: []string{"b"}, Capacity: .25, Absolute: .25, Maximum: .5},
			{Name: "b", Path: "root.a.b", Capacity: 1, Absolute: .25, Maximum: .5, Stopped: true},
		},
		metrics: resourcemanager.Metrics{Submitted: 1, Running: 1, AvailableMB: 4096, AllocatedMB: 2048, TotalMB: 6144, AvailableVCores: 3,
			AllocatedVCores: 1, TotalVCores: 4, Containers: 1, Nodes: 1, Active: 1},
	}
}

func (f *fake) Info() resourcemanager.Info {
	return resourcemanager.Info{ID: cluster, Started: at(cluster), Version: "1.2.3", Host: "localhost"}
}
func (f *fake) Applications() []resourcemanager.Application { return f.apps }
func (f *fake) Application(i id.ApplicationID) (resourcemanager.Application, bool) {
	for _, a := range f.apps {
		if a.ID == i {
			return a, true
		}
	}
	return resourcemanager.Application{}, false
}
func (f *fake) Attempts(i id.ApplicationID) ([]resourcemanager.Attempt, bool) {
	return f.attempts, i == appID
}
func (f *fake) Containers(i id.AttemptID) ([]resourcemanager.Container, bool) {
	return f.containers, i == attemptID
}
func (f *fake) Nodes() []resourcemanager.Node           { return f.nodes }
func (f *fake) QueueTree() []resourcemanager.QueueInfo  { return f.queues }
func (f *fake) ClusterMetrics() resourcemanager.Metrics { return f.metrics }
func (f *fake) Sees(who resourcemanager.Caller) func(id.ApplicationID) bool {
	return func(id.ApplicationID) bool { return who.User != f.unseen }
}
func (f *fake) Kill(_ context.Context, who resourcemanager.Caller, i id.ApplicationID, diagnostics string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if who.User != "root" {
		return false, hadooprpc.Errorf(hadooprpc.AccessControlException, "User %s cannot perform operation MODIFY_APP on %s", who.User, i)
	}
	f.killed = append(f.killed, diagnostics)
	return len(f.killed) > 1, nil
}

func server(t testing.TB, m Manager) *Server {
	t.Helper()
	s, err := New(Options{Manager: m})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks the handler.
func get(s http.Handler, method, path, body string) *http.Response {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.7:1234"
	s.ServeHTTP(w, r)
	return w.Result()
}

func decode(t *testing.T, what string, b []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v in %s", what, err, b)
	}
	return v
}

// What a real ResourceManager (3.4.2) said of the same state; keys that we leave out, or whose values are our own, are named.
func TestAsYARN(t *testing.T) {
	const app = root + "/apps/application_1795392256416_0001"
	f := newFake()
	s := server(t, f)
	accepted := resourcemanager.Application{ID: appID, User: "root", Name: "QuasiMonteCarlo", Queue: "root.default", Type: "MAPREDUCE",
		State: wire.YarnApplicationStateProto_ACCEPTED, Submitted: at(1795392260898), Host: "N/A", RPCPort: -1, OriginalURL: "N/A", LogStatus: wire.LogAggregationStatusProto_LOG_DISABLED,
		TrackingURL: "http://localhost:39907/proxy/application_1795392256416_0001/"}
	ended := running()
	ended.State, ended.FinalStatus, ended.Finished = wire.YarnApplicationStateProto_KILLED, wire.FinalApplicationStatusProto_APP_KILLED, at(1795392269030)
	ended.Live, ended.MemorySecs, ended.VCoreSecs = false, 14055, 6
	ended.TrackingURL = "http://localhost:39907/cluster/app/application_1795392256416_0001"
	ended.Diagnostics = "Application application_1795392256416_0001 was killed by user nobody"
	for _, c := range []struct {
		file, path string
		now        int64
		app        resourcemanager.Application
		except     []string
	}{
		{"app", app, 1795392260898 + 7020, running(), nil},
		{"app-accepted", app, 1795392260898 + 349, accepted, nil},
		{"app-ended", app, 0, ended, nil},
		{"appattempts", app + "/appattempts", 0, running(), nil},
		{"attempt", app + "/appattempts/appattempt_1795392256416_0001_000001", 0, running(), nil},
		{"containers", app + "/appattempts/appattempt_1795392256416_0001_000001/containers", 1795392262172 + 5882, running(), nil},
		{"timeouts", app + "/timeouts", 0, running(), nil},
		{"node", root + "/nodes/node1:35959", 0, running(), []string{"memUtilization", "cpuUtilization", "resourceUtilization"}},
		{"nodes", root + "/nodes", 0, running(), []string{"memUtilization", "cpuUtilization", "resourceUtilization"}},
		{"metrics", root + "/metrics", 0, running(), []string{"utilizedMB", "utilizedVirtualCores", "utilizedMBPercent", "utilizedVirtualCoresPercent",
			"containerAssignedPerSecond", "rmEventQueueSize", "schedulerEventQueueSize"}},
		{"info", root + "/info", 0, running(), []string{"haState", "rmStateStoreName", "resourceManagerBuildVersion", "resourceManagerVersionBuiltOn", "hadoopBuildVersion", "hadoopVersionBuiltOn"}},
		{"not-found", root + "/apps/application_1_0001", 0, running(), nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			s.now = func() time.Time { return at(c.now) }
			f.apps[0] = c.app
			b, err := os.ReadFile("testdata/yarn/" + c.file + ".json")
			if err != nil {
				t.Fatal(err)
			}
			want := decode(t, c.file, b)
			resp := get(s, "GET", c.path, "")
			if ct := resp.Header.Get("Content-Type"); ct != "application/json;charset=utf-8" {
				t.Errorf("Content-Type %q", ct)
			}
			b, _ = io.ReadAll(resp.Body)
			compare(t, "", decode(t, "ours", b), want, c.except)
		})
	}
}

func compare(t *testing.T, path string, got, want any, except []string) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is %v, want an object", path, got)
			return
		}
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if slices.Contains(except, k) {
				continue
			}
			v, ok := g[k]
			if !ok {
				t.Errorf("%s.%s is missing, YARN has %v", path, k, w[k])
				continue
			}
			if k == "entry" && path[strings.LastIndexByte(path, '.')+1:] == "resourceSecondsMap" {
				continue // twice in one object: which one a decoder keeps is its own affair
			}
			compare(t, path+"."+k, v, w[k], except)
		}
		for k := range g {
			if _, ok := w[k]; !ok {
				t.Errorf("%s.%s is not YARN's", path, k)
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			t.Errorf("%s is %v, want %d items", path, got, len(w))
			return
		}
		for i := range w {
			compare(t, fmt.Sprintf("%s[%d]", path, i), g[i], w[i], except)
		}
	default:
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v (%T), YARN has %v (%T)", path, got, got, want, want)
		}
	}
}

// The whole answer with its order of keys.
func TestGolden(t *testing.T) {
	f := newFake()
	f.apps[0].Tags, f.apps[0].Priority, f.apps[0].Expires, f.apps[0].Diagnostics = []string{"a", "b"}, 3, at(1795392300000), "a <b> & \"c\"\n"
	s := server(t, f)
	s.now = func() time.Time { return at(1795392260898 + 7020) }
	for name, path := range map[string]string{"app": "/apps/" + appID.String(), "scheduler": "/scheduler", "info": "/info"} {
		resp := get(s, "GET", root+path, "")
		got, _ := io.ReadAll(resp.Body)
		file := "testdata/" + name + ".json"
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestFilters(t *testing.T) {
	f := newFake()
	for i, state := range []wire.YarnApplicationStateProto{wire.YarnApplicationStateProto_ACCEPTED, wire.YarnApplicationStateProto_FINISHED, wire.YarnApplicationStateProto_FAILED} {
		a := running()
		a.ID.Number, a.State, a.User, a.Type, a.Queue, a.Tags = int32(i+2), state, "ann", "SPARK", "root.a.b", []string{"Etl", "x"}
		a.Submitted = at(int64(100 * (i + 1)))
		if state != wire.YarnApplicationStateProto_ACCEPTED {
			a.Finished = at(int64(1000 * i))
			a.FinalStatus = wire.FinalApplicationStatusProto(i)
		}
		f.apps = append(f.apps, a)
	}
	s := server(t, f)
	for query, want := range map[string]string{
		"": "1234", "states=RUNNING": "1", "states=running,ACCEPTED": "12", "states=FAILED&states=FINISHED": "34", "state=FAILED": "4",
		"user=ann": "234", "user=nobody": "", "queue=default": "1", "queue=root.a.b": "234", "queue=b": "234", "limit=2": "12", "user=ann&limit=2": "23",
		"applicationTypes=spark,flink": "234", "applicationTags=ETL": "234", "applicationTags=y": "", "name=QuasiMonteCarlo": "1234", "name=x": "",
		"finalStatus=SUCCEEDED": "3", "finalStatus=FAILED": "4", "startedTimeBegin=200": "134", "startedTimeEnd=200": "23", "startedTimeBegin=200&startedTimeEnd=200": "3",
		"finishedTimeBegin=1": "34", "finishedTimeBegin=1&finishedTimeEnd=1000": "3", "deSelects=resourceRequests": "1234",
	} {
		resp := get(s, "GET", root+"/apps?"+query, "")
		var got struct {
			Apps struct {
				App []struct{ ID string }
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %s, %v", query, resp.Status, err)
		}
		ids := ""
		for _, a := range got.Apps.App {
			ids += a.ID[len(a.ID)-1:]
		}
		if ids != want {
			t.Errorf("%s gives %q, want %q", query, ids, want)
		}
	}
	if b, _ := io.ReadAll(get(s, "GET", root+"/apps?user=nobody", "").Body); string(b) != "{\"apps\":{}}\n" {
		t.Errorf("none: %s", b)
	}
	if b, _ := io.ReadAll(get(s, "GET", root+"/nodes?states=LOST", "").Body); string(b) != "{\"nodes\":{}}\n" {
		t.Errorf("no nodes: %s", b)
	}
}

func TestErrors(t *testing.T) {
	s := server(t, newFake())
	app := root + "/apps/" + appID.String()
	for _, c := range []struct {
		method, path, body string
		status             int
		class, message     string
	}{
		{"GET", root + "/apps?states=NOPE", "", 400, webapp + "BadRequestException", "java.lang.Exception: Invalid application-state NOPE specified. It should be one of [NEW, NEW_SAVING, SUBMITTED, ACCEPTED, RUNNING, FINISHED, FAILED, KILLED]"},
		{"GET", root + "/apps?finalStatus=NOPE", "", 400, "java.lang.IllegalArgumentException", "No enum constant org.apache.hadoop.yarn.api.records.FinalApplicationStatus.NOPE"},
		{"GET", root + "/apps?limit=0", "", 400, webapp + "BadRequestException", "java.lang.Exception: limit value must be greater then 0"},
		{"GET", root + "/apps?limit=x", "", 400, webapp + "BadRequestException", "java.lang.Exception: limit value must be a number!"},
		{"GET", root + "/apps?startedTimeBegin=x", "", 400, webapp + "BadRequestException", "java.lang.Exception: startedTimeBegin value must be a number!"},
		{"GET", root + "/apps?finishedTimeBegin=2&finishedTimeEnd=1", "", 400, webapp + "BadRequestException", "java.lang.Exception: finishedTimeEnd must be greater than finishedTimeBegin"},
		{"GET", root + "/apps?queue=nope", "", 400, webapp + "BadRequestException", "java.lang.Exception: Unknown queue: nope"},
		{"GET", root + "/apps/nonsense", "", 400, webapp + "BadRequestException", "java.lang.IllegalArgumentException: Invalid ApplicationId: nonsense"},
		{"GET", root + "/apps/application_1_0001/appattempts", "", 404, webapp + "NotFoundException", "java.lang.Exception: app with id: application_1_0001 not found"},
		{"GET", app + "/appattempts/appattempt_1795392256416_0001_000002", "", 404, webapp + "NotFoundException", "java.lang.Exception: app attempt with id: appattempt_1795392256416_0001_000002 not found"},
		{"GET", app + "/appattempts/x", "", 400, webapp + "BadRequestException", "java.lang.Exception: Invalid AppAttemptId: x"},
		{"GET", root + "/nodes?states=NOPE", "", 400, "java.lang.IllegalArgumentException", "No enum constant org.apache.hadoop.yarn.api.records.NodeState.NOPE"},
		{"GET", root + "/nodes/nope:1", "", 404, webapp + "NotFoundException", "java.lang.Exception: nodeId, nope:1, is not found"},
		{"GET", root + "/nodes/nope", "", 400, webapp + "BadRequestException", "java.lang.Exception: Invalid NodeId [nope]. Expected host:port"},
		{"GET", root + "/nope", "", 404, webapp + "NotFoundException", "there is no GET /ws/v1/cluster/nope"},
		{"POST", root + "/apps", "{}", 404, webapp + "NotFoundException", "there is no POST /ws/v1/cluster/apps"},
		{"PUT", app + "/state?user.name=root", `{"state":"FINISHED"}`, 400, webapp + "BadRequestException", "java.lang.Exception: Only 'KILLED' is allowed as a target state."},
		{"PUT", app + "/state?user.name=root", `junk`, 400, "javax.ws.rs.WebApplicationException", `the body is not {"state":"KILLED"}: invalid character 'j' looking for beginning of value`},
		{"PUT", app + "/state?user.name=eve", `{"state":"KILLED"}`, 403, hadooprpc.AccessControlException, "Unauthorized attempt to kill appid " + appID.String() + " by remote user eve"},
		{"PUT", app + "/state", `{"state":"KILLED"}`, 403, hadooprpc.AccessControlException, "Unauthorized attempt to kill appid " + appID.String() + " by remote user dr.who"},
		{"PUT", root + "/apps/application_1_0001/state?user.name=root", `{"state":"KILLED"}`, 404, webapp + "NotFoundException", "java.lang.Exception: app with id: application_1_0001 not found"},
	} {
		resp := get(s, c.method, c.path, c.body)
		var e remoteException
		err := json.NewDecoder(resp.Body).Decode(&e)
		if x := e.RemoteException; err != nil || resp.StatusCode != c.status || x.JavaClassName != c.class || x.Message != c.message ||
			x.Exception != c.class[strings.LastIndexByte(c.class, '.')+1:] {
			t.Errorf("%s %s: %s %+v, %v", c.method, c.path, resp.Status, e, err)
		}
	}
}

func TestKill(t *testing.T) {
	f := newFake()
	s := server(t, f)
	app := root + "/apps/" + appID.String()
	resp := get(s, "PUT", app+"/state?user.name=root", `{"state":"KILLED","diagnostics":"too slow"}`)
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") != app+"/state" || string(b) != "{\"state\":\"KILLING\"}\n" || f.killed[0] != "too slow" {
		t.Errorf("%s %q %s %v", resp.Status, resp.Header.Get("Location"), b, f.killed)
	}
	f.apps[0].State = wire.YarnApplicationStateProto_KILLED
	resp = get(s, "PUT", app+"/state?user.name=root", `{"state":"KILLED"}`)
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(b) != "{\"state\":\"KILLED\"}\n" {
		t.Errorf("%s %s", resp.Status, b)
	}
	if b, _ := io.ReadAll(get(s, "GET", app+"/state", "").Body); string(b) != "{\"state\":\"KILLED\"}\n" {
		t.Errorf("state %s", b)
	}
}

// What is hidden is gone from the JSON as it is in YARN's AppInfo and AppAttemptInfo; the rest stays.
func TestHidden(t *testing.T) {
	f := newFake()
	f.unseen = staticUser
	f.apps[0].Diagnostics = "why"
	s := server(t, f)
	s.now = func() time.Time { return at(1795392260898 + 7020) }
	app := root + "/apps/" + appID.String()
	ask := func(path string) (map[string]any, string, int) {
		resp := get(s, "GET", path, "")
		b, _ := io.ReadAll(resp.Body)
		return decode(t, path, b), string(b), resp.StatusCode
	}
	seen, _, _ := ask(app + "?user.name=root")
	hidden, _, _ := ask(app)
	listed, _, _ := ask(root + "/apps")
	x, y := seen["app"].(map[string]any), hidden["app"].(map[string]any)
	if !reflect.DeepEqual(listed["apps"].(map[string]any)["app"].([]any)[0], hidden["app"]) {
		t.Errorf("the list has %v", listed)
	}
	absent := []string{"amContainerLogs", "amHostHttpAddress", "amRPCAddress", "logAggregationStatus"}
	zero := []string{"startedTime", "launchTime", "elapsedTime", "masterNodeId", "allocatedMB", "allocatedVCores", "runningContainers", "queueUsagePercentage", "clusterUsagePercentage"}
	for k, v := range x {
		w, ok := y[k]
		switch {
		case slices.Contains(absent, k):
			if ok {
				t.Errorf("%s is told: %v", k, w)
			}
		case slices.Contains(zero, k):
			if w != 0.0 && w != "" || reflect.DeepEqual(v, w) {
				t.Errorf("%s is %v for who sees, %v for who does not", k, v, w)
			}
		case !reflect.DeepEqual(v, w):
			t.Errorf("%s is %v for who sees, %v for who does not", k, v, w)
		}
	}
	if len(x)-len(absent) != len(y) {
		t.Errorf("%d keys of %d", len(y), len(x))
	}
	attempts, _, _ := ask(app + "/appattempts")
	row := attempts["appAttempts"].(map[string]any)["appAttempt"].([]any)[0]
	if want := (map[string]any{"id": 1.0, "startTime": 1795392260948.0, "finishedTime": 0.0, "containerId": "", "nodeHttpAddress": "", "nodeId": "", "logsLink": "",
		"blacklistedNodes": "", "appAttemptId": attemptID.String(), "exportPorts": "", "appAttemptState": "RUNNING"}); !reflect.DeepEqual(row, want) {
		t.Errorf("an attempt: %v", row)
	}
	for path, named := range map[string]string{"": "attempt " + attemptID.String(), "/containers": "application " + appID.String()} {
		e, text, status := ask(app + "/appattempts/" + attemptID.String() + path)
		want := map[string]any{"RemoteException": map[string]any{"exception": "WebApplicationException", "javaClassName": "javax.ws.rs.WebApplicationException",
			"message": "org.apache.hadoop.yarn.exceptions.YarnException: User dr.who does not have privilege to see this " + named}}
		if status != http.StatusServiceUnavailable || !reflect.DeepEqual(e, want) {
			t.Errorf("%s: %d %s", path, status, text)
		}
		if resp := get(s, "GET", app+"/appattempts/"+attemptID.String()+path+"?user.name=root", ""); resp.StatusCode != http.StatusOK {
			t.Errorf("%s for its user: %s", path, resp.Status)
		}
	}
	for _, path := range []string{"/cluster", "/cluster/app/" + appID.String()} {
		b, _ := io.ReadAll(get(s, "GET", path, "").Body)
		if text := string(b); !strings.Contains(text, "QuasiMonteCarlo") || strings.Contains(text, masterLogs) || strings.Contains(text, "why") || strings.Contains(text, "/proxy/") {
			t.Errorf("%s shows\n%s", path, text)
		}
	}
	if f.apps[0].Diagnostics != "why" {
		t.Error("a page changes what it shows")
	}
}

func TestPages(t *testing.T) {
	f := newFake()
	f.apps[0].Name, f.apps[0].Diagnostics = "<script>alert(1)</script>", "line 1\nline 2 & more"
	f.attempts[0].LogsURL = "javascript:alert(1)"
	s := server(t, f)
	for path, want := range map[string][]string{
		"/cluster":                           {appID.String(), "&lt;script&gt;", "/proxy/" + appID.String() + "/", "root.a.b (stopped)", "node1:35959", "1.2.3"},
		"/cluster/app/" + appID.String():     {"line 2 &amp; more", "appattempt_1795392256416_0001_000001", "/proxy/" + appID.String() + "/", "#ZgotmplZ"},
		"/cluster/app/application_1_0001":    {"Failed to read the application application_1_0001"},
		"/cluster/app/<b>":                   {"&lt;b&gt;"},
		"/cluster/failure/" + appID.String(): {"yarn.resourcemanager.hostname", appID.String()},
	} {
		resp := get(s, "GET", strings.ReplaceAll(strings.ReplaceAll(path, "<", "%3C"), ">", "%3E"), "")
		b, _ := io.ReadAll(resp.Body)
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s does not say %q:\n%s", path, w, b)
			}
		}
		if strings.Contains(string(b), "<script") || strings.Contains(string(b), "javascript:") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") ||
			!strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %v\n%s", path, resp.Header, b)
		}
	}
	if resp := get(s, "GET", "/", ""); resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "/cluster" {
		t.Errorf("/ is %s to %s", resp.Status, resp.Header.Get("Location"))
	}
	if resp := get(s, "GET", "/other", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("/other is %s", resp.Status)
	}
}

func TestNodeLabels(t *testing.T) {
	f := newFake()
	s := server(t, f)
	said := func(path, text string) bool {
		b, _ := io.ReadAll(get(s, "GET", root+path, "").Body)
		return strings.Contains(string(b), text)
	}
	if said("/nodes", "nodeLabels") || said("/apps", "appNodeLabelExpression") {
		t.Error("labels that nobody has")
	}
	f.nodes[0].Label, f.apps[0].Label, f.apps[0].MasterLabel = "gpu", "gpu", "fast"
	for path, text := range map[string]string{"/nodes": `"nodeLabels":["gpu"]`, "/nodes/node1:35959": `"nodeLabels":["gpu"]`,
		"/apps": `"appNodeLabelExpression":"gpu"`, "/apps/" + appID.String(): `"amNodeLabelExpression":"fast"`} {
		if !said(path, text) {
			t.Errorf("%s does not say %s", path, text)
		}
	}
}

func TestEmptyCluster(t *testing.T) {
	s := server(t, &fake{})
	for _, path := range []string{"/cluster", root + "/info", root + "/metrics", root + "/scheduler", root + "/apps", root + "/nodes"} {
		if resp := get(s, "GET", path, ""); resp.StatusCode != http.StatusOK {
			t.Errorf("%s is %s", path, resp.Status)
		}
	}
}

func FuzzREST(f *testing.F) {
	f.Add("GET", "/apps?states=RUNNING&limit=3&queue=default&startedTimeBegin=1", "")
	f.Add("GET", "/apps/application_1795392256416_0001/appattempts/appattempt_1795392256416_0001_000001/containers", "")
	f.Add("PUT", "/apps/application_1795392256416_0001/state?user.name=root", `{"state":"KILLED"}`)
	f.Add("GET", "/nodes/node1:35959?states=LOST,", "")
	s := server(f, newFake())
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, root+path, strings.NewReader(body))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("no JSON: %s", w.Body)
		}
	})
}

// What was taken from an application for other queues, in the form of RMAppMetrics.
func TestPreempted(t *testing.T) {
	f := newFake()
	s := server(t, f)
	f.apps[0].Preempted = resourcemanager.Preempted{Memory: 3072, VCores: 3, Containers: 2, Masters: 1, MemorySecs: 47104, VCoreSecs: 46}
	b, _ := io.ReadAll(get(s, "GET", root+"/apps/application_1795392256416_0001", "").Body)
	app := decode(t, "app", b)["app"].(map[string]any)
	for key, want := range map[string]float64{"preemptedResourceMB": 3072, "preemptedResourceVCores": 3, "numNonAMContainerPreempted": 2, "numAMContainerPreempted": 1,
		"preemptedMemorySeconds": 47104, "preemptedVcoreSeconds": 46} {
		if app[key] != want {
			t.Errorf("%s is %v, want %v", key, app[key], want)
		}
	}
	if want := `"preemptedResourceSecondsMap":{"entry":{"key":"memory-mb","value":"47104"},"entry":{"key":"vcores","value":"46"}}`; !strings.Contains(string(b), want) {
		t.Errorf("%s\ndoes not contain %s", b, want)
	}
	page, _ := io.ReadAll(get(s, "GET", "/cluster/app/application_1795392256416_0001", "").Body)
	if want := "2 containers and 1 masters, 3072 MB, 3 cores"; !strings.Contains(string(page), want) {
		t.Errorf("%s\ndoes not contain %s", page, want)
	}
}

// Nodes that are decommissioned have states and counts of their own.
func TestDecommissionedNodes(t *testing.T) {
	f := newFake()
	f.nodes[0].State = wire.NodeStateProto_NS_DECOMMISSIONING
	f.metrics.Nodes, f.metrics.Active, f.metrics.Decommissioning, f.metrics.Decommissioned = 5, 0, 2, 3
	s := server(t, f)
	read := func(path string) string {
		b, err := io.ReadAll(get(s, "GET", root+path, "").Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	m, _ := decode(t, "metrics", []byte(read("/metrics")))["clusterMetrics"].(map[string]any)
	for name, want := range map[string]float64{"totalNodes": 5, "activeNodes": 0, "decommissioningNodes": 2, "decommissionedNodes": 3, "lostNodes": 0} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	if b := read("/nodes?states=DECOMMISSIONING"); !strings.Contains(b, `"state":"DECOMMISSIONING"`) {
		t.Error(b)
	}
	if b := read("/nodes?states=RUNNING"); b != "{\"nodes\":{}}\n" {
		t.Error(b)
	}
}
