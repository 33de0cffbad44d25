package logs

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway/adapters/yarn/id"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testNode = id.NodeID{Host: "node1", Port: 45454}
	testApp  = id.ApplicationID{Timestamp: 1700000000000, Number: 12007}
)

func container(n int64) id.ContainerID {
	return id.NewContainer(id.AttemptID{Application: testApp, Number: 1}, 0, n)
}

type fakeNode struct{ state string }

func (n fakeNode) Info() Info {
	return Info{Node: testNode, Version: "3.4.2", MemoryMB: 4096, VCores: 4, Healthy: true, Started: time.UnixMilli(5)}
}
func (n fakeNode) Applications() []Application {
	return []Application{{ID: testApp, User: "alice", UID: os.Getuid(), State: "RUNNING", ACLs: map[string]string{"VIEW_APP": "bob,carol staff"}, Containers: []id.ContainerID{container(2)}}}
}
func (n fakeNode) Application(a id.ApplicationID) (Application, bool) {
	return n.Applications()[0], a == testApp
}
func (n fakeNode) Containers() []Container {
	return []Container{{ID: container(2), User: "alice", State: n.state, ExitStatus: -1000, MemoryMB: 1024, VCores: 1}}
}
func (n fakeNode) Container(c id.ContainerID) (Container, bool) {
	return n.Containers()[0], c == container(2)
}

// put makes a log below root.
func put(t testing.TB, root string, c id.ContainerID, name, content string) string {
	t.Helper()
	p := filepath.Join(root, c.Application().String(), c.String(), name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 11, 22, 19, 22, 14, 0, time.Local)
	if err := os.Chtimes(p, when, when); err != nil {
		t.Fatal(err)
	}
	return p
}

func get(h http.Handler, target string) (int, string, http.Header) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	return w.Code, w.Body.String(), w.Result().Header
}

