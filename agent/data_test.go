package agent

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/agent/checkpoint"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
)

var secret = []byte("secret")

// dataAgent is an agent that only serves: one job with files, one task with logs.
func dataAgent(t testing.TB) (a *Agent, job string, logged *task) {
	dir := t.TempDir()
	job = filepath.Join(dir, "job")
	box := filepath.Join(dir, "box")
	for _, d := range []string{job, box, filepath.Join(job, "sub")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"job/map-0": "0123456789", "job/sub/x": "x", "outside": "outside", "box/stdout": "line 1\nline 2\n", "box/stderr": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside", filepath.Join(job, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("map-0", filepath.Join(job, "inner")); err != nil {
		t.Fatal(err)
	}
	a = &Agent{served: newServed(), log: zap.NewNop()}
	a.metrics, _ = newMetrics(nil)
	a.served.setJob("j-1", job, &checkpoint.Job{Secret: secret, UID: os.Getuid()})
	a.served.setJob("j-0", job, &checkpoint.Job{UID: os.Getuid()})
	logged = &task{key: "f-1/7", done: make(chan struct{}), record: &checkpoint.Task{Sandbox: box, UID: os.Getuid(),
		Spec: &v1.TaskSpec{Task: &v1.TaskID{Framework: "f-1", Sequence: 7}, JobSecret: secret}}}
	a.served.setTask(logged)
	return a, job, logged
}

