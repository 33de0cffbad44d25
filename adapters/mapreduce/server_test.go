package mapreduce

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"fairway/adapters/hadooprpc/writable"
)

func TestMain(m *testing.M) {
	// net/http waits half a second for a client to read what was sent before it resets the connection.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const testApplication, testJob = "application_1700000000000_0007", "job_1700000000000_0007"

func attempt(i int) string { return fmt.Sprintf("attempt_1700000000000_0007_m_%06d_0", i) }

// start runs a server until the test ends.
func start(t testing.TB, o Options) *Server {
	t.Helper()
	o.Listen = "127.0.0.1:0"
	s := New(o)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func tokenOf(secret string) []byte {
	return writable.Token{Identifier: []byte("x"), Password: []byte(secret), Kind: "mapreduce.job", Service: testJob}.Append(nil)
}

func register(t testing.TB, s *Server, dirs ...string) {
	t.Helper()
	if err := s.InitApplication(testApplication, "alice", os.Getuid(), tokenOf(vectorSecret), dirs); err != nil {
		t.Fatal(err)
	}
}

// indexBytes makes the index of consecutive partitions; the raw lengths are 5 more.
func indexBytes(sizes ...int) []byte {
	var b []byte
	at := 0
	for _, n := range sizes {
		b = binary.BigEndian.AppendUint64(b, uint64(at))
		b = binary.BigEndian.AppendUint64(b, uint64(n+5))
		b = binary.BigEndian.AppendUint64(b, uint64(n))
		at += n
	}
	return binary.BigEndian.AppendUint64(b, uint64(crc32.ChecksumIEEE(b)))
}

// output writes a map's output and returns its partitions.
func output(t testing.TB, dir, attempt string, sizes ...int) [][]byte {
	t.Helper()
	d := filepath.Join(dir, "output", attempt)
	if err := os.MkdirAll(d, 0o700); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	var parts [][]byte
	random := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", attempt))))
	for _, n := range sizes {
		p := make([]byte, n)
		random.Read(p)
		parts = append(parts, p)
		all.Write(p)
	}
	for name, b := range map[string][]byte{"file.out": all.Bytes(), "file.out.index": indexBytes(sizes...)} {
		if err := os.WriteFile(filepath.Join(d, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return parts
}

func uri(reduce int, more string, maps ...string) string {
	return "/mapOutput?job=" + testJob + "&reduce=" + strconv.Itoa(reduce) + "&map=" + strings.Join(maps, ",") + more
}

// ask sends a signed request; edit may spoil it.
func ask(t testing.TB, client *http.Client, s *Server, uri string, edit func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequest("GET", "http://127.0.0.1:"+strconv.Itoa(s.Port())+uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(headerName, protocolName)
	r.Header.Set(headerVersion, protocolVersion)
	r.Header.Set(headerURLHash, sign([]byte(vectorSecret), message(s.Port(), uri)))
	if edit != nil {
		edit(r)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func newClient(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// expect reads a whole response of these partitions.
func expect(t *testing.T, resp *http.Response, reduce int, maps []string, parts [][]byte) {
	t.Helper()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("status %s: %s", resp.Status, b)
	}
	hash := resp.Request.Header.Get(headerURLHash)
	if got := resp.Header.Get(headerReplyHash); got != sign([]byte(vectorSecret), hash) {
		t.Errorf("ReplyHash %q", got)
	}
	if resp.Header.Get("name") != "mapreduce" || resp.Header.Get("version") != "1.0.0" || resp.Header.Get("Content-Type") != "" {
		t.Errorf("headers %v", resp.Header)
	}
	var want []byte
	for i, m := range maps {
		want = append(appendHeader(want, m, span{length: int64(len(parts[i])), raw: int64(len(parts[i]) + 5)}, reduce), parts[i]...)
	}
	if resp.ContentLength != int64(len(want)) {
		t.Errorf("Content-Length %d, want %d", resp.ContentLength, len(want))
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("body of %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func TestFetch(t *testing.T) {
	s := start(t, Options{})
	a, b := t.TempDir(), t.TempDir()
	register(t, s, a, b)
	// Empty, small, at and over the border between copying and sendfile, and several chunks of the latter.
	sizes := []int{0, 2, 100, smallPartition, smallPartition + 1, 300_000, sendChunk + 77}
	var maps []string
	var outputs [][][]byte
	for i := range 45 { // more than are kept open
		dir := a
		if i%3 == 0 {
			dir = b
		}
		mine := append([]int(nil), sizes...)
		if i > 1 {
			mine[6] = i
		}
		rand.New(rand.NewPCG(1, uint64(i))).Shuffle(6, func(x, y int) { mine[x], mine[y] = mine[y], mine[x] })
		maps = append(maps, attempt(i))
		outputs = append(outputs, output(t, dir, attempt(i), mine...))
	}
	for reduce := range sizes {
		var parts [][]byte
		for _, o := range outputs {
			parts = append(parts, o[reduce])
		}
		resp := ask(t, newClient(t), s, uri(reduce, "", maps...), nil)
		if !resp.Close || resp.Header.Get("Keep-Alive") != "" {
			t.Error("the connection stays open without being asked to")
		}
		expect(t, resp, reduce, maps, parts)
	}
	// A list in two parameters, in another order, one map twice.
	resp := ask(t, newClient(t), s, uri(1, "&map="+attempt(1)+"&dag=1", attempt(3), attempt(1)), nil)
	expect(t, resp, 1, []string{attempt(3), attempt(1), attempt(1)}, [][]byte{outputs[3][1], outputs[1][1], outputs[1][1]})
}

func TestKeepAlive(t *testing.T) {
	s := start(t, Options{})
	dir := t.TempDir()
	register(t, s, dir)
	parts := output(t, dir, attempt(0), 10, 70_000)
	client := newClient(t)
	for reduce := range 2 {
		resp := ask(t, client, s, uri(reduce, "&keepAlive=true", attempt(0)), nil)
		if resp.Close || resp.Header.Get("Keep-Alive") != "timeout=5" {
			t.Errorf("headers %v", resp.Header)
		}
		expect(t, resp, reduce, []string{attempt(0)}, parts[reduce:reduce+1])
	}
	if n := s.open.Load(); n != 1 {
		t.Errorf("%d connections were opened", n)
	}
}

func TestRefusals(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	s := start(t, Options{Log: zap.New(core)})
	dir := t.TempDir()
	register(t, s, dir)
	output(t, dir, attempt(0), 10)
	output(t, dir, attempt(1), 10, 10)
	if err := os.WriteFile(filepath.Join(dir, "output", attempt(1), "file.out"), make([]byte, 19), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, dir, attempt(2), 10)
	damaged := indexBytes(10)
	damaged[5]++
	if err := os.WriteFile(filepath.Join(dir, "output", attempt(2), "file.out.index"), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	good := uri(0, "", attempt(0))
	many := make([]string, maxMaps+1)
	for i := range many {
		many[i] = attempt(0)
	}
	for _, c := range []struct {
		what, uri string
		edit      func(*http.Request)
		status    int
		message   string
	}{
		{"method", good, func(r *http.Request) { r.Method = "POST" }, 405, ""},
		{"no version", good, func(r *http.Request) { r.Header.Del(headerVersion) }, 400, "Incompatible shuffle request version"},
		{"other version", good, func(r *http.Request) { r.Header.Set(headerVersion, "2.0.0") }, 400, "Incompatible shuffle request version"},
		{"path", "/jobs" + good[10:], nil, 404, ""},
		{"no job", "/mapOutput?reduce=0&map=" + attempt(0), nil, 400, "Required param job, map and reduce"},
		{"two jobs", good + "&job=" + testJob, nil, 400, "Too many job/reduce parameters"},
		{"bad reduce", "/mapOutput?job=" + testJob + "&reduce=x&map=" + attempt(0), nil, 400, "Bad reduce parameter"},
		{"negative reduce", uri(-1, "", attempt(0)), nil, 400, "Bad reduce parameter"},
		{"bad job", "/mapOutput?job=job_1_../../x&reduce=0&map=" + attempt(0), nil, 400, "Bad job parameter"},
		{"climbing map", uri(0, "", "attempt_1700000000000_0007_m_000000_0/../../../x"), nil, 400, "Bad map parameter"},
		{"encoded climbing map", uri(0, "", "..%2f..%2fx"), nil, 400, "Bad map parameter"},
		{"map of another job", uri(0, "", "attempt_1700000000000_0008_m_000000_0"), nil, 400, "Bad map parameter"},
		{"too many maps", uri(0, "", many...), nil, 400, "Too many maps"},
		{"long URL", good + "&x=" + strings.Repeat("x", maxURL), nil, 400, "URL of more than"},
		{"unknown job", "/mapOutput?job=job_1_0001&reduce=0&map=attempt_1_0001_m_0_0", nil, 401, "Could not find jobid"},
		{"no hash", good, func(r *http.Request) { r.Header.Del(headerURLHash) }, 401, "fetcher cannot be authenticated"},
		{"wrong hash", good, func(r *http.Request) { r.Header.Set(headerURLHash, vectorHash) }, 401, "Verification of the hashReply failed"},
		{"no output", uri(0, "", attempt(0), attempt(9)), nil, 500, attempt(9)},
		{"no partition", uri(1, "", attempt(0)), nil, 500, "no such partition"},
		{"short file", uri(1, "", attempt(1)), nil, 500, "ends before"},
		{"damaged index", uri(0, "", attempt(2)), nil, 500, "checksum"},
	} {
		for range 2 {
			resp := ask(t, newClient(t), s, c.uri, c.edit)
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.Contains(string(body), c.message) || err != nil {
				t.Errorf("%s: %s, %q, %v; want %d %q", c.what, resp.Status, body, err, c.status, c.message)
			}
			if !resp.Close || resp.Header.Get("name") != "mapreduce" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
				t.Errorf("%s: headers %v", c.what, resp.Header)
			}
		}
	}
	// Each kind is logged once with the peer.
	if n := logs.FilterMessage("shuffle request refused").FilterField(zap.String("why", "Verification of the hashReply failed")).Len(); n != 1 {
		t.Errorf("a wrong hash was logged %d times", n)
	}
	// What was refused did no harm.
	expect(t, ask(t, newClient(t), s, good, nil), 0, []string{attempt(0)}, output(t, t.TempDir(), attempt(0), 10))
}

// A job's user owns its folders, so he can put anything there; it must be of no use.
func TestOthersFiles(t *testing.T) {
	s := start(t, Options{})
	dir, outside := t.TempDir(), t.TempDir()
	output(t, outside, attempt(0), 10)
	if err := os.Mkdir(filepath.Join(dir, "output"), 0o700); err != nil {
		t.Fatal(err)
	}
	// The attempt's folder, and a single file, that lead out.
	if err := os.Symlink(filepath.Join(outside, "output", attempt(0)), filepath.Join(dir, "output", attempt(0))); err != nil {
		t.Fatal(err)
	}
	output(t, dir, attempt(1), 10)
	data := filepath.Join(dir, "output", attempt(1), "file.out")
	if err := os.Remove(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "output", attempt(0), "file.out"), data); err != nil {
		t.Fatal(err)
	}
	// A fifo, which would block.
	output(t, dir, attempt(2), 10)
	fifo := filepath.Join(dir, "output", attempt(2), "file.out")
	if err := os.Remove(fifo); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	register(t, s, dir)
	for i := range 3 {
		resp := ask(t, newClient(t), s, uri(0, "", attempt(i)), nil)
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusInternalServerError {
			t.Errorf("%d: %s %q", i, resp.Status, b)
		}
	}
	// A file of another account.
	output(t, dir, attempt(3), 10)
	if err := s.InitApplication("application_1700000000000_0008", "bob", os.Getuid()+1, tokenOf(vectorSecret), []string{dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := readIndex(s.jobs.find("job_1700000000000_0008"), attempt(3)); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("another's file: %v", err)
	}
	if _, err := readIndex(s.jobs.find(testJob), attempt(3)); err != nil {
		t.Errorf("one's own file: %v", err)
	}
}

func TestRestart(t *testing.T) {
	state, dir := filepath.Join(t.TempDir(), "shuffle"), t.TempDir()
	parts := output(t, dir, attempt(0), 10)
	first := start(t, Options{StateDir: state})
	register(t, first, dir)
	register(t, first, dir)
	if err := first.InitApplication("application_1_0001", "bob", -1, tokenOf("another secret"), []string{dir}); err != nil {
		t.Fatal(err)
	}
	if err := first.InitApplication(testApplication, "mallory", os.Getuid(), tokenOf("another secret"), []string{dir}); err == nil {
		t.Error("a job can be taken over")
	}
	if err := first.InitApplication(testApplication, "alice", os.Getuid(), nil, []string{dir}); err != nil || first.jobs.find(testJob) == nil {
		t.Errorf("a container without data: %v", err)
	}
	first.EndApplication("application_1_0001")
	first.EndApplication("application_1_0001")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(state, testJob))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("state file %v, %v", info, err)
	}
	// What a crash may leave, and what is no registration.
	for name, text := range map[string]string{".new-1": "{", "job_3_0003": "{\"application\"", "job_4_0004": "{}", "x": "", "job_5_0005": `{"application":"application_6_0006"}`} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	second := start(t, Options{StateDir: state})
	if l := second.Applications(); len(l) != 1 || l[0] != testApplication {
		t.Errorf("registered: %v", l)
	}
	expect(t, ask(t, newClient(t), second, uri(0, "", attempt(0)), nil), 0, []string{attempt(0)}, parts)
	second.EndApplication(testApplication)
	if left, err := os.ReadDir(state); err != nil || len(left) != 0 {
		t.Errorf("state folder holds %v, %v", left, err)
	}
	resp := ask(t, newClient(t), second, uri(0, "", attempt(0)), nil)
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the end: %s", resp.Status)
	}
}

func TestMetadata(t *testing.T) {
	s := start(t, Options{})
	if m := s.Metadata(); len(m) != 4 || int(binary.BigEndian.Uint32(m)) != s.Port() || s.Port() == 0 {
		t.Errorf("metadata %x for port %d", m, s.Port())
	}
	second := New(Options{Listen: "127.0.0.1:" + strconv.Itoa(s.Port())})
	if err := second.Start(t.Context()); err == nil {
		second.Stop()
		t.Error("a taken port was not noticed")
	}
}

func TestTooManyConnections(t *testing.T) {
	s := start(t, Options{MaxConnections: 1})
	dir := t.TempDir()
	register(t, s, dir)
	parts := output(t, dir, attempt(0), 10)
	client := newClient(t)
	expect(t, ask(t, client, s, uri(0, "&keepAlive=true", attempt(0)), nil), 0, []string{attempt(0)}, parts)
	resp := ask(t, newClient(t), s, uri(0, "", attempt(0)), nil)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1000" || !resp.Close {
		t.Errorf("over the limit: %s %v", resp.Status, resp.Header)
	}
	// The first one is not disturbed.
	expect(t, ask(t, client, s, uri(0, "&keepAlive=true", attempt(0)), nil), 0, []string{attempt(0)}, parts)
}

// A half-open or talkative peer that never sends a request must not hinder others.
func TestGarbage(t *testing.T) {
	s := start(t, Options{})
	dir := t.TempDir()
	register(t, s, dir)
	parts := output(t, dir, attempt(0), 10)
	half, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	fmt.Fprint(half, "GET /mapOut")
	for _, text := range []string{"\x16\x03\x01\x02\x00\x01\x00", "GET\r\n\r\n", "GET " + strings.Repeat("/", 1<<20) + " HTTP/1.1\r\n", "hrpc\x09\x00\x00"} {
		c, err := net.Dial("tcp", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(c, text+"\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			if resp.StatusCode < 400 {
				t.Errorf("%.20q: %s", text, resp.Status)
			}
			resp.Body.Close()
		}
		c.Close()
	}
	expect(t, ask(t, newClient(t), s, uri(0, "", attempt(0)), nil), 0, []string{attempt(0)}, parts)
}