func TestREST(t *testing.T) {
	root := t.TempDir()
	put(t, root, container(2), "stdout", "hello\n")
	h := NewHandler(fakeNode{"RUNNING"}, Options{Root: root})
	stamp := time.Date(2026, 11, 22, 19, 22, 14, 0, time.Local).Format("Mon Jan 02 15:04:05 -0700 2006")
	const c = "container_1700000000000_12007_01_000002"
	one := `{"id":"` + c + `","state":"RUNNING","exitCode":-1000,"diagnostics":"","user":"alice","totalMemoryNeededMB":1024,"totalVCoresNeeded":1,"executionType":"GUARANTEED",` +
		`"containerLogsLink":"http://example.com/node/containerlogs/` + c + `/alice","nodeId":"node1:45454","containerLogFiles":["stdout"]}`
	info := `{"nodeInfo":{"healthReport":"","totalVmemAllocatedContainersMB":0,"totalPmemAllocatedContainersMB":4096,"totalVCoresAllocatedContainers":4,"vmemCheckEnabled":false,"pmemCheckEnabled":false,` +
		`"lastNodeUpdateTime":0,"resourceTypes":"memory-mb (unit=Mi), vcores","nodeHealthy":true,"nodeManagerVersion":"3.4.2","nodeManagerBuildVersion":"3.4.2 (Fairway)","nodeManagerVersionBuiltOn":"",` +
		`"hadoopVersion":"3.4.2","hadoopBuildVersion":"3.4.2 (Fairway)","hadoopVersionBuiltOn":"","id":"node1:45454","nodeHostName":"node1","nmStartupTime":5}}`
	app := `{"id":"application_1700000000000_12007","state":"RUNNING","user":"alice","containerids":["` + c + `"]}`
	gone := func(class, message string) string {
		return `{"RemoteException":{"exception":"` + class + `","message":"java.lang.Exception: ` + message + `","javaClassName":"org.apache.hadoop.yarn.webapp.` + class + `"}}`
	}
	for _, q := range []struct {
		path string
		code int
		body string
	}{
		{"", 200, info}, {"/info", 200, info}, {"/info/", 200, info},
		{"/apps", 200, `{"apps":{"app":[` + app + `]}}`}, {"/apps?state=finished", 200, `{"apps":{}}`}, {"/apps?user=bob", 200, `{"apps":{}}`},
		{"/apps?user=", 400, gone("BadRequestException", "Error: You must specify a non-empty string for the user")},
		{"/apps/application_1700000000000_12007", 200, `{"app":` + app + `}`},
		{"/apps/application_1700000000000_0001", 404, gone("NotFoundException", "app with id application_1700000000000_0001 not found")},
		{"/containers", 200, `{"containers":{"container":[` + one + `]}}`}, {"/containers/" + c, 200, `{"container":` + one + `}`},
		{"/containers/container_1700000000000_12007_01_000009", 404, gone("NotFoundException", "container with id, container_1700000000000_12007_01_000009, not found")},
		{"/containers/nonsense", 400, gone("BadRequestException", "invalid container id, nonsense")},
		{"/containers/" + c + "/logs", 200, `{"containerLogsInfo":{"containerLogInfo":[{"fileName":"stdout","fileSize":"6","lastModifiedTime":"` + stamp + `"}],"logAggregationType":"LOCAL","containerId":"` + c + `","nodeId":"node1:45454"}}`},
		{"/nothing", 404, gone("NotFoundException", "no such resource")},
	} {
		if code, body, header := get(h, "/ws/v1/node"+q.path); code != q.code || body != q.body || !strings.HasPrefix(header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %d %s\nwant %d %s", q.path, code, body, q.code, q.body)
		}
	}

	head := "Container: " + c + " on node1:45454\nLogAggregationType: LOCAL\n" + strings.Repeat("=", 65) + "\nLogType:stdout\nLogLastModifiedTime:" + stamp + "\nLogLength:6\nLogContents:\n"
	tail := "End of LogType:stdout.This log file belongs to a running container (" + c + ") and so may not be complete.\n" + strings.Repeat("*", 71) + "\n\n"
	for query, body := range map[string]string{
		"": head + "hello\n" + tail, "?size=2": head + "he" + tail, "?size=-3": head + "lo\n" + tail, "?size=-9223372036854775808": head + "hello\n" + tail,
		"?size=0": tail, "?size=9223372036854775807": head + "hello\n" + tail, "?format=text": head + "hello\n" + tail, "?start=0": "hello\n", "?start=4": "o\n", "?start=6": "", "?start=9223372036854775807": "",
	} {
		for _, path := range []string{"/ws/v1/node/containers/" + c + "/logs/stdout", "/ws/v1/node/containerlogs/" + c + "/stdout"} {
			if code, got, header := get(h, path+query); code != 200 || got != body || header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%s%s: %d %q\nwant %q", path, query, code, got, body)
			}
		}
	}
	for query, code := range map[string]int{"stdout?size=x": 400, "stdout?start=-1": 400, "stdout?start=x": 400, "stdout?format=xml": 400, "stderr": 404, "stdout?format=octet-stream": 200} {
		if got, body, _ := get(h, "/ws/v1/node/containers/"+c+"/logs/"+query); got != code {
			t.Errorf("%s: %d %s", query, got, body)
		}
	}
	// A container that has ended, of an application that has not.
	put(t, root, container(3), "stdout", "x")
	if code, body, _ := get(h, "/ws/v1/node/containerlogs/"+container(3).String()+"/stdout"); code != 200 || !strings.HasSuffix(body, "End of LogType:stdout.\n"+strings.Repeat("*", 71)+"\n\n") {
		t.Errorf("%d %q", code, body)
	}
	h = NewHandler(fakeNode{"LOCALIZING"}, Options{Root: root})
	if code, body, _ := get(h, "/ws/v1/node/containerlogs/"+c+"/stdout"); code != 404 || body != "Container is not yet running. Current state is LOCALIZING\n" {
		t.Errorf("%d %q", code, body)
	}
}