func get(t *testing.T, h http.Handler, path string, header map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestServeFiles(t *testing.T) {
	a, _, _ := dataAgent(t)
	h := a.dataHandler()
	for _, c := range []struct {
		path, ranges string
		status       int
		body         string
	}{
		{"/v1/jobs/j-1/files/map-0", "", 200, "0123456789"},
		{"/v1/jobs/j-1/files/map-0", "bytes=2-4", 206, "234"},
		{"/v1/jobs/j-1/files/map-0", "bytes=8-", 206, "89"},
		{"/v1/jobs/j-1/files/map-0", "bytes=20-30", 416, ""},
		{"/v1/jobs/j-1/files/inner", "", 200, "0123456789"},
		{"/v1/jobs/j-1/files/sub/x", "", 200, "x"},
		{"/v1/jobs/j-1/files/none", "", 404, ""},
		{"/v1/jobs/j-1/files/sub", "", 403, ""},
		{"/v1/jobs/j-1/files/link", "", 403, ""},
		{"/v1/jobs/j-1/files/..%2foutside", "", 403, ""},
		{"/v1/jobs/j-1/files/%2fetc%2fpasswd", "", 403, ""},
		{"/v1/jobs/j-0/files/map-0", "", 403, ""}, // a job without a secret
		{"/v1/jobs/j-2/files/map-0", "", 403, ""},
	} {
		header := map[string]string{SignatureHeader: SignFile(secret, c.path, c.ranges)}
		if c.ranges != "" {
			header["Range"] = c.ranges
		}
		w := get(t, h, c.path, header)
		if w.Code != c.status || c.body != "" && w.Body.String() != c.body {
			t.Errorf("%s %q: %d %q, want %d %q", c.path, c.ranges, w.Code, w.Body, c.status, c.body)
		}
	}
	path := "/v1/jobs/j-1/files/map-0"
	for name, header := range map[string]map[string]string{
		"wrong secret":   {SignatureHeader: SignFile([]byte("other"), path, "")},
		"empty secret":   {SignatureHeader: SignFile(nil, path, "")},
		"other path":     {SignatureHeader: SignFile(secret, path+"0", "")},
		"other range":    {SignatureHeader: SignFile(secret, path, "bytes=0-1"), "Range": "bytes=0-5"},
		"no hexadecimal": {SignatureHeader: "zz"},
	} {
		if w := get(t, h, path, header); w.Code != 403 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if w := get(t, h, path, nil); w.Code != 401 {
		t.Errorf("unsigned: %d", w.Code)
	}
	if os.Getuid() == 0 {
		// Somebody else's file, though it is in the folder.
		a.served.setJob("j-1", filepath.Dir(a.served.jobs["j-1"].dir)+"/job", &checkpoint.Job{Secret: secret, UID: 12345})
		if w := get(t, h, path, map[string]string{SignatureHeader: SignFile(secret, path, "")}); w.Code != 403 {
			t.Errorf("another user's file: %d", w.Code)
		}
	}
}

func TestServeLogs(t *testing.T) {
	a, _, task := dataAgent(t)
	close(task.done)
	h := a.dataHandler()
	soon := time.Now().Unix() + 60
	ticket := LogTicket(secret, "f-1", 7, soon)
	for _, c := range []struct {
		path, ticket string
		status       int
		body         string
	}{
		{"/v1/logs/f-1/7/stdout", ticket, 200, "line 1\nline 2\n"},
		{"/v1/logs/f-1/7/stdout?offset=7", ticket, 200, "line 2\n"},
		{"/v1/logs/f-1/7/stdout?offset=-3", ticket, 200, " 2\n"},
		{"/v1/logs/f-1/7/stdout?offset=-3000", ticket, 200, "line 1\nline 2\n"},
		{"/v1/logs/f-1/7/stdout?offset=3000", ticket, 200, ""},
		{"/v1/logs/f-1/7/stdout?offset=7&follow=true", ticket, 200, "line 2\n"},
		{"/v1/logs/f-1/7/stderr", ticket, 200, ""},
		{"/v1/logs/f-1/7/secret", ticket, 404, ""},
		{"/v1/logs/f-1/7/stdout?offset=x", ticket, 400, ""},
		{"/v1/logs/f-1/7/stdout?follow=x", ticket, 400, ""},
		{"/v1/logs/f-1/7/stdout", "", 401, ""},
		{"/v1/logs/f-1/7/stdout", "x", 403, ""},
		{"/v1/logs/f-1/7/stdout", LogTicket(secret, "f-1", 8, soon), 403, ""},
		{"/v1/logs/f-1/7/stdout", LogTicket([]byte("x"), "f-1", 7, soon), 403, ""},
		{"/v1/logs/f-1/7/stdout", LogTicket(secret, "f-1", 7, soon-180), 403, "the ticket has expired\n"},
		{"/v1/logs/f-1/8/stdout", LogTicket(secret, "f-1", 8, soon), 403, ""},
		{"/v1/logs/f-1/7/stdout", strings.Replace(ticket, strconv.FormatInt(soon, 10), strconv.FormatInt(soon+1, 10), 1), 403, ""},
	} {
		header := map[string]string{}
		if c.ticket != "" {
			header[TicketHeader] = c.ticket
		}
		w := get(t, h, c.path, header)
		if w.Code != c.status || (c.status == 200 || c.body != "") && w.Body.String() != c.body {
			t.Errorf("%s %q: %d %q, want %d %q", c.path, c.ticket, w.Code, w.Body, c.status, c.body)
		}
	}
}

func TestFollow(t *testing.T) {
	a, _, task := dataAgent(t)
	server := httptest.NewServer(a.dataHandler())
	defer server.Close()
	log, err := os.OpenFile(filepath.Join(task.record.Sandbox, "stdout"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/logs/f-1/7/stdout?offset=7&follow=true", nil)
	r.Header.Set(TicketHeader, LogTicket(secret, "f-1", 7, time.Now().Unix()+60))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	for i := 2; i < 200; i++ {
		// Each line is sent before the next is written: nothing waits for a buffer or a timer.
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("line %d\n", i) {
			t.Fatalf("%q %v, want line %d", line, err, i)
		}
		fmt.Fprintf(log, "line %d\n", i+1)
	}
	fmt.Fprint(log, "the end")
	close(task.done)
	if rest, err := io.ReadAll(lines); err != nil || string(rest) != "line 200\nthe end" {
		t.Errorf("rest %q %v", rest, err)
	}
}

func FuzzFileRequest(f *testing.F) {
	f.Add("/v1/jobs/j-1/files/map-0", "bytes=0-3", "00")
	f.Add("/v1/jobs/j-1/files/../../outside", "", "")
	f.Add("/v1/jobs/j-1/files/link", "bytes=-1", "")
	f.Add("/v1/jobs/j-1/files/sub%2f..%2f..%2foutside", "bytes=1-2,3-4", "")
	f.Add("/v1/logs/f-1/7/stdout?offset=-9223372036854775808", "", "9:ff")
	a, _, task := dataAgent(f)
	close(task.done)
	h := a.dataHandler()
	f.Fuzz(func(t *testing.T, path, ranges, signature string) {
		for _, right := range []bool{false, true} {
			r, err := http.NewRequest(http.MethodGet, "http://a"+path, nil)
			if err != nil {
				return
			}
			r.RequestURI = path
			r.Header.Set("Range", ranges)
			r.Header.Set(SignatureHeader, signature)
			r.Header.Set(TicketHeader, signature)
			if right {
				r.Header.Set(SignatureHeader, SignFile(secret, r.URL.EscapedPath(), ranges))
				r.Header.Set(TicketHeader, LogTicket(secret, "f-1", 7, 1<<40))
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if strings.Contains(w.Body.String(), "outside") && !strings.Contains(path, "outside") || strings.Contains(w.Body.String(), "root:") {
				t.Errorf("%q got %q", path, w.Body)
			}
			if !right && w.Code/100 == 2 {
				t.Errorf("%q was served without a signature", path)
			}
		}
	})
}

func BenchmarkServeFile(b *testing.B) {
	a, job, _ := dataAgent(b)
	const n = 256 << 20
	if err := os.WriteFile(filepath.Join(job, "big"), make([]byte, n), 0o600); err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(a.dataHandler())
	defer server.Close()
	path := "/v1/jobs/j-1/files/big"
	buffer := make([]byte, 1<<20)
	b.SetBytes(n)
	for b.Loop() {
		r, _ := http.NewRequest(http.MethodGet, server.URL+path, nil)
		ranges := fmt.Sprintf("bytes=0-%d", n-1)
		r.Header.Set("Range", ranges)
		r.Header.Set(SignatureHeader, SignFile(secret, path, ranges))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, answer.Body, buffer)
		if err != nil || got != n || answer.StatusCode != 206 {
			b.Fatal(got, err, answer.Status)
		}
		answer.Body.Close()
	}
}

// BenchmarkTask is a whole small task: launch command to last status.
func BenchmarkTask(b *testing.B) {
	// The fake broker wants a *testing.T for its failures only.
	t := &testing.T{}
	broker := newFakeBroker(t)
	a, err := New(Options{WorkDir: b.TempDir(), Connect: broker.connect, KillOnStop: true})
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	s := broker.accept(nil)
	n := uint64(0)
	var starts []time.Duration
	for b.Loop() {
		n++
		spec := shell(n, "")
		spec.Command.Argv = []string{"true"}
		begun := time.Now()
		s.launch(spec)
		s.status(spec.Task, true)
		starts = append(starts, time.Since(begun))
		if u := s.status(spec.Task, true); u.State != finished {
			b.Fatal(u)
		}
	}
	slices.Sort(starts)
	b.ReportMetric(float64(starts[0].Microseconds()), "us-best/running")
	b.ReportMetric(float64(starts[len(starts)/2].Microseconds()), "us-median/running")
}

// Whatever comes to the port, the agent answers or hangs up, and goes on.
func TestGarbageOnThePort(t *testing.T) {
	b := newFakeBroker(t)
	a := b.start(Options{}, false)
	b.accept(nil)
	for _, garbage := range []string{"\x00\x01\x02\r\n\r\n", "GET /v1/jobs HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"POST /v1/jobs/j/files/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		conn, err := net.Dial("tcp", a.DataAddress())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		io.WriteString(conn, garbage)
		answer, err := io.ReadAll(io.LimitReader(conn, 1<<20))
		if os.IsTimeout(err) || !strings.HasPrefix(string(answer), "HTTP/1.1 4") && !strings.HasPrefix(string(answer), "HTTP/1.1 5") && len(answer) > 0 {
			t.Errorf("%.20q was answered %.80q %v", garbage, answer, err)
		}
		conn.Close()
	}
	w := get(t, a.dataHandler(), "/v1/jobs/j/files/x", map[string]string{SignatureHeader: "00"})
	if w.Code != http.StatusForbidden {
		t.Errorf("afterwards %d", w.Code)
	}
}

// sendfileProbe sees what net/http's own writer would see: only a file itself, or a part of one, goes by sendfile.
type sendfileProbe struct {
	*httptest.ResponseRecorder
	file bool
}

func (p *sendfileProbe) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		_, p.file = l.R.(*os.File)
	}
	return io.Copy(p.ResponseRecorder, r)
}

func TestFilesGoBySendfile(t *testing.T) {
	a, _, _ := dataAgent(t)
	path := "/v1/jobs/j-1/files/map-0"
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Range", "bytes=2-4")
	r.Header.Set(SignatureHeader, SignFile(secret, path, "bytes=2-4"))
	p := &sendfileProbe{ResponseRecorder: httptest.NewRecorder()}
	a.dataHandler().ServeHTTP(p, r)
	if !p.file || p.Body.String() != "234" {
		t.Errorf("sendfile %v, body %q", p.file, p.Body)
	}
}