func TestPages(t *testing.T) {
	root := t.TempDir()
	put(t, root, container(2), "stdout", strings.Repeat("x", 5000)+"<b>&\n")
	put(t, root, container(2), `a"<i>`, "")
	h := NewHandler(fakeNode{"RUNNING"}, Options{Root: root, LogServer: "http://history:19888/jobhistory/logs/"})
	at := "/node/containerlogs/" + container(2).String() + "/alice"
	for query, want := range map[string][]string{
		"":                                 {`/alice/stdout/?start=-4096">stdout : Total file length is 5005 bytes.`, "a&#34;&lt;i&gt; : Total", "/alice/a%22%3Ci%3E/?start"},
		"/stdout?start=-4096":              {"Showing 4096 bytes.", `/alice/stdout/?start=0">here</a> for full log`, "x&lt;b&gt;&amp;\n</pre>"},
		"/stdout/?start=-5":                {"<pre>&lt;b&gt;&amp;\n</pre>"},
		"/stdout/?start=4998&end=5001":     {"<pre>xx&lt;</pre>"},
		"/stdout?start=0&end=-5004":        {"<pre>x</pre>"},
		"/stdout?start=0&end=999999999999": {"<pre>xxx", "x&lt;b&gt;&amp;\n</pre>"},
	} {
		code, body, _ := get(h, at+query)
		for _, w := range want {
			if code != 200 || !strings.Contains(body, w) {
				t.Errorf("%s: %d, no %q in %.300q", query, code, w, body)
			}
		}
	}
	for query, code := range map[string]int{"/stdout?start=7&end=3": 400, "/stdout?start=x": 400, "/nothing": 404} {
		if got, body, _ := get(h, at+query); got != code {
			t.Errorf("%s: %d %s", query, got, body)
		}
	}
	const old = "container_1600000000000_0001_01_000001"
	if code, _, header := get(h, "/node/containerlogs/"+old+"/bob/stdout?start=-4096"); code != 307 || header.Get("Location") != "http://history:19888/jobhistory/logs/node1:45454/"+old+"/"+old+"/bob/stdout" {
		t.Errorf("%d %s", code, header.Get("Location"))
	}
	if code, body, _ := get(h, "/node"); code != 200 || !strings.Contains(body, at) {
		t.Errorf("%d %s", code, body)
	}
}

func TestAccess(t *testing.T) {
	root := t.TempDir()
	put(t, root, container(2), "stdout", "hello\n")
	groups := func(u string) []string { return map[string][]string{"dave": {"staff"}, "eve": {"ops"}}[u] }
	at := "/ws/v1/node/containers/" + container(2).String() + "/logs/stdout"
	h := NewHandler(fakeNode{"RUNNING"}, Options{Root: root, ACLs: true, Admins: "root ops", Groups: groups})
	for who, code := range map[string]int{"alice": 200, "bob": 200, "carol": 200, "dave": 200, "eve": 200, "root": 200, "mallory": 403, "": 403, "staff": 403} {
		if got, body, _ := get(h, at+"?user.name="+who); got != code || code == 403 && strings.Contains(body, "hello") {
			t.Errorf("%q: %d %s", who, got, body)
		}
	}
	if _, body, _ := get(h, "/ws/v1/node/containers"); strings.Contains(body, "stdout") {
		t.Errorf("names of logs are shown: %s", body)
	}
	h = NewHandler(fakeNode{"RUNNING"}, Options{Root: root, Groups: groups})
	if got, _, _ := get(h, at+"?user.name=mallory"); got != 200 {
		t.Errorf("without access lists: %d", got)
	}
	for acl, ok := range map[string]bool{"*": true, " * ": true, " ": false, "": false, "bob": false, " staff": true, "x staff,y": true, "dave": true} {
		if allows(acl, "dave", groups) != ok {
			t.Errorf("%q", acl)
		}
	}
}

// What a container makes in its folder leads nowhere else.
func TestNothingClimbs(t *testing.T) {
	root := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("treasure"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(put(t, root, container(2), "stdout", "hello\n"))
	if err := os.WriteFile(filepath.Join(root, "neighbour"), []byte("treasure"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"absolute": secret, "relative": "../../neighbour", "folder": "../..", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	// An application folder, and a container's, that are links.
	if err := os.Symlink(dir, filepath.Join(filepath.Dir(dir), container(7).String())); err != nil {
		t.Fatal(err)
	}
	h := NewHandler(fakeNode{"RUNNING"}, Options{Root: root})
	c := container(2).String()
	for _, name := range []string{"absolute", "relative", "folder", "loop", "pipe", "..", "%2e%2e%2f%2e%2e%2fneighbour", "..%2f..%2fneighbour", "%2f" + url.PathEscape(secret), "stdout%00", "folder%2fneighbour", "."} {
		for _, at := range []string{"/ws/v1/node/containers/" + c + "/logs/", "/ws/v1/node/containerlogs/" + c + "/", "/node/containerlogs/" + c + "/alice/"} {
			code, body, _ := get(h, at+name)
			if strings.Contains(body, "treasure") || code == 200 && !strings.Contains(body, "Total file length") && !strings.Contains(body, "containerLogInfo") {
				t.Errorf("%s%s: %d %s", at, name, code, body)
			}
		}
	}
	if code, body, _ := get(h, "/ws/v1/node/containerlogs/"+container(7).String()+"/stdout"); code != 404 {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := get(h, "/ws/v1/node/containers/"+c+"/logs"); code != 200 || strings.Contains(body, "relative") || strings.Contains(body, "pipe") {
		t.Errorf("%d %s", code, body)
	}

	// A file of somebody else, linked here.
	folder, err := openFolder(root, container(2))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if _, _, err := open(folder, "stdout", os.Getuid()+1); err != nil {
		t.Errorf("the agent's own file: %v", err)
	}
	if err := os.Link(filepath.Join(dir, "stdout"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := open(folder, "hard", os.Getuid()+1); err != errOwner {
		t.Errorf("a file of another owner: %v", err)
	}
}

func FuzzSpan(f *testing.F) {
	f.Add("-4096", "", int64(10))
	f.Add("9223372036854775807", "-9223372036854775808", int64(0))
	f.Add("0", "-1", int64(1)<<62)
	f.Fuzz(func(t *testing.T, start, end string, length int64) {
		if length < 0 {
			return
		}
		if from, to, err := span(start, end, length); err == nil && (from < 0 || from > to || to > length) {
			t.Errorf("%d to %d of %d", from, to, length)
		}
	})
}

func FuzzRequest(f *testing.F) {
	root := f.TempDir()
	dir := filepath.Dir(put(f, root, container(2), "stdout", "hello\n"))
	if err := os.WriteFile(filepath.Join(root, "secret"), []byte("treasure"), 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.Symlink("../../secret", filepath.Join(dir, "link")); err != nil {
		f.Fatal(err)
	}
	h := NewHandler(fakeNode{"RUNNING"}, Options{Root: root, LogServer: "http://history/"})
	for _, p := range []string{"/ws/v1/node/containerlogs/%s/link?size=-1", "/ws/v1/node/containerlogs/%s/stdout?start=3", "/node/containerlogs/%s/x/../../secret?start=-9&end=7", "/ws/v1/node/containers/%s/logs/stdout?size=99999999999999999999", "/ws/v1/node/containers/%s/logs/..%%2f..%%2fsecret", "/ws/v1/node/apps/application_1_1"} {
		f.Add(strings.Replace(p, "%s", container(2).String(), 1))
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.Parse(target)
		if err != nil || !strings.HasPrefix(u.Path, "/") {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Host: "h", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}})
		body := w.Body.String()
		if strings.Contains(body, "treasure") {
			t.Errorf("%s: %s", target, body)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid([]byte(body)) {
			t.Errorf("%s: %s", target, body)
		}
		if w.Code >= 500 {
			t.Errorf("%s: %d %s", target, w.Code, body)
		}
	})
}

// A log that is far longer than any buffer is served whole.
func TestLongLog(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("0123456789abcdef", 1<<18)
	put(t, root, container(2), "stdout", long)
	s := httptest.NewServer(NewHandler(fakeNode{"RUNNING"}, Options{Root: root}))
	defer s.Close()
	res, err := http.Get(s.URL + "/ws/v1/node/containerlogs/" + container(2).String() + "/stdout")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	n, err := io.Copy(&b, res.Body)
	if err != nil || !strings.Contains(b.String(), long) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// Hadoop's clients ask with OPTIONS whether they are let in, before they ask for anything.
func TestOptions(t *testing.T) {
	h := NewHandler(nil, Options{})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("OPTIONS", "/ws/v1/node/containers/container_1_0001_01_000001/logs?user.name=ann", nil))
	if w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("OPTIONS: %d %q", w.Code, w.Body)
	}
}
