package shuffle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/run"
	"fairway/frameworks/mapreduce/spec"
)

var secret = []byte("the job's secret")

// agent serves a job's folder as agents do. fault may answer a request instead.
type agent struct {
	*httptest.Server
	dir      string
	fault    func(w http.ResponseWriter, r *http.Request) bool
	requests atomic.Int64
	denied   atomic.Int64
}

func newAgent(t *testing.T) *agent {
	a := &agent{dir: t.TempDir()}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.requests.Add(1)
		if r.Header.Get(SignatureHeader) != Sign(secret, r.URL.EscapedPath(), r.Header.Get("Range")) {
			a.denied.Add(1)
			http.Error(w, "signature", http.StatusForbidden)
			return
		}
		if a.fault != nil && a.fault(w, r) {
			return
		}
		http.ServeFile(w, r, filepath.Join(a.dir, strings.TrimPrefix(r.URL.Path, "/v1/jobs/j1/files/")))
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *agent) address() string { return strings.TrimPrefix(a.URL, "http://") }

// output makes the output of one map with two partitions, of which the second has n records of about 100 bytes.
func (a *agent) output(t *testing.T, m, attempt, n int) spec.MapOutput {
	t.Helper()
	var b bytes.Buffer
	w := run.NewWriter(&b, 2, run.None)
	if err := w.Append([]byte("other"), []byte("partition")); err != nil {
		t.Fatal(err)
	}
	if err := w.Partition(1); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.Append(fmt.Appendf(nil, "key-%07d", i), fmt.Appendf(nil, "%d%90d", m, i)); err != nil {
			t.Fatal(err)
		}
	}
	ix, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("map-%d-%d.run", m, attempt)
	if err := os.WriteFile(filepath.Join(a.dir, name), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return spec.MapOutput{
		Map: m, Attempt: attempt, Address: a.address(), File: name,
		Offset: ix[1].Offset, Length: ix[1].Length, Records: ix[1].Records,
	}
}

func config() Config {
	return Config{Job: "j1", Secret: secret, Backoff: time.Millisecond, Timeout: 5 * time.Second}
}

func channel(outputs ...spec.MapOutput) <-chan spec.MapOutput {
	c := make(chan spec.MapOutput, len(outputs))
	for _, o := range outputs {
		c <- o
	}
	close(c)
	return c
}

// check gathers, merges and compares with what the outputs hold.
func check(t *testing.T, c *Client, r Request, want int64) {
	t.Helper()
	set, err := c.Gather(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if set.Records() != want {
		t.Errorf("%d records, want %d", set.Records(), want)
	}
	m, err := set.Merge(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	var last []byte
	err = mapreduce.EachRecord(m, func(k, _ []byte) error {
		if bytes.Compare(k, last) < 0 {
			return fmt.Errorf("%q after %q", k, last)
		}
		last = append(last[:0], k...)
		n++
		return nil
	})
	if err != nil || n != want {
		t.Errorf("merged %d records, %v; want %d", n, err, want)
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(r.Folder); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Outputs of all sizes, over HTTP and from the own folder, within memory and beyond it.
func TestGather(t *testing.T) {
	for _, local := range []bool{false, true} {
		for _, memory := range []int64{1 << 20, 64 << 20} {
			t.Run(fmt.Sprintf("local=%t,memory=%d", local, memory), func(t *testing.T) {
				a := newAgent(t)
				var outputs []spec.MapOutput
				var want int64
				for m := range 20 {
					n := []int{0, 1, 100, 500, 20_000}[m%5]
					outputs = append(outputs, a.output(t, m, 0, n))
					want += int64(n)
				}
				cfg := config()
				if local {
					cfg.Local, cfg.Dir = a.address(), a.dir
				}
				var fetched, total int64
				for _, o := range outputs {
					total += o.Length
				}
				var counted atomic.Int64
				check(t, New(cfg), Request{
					Maps: 20, Outputs: channel(outputs...), Memory: memory, Folder: t.TempDir(),
					Progress: func(n int) { fetched = int64(n) }, Bytes: &counted,
				}, want)
				if fetched != 20 || counted.Load() != total {
					t.Errorf("%d fetched, %d of %d bytes", fetched, counted.Load(), total)
				}
				if n := a.requests.Load(); local != (n == 0) {
					t.Errorf("%d requests", n)
				}
			})
		}
	}
}

// A fetch that fails or comes damaged is tried again.
func TestRetry(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		for name, fault := range map[string]func(w http.ResponseWriter, good []byte){
			"unavailable": func(w http.ResponseWriter, _ []byte) { http.Error(w, "busy", http.StatusServiceUnavailable) },
			"whole file":  func(w http.ResponseWriter, good []byte) { w.Write(good) },
			"cut": func(w http.ResponseWriter, good []byte) {
				w.Header().Set("Content-Length", fmt.Sprint(len(good)))
				w.WriteHeader(http.StatusPartialContent)
				w.Write(good[:len(good)/2])
				panic(http.ErrAbortHandler)
			},
			"short": func(w http.ResponseWriter, good []byte) {
				w.WriteHeader(http.StatusPartialContent)
				w.Write(good[:len(good)-1])
			},
			"damaged": func(w http.ResponseWriter, good []byte) {
				good[len(good)/2] ^= 1
				w.Header().Set("Content-Length", fmt.Sprint(len(good)))
				w.WriteHeader(http.StatusPartialContent)
				w.Write(good)
			},
		} {
			t.Run(fmt.Sprintf("%s-%d", name, size), func(t *testing.T) {
				a := newAgent(t)
				out := a.output(t, 0, 0, size)
				file, err := os.ReadFile(filepath.Join(a.dir, out.File))
				if err != nil {
					t.Fatal(err)
				}
				var faults atomic.Int64
				a.fault = func(w http.ResponseWriter, _ *http.Request) bool {
					if faults.Add(1) > 2 {
						return false
					}
					fault(w, bytes.Clone(file[out.Offset:out.Offset+out.Length]))
					return true
				}
				check(t, New(config()), Request{
					Maps: 1, Outputs: channel(out), Memory: 1 << 20, Folder: t.TempDir(),
					Failed: func(o spec.MapOutput, err error) { t.Errorf("failed: %v", err) },
				}, int64(size))
				if faults.Load() != 3 {
					t.Errorf("%d requests", faults.Load())
				}
			})
		}
	}
}

// An output that is gone is reported, and a newer attempt of that map takes its place.
func TestNewerAttempt(t *testing.T) {
	a, b := newAgent(t), newAgent(t)
	gone := a.output(t, 0, 0, 100)
	if err := os.Remove(filepath.Join(a.dir, gone.File)); err != nil {
		t.Fatal(err)
	}
	dead := newAgent(t)
	unreachable := dead.output(t, 1, 0, 100)
	dead.Close()
	outputs := make(chan spec.MapOutput, 10)
	outputs <- gone
	outputs <- unreachable
	outputs <- b.output(t, 2, 0, 100)
	var mu sync.Mutex
	var reported []int
	cfg := config()
	cfg.Attempts = 2
	check(t, New(cfg), Request{
		Maps: 3, Outputs: outputs, Memory: 1 << 20, Folder: t.TempDir(),
		Failed: func(o spec.MapOutput, err error) {
			mu.Lock()
			defer mu.Unlock()
			reported = append(reported, o.Map)
			outputs <- b.output(t, o.Map, 1, 100)
		},
	}, 300)
	slices.Sort(reported)
	if !slices.Equal(reported, []int{0, 1}) {
		t.Errorf("reported %v", reported)
	}
}

// A newer attempt stops a fetch of the old one that hangs.
func TestNewerAttemptStopsHanging(t *testing.T) {
	a, b := newAgent(t), newAgent(t)
	outputs := make(chan spec.MapOutput, 2)
	newer := b.output(t, 0, 1, 10)
	a.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		outputs <- newer
		<-r.Context().Done()
		return true
	}
	outputs <- a.output(t, 0, 0, 100)
	check(t, New(config()), Request{Maps: 1, Outputs: outputs, Memory: 1 << 20, Folder: t.TempDir()}, 10)
}

func TestTimeout(t *testing.T) {
	a := newAgent(t)
	a.fault = func(w http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	cfg := config()
	cfg.Timeout, cfg.Attempts = 20*time.Millisecond, 1
	_, err := New(cfg).Gather(context.Background(), Request{
		Maps: 1, Outputs: channel(a.output(t, 0, 0, 10)), Folder: t.TempDir(),
	})
	if !errors.Is(err, ErrIncomplete) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// silent does not answer the first requests, as a connection does that is broken where neither end sees it.
type silent struct {
	answer
	first, asked, closed int
}

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.asked++; s.asked <= s.first {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return s.answer.RoundTrip(r)
}

func (s *silent) CloseIdleConnections() { s.closed++ }

// A try that brings nothing is soon followed by another, which takes no connection that was idle beside it; later ones
// have more patience.
func TestFirstTriesAreShort(t *testing.T) {
	var b bytes.Buffer
	w := run.NewWriter(&b, 1, run.None)
	if err := w.Append([]byte("key"), []byte("value")); err != nil {
		t.Fatal(err)
	}
	ix, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	for first, tc := range []struct {
		took time.Duration
		err  error
	}{
		{0, nil},
		{7700 * time.Millisecond, nil},
		{23100 * time.Millisecond, nil},
		{53900 * time.Millisecond, nil},
		{83900 * time.Millisecond, ErrIncomplete},
	} {
		synctest.Test(t, func(t *testing.T) {
			agent := &silent{first: first, answer: answer{http.StatusPartialContent, ix[0].Length, b.Bytes()[:ix[0].Length]}}
			again := 0
			begun := time.Now()
			set, err := New(Config{Job: "j", HTTP: &http.Client{Transport: agent}}).Gather(t.Context(), Request{
				Maps: 1, Folder: t.TempDir(), Memory: 1 << 20, Again: func(spec.MapOutput, error) { again++ },
				Outputs: channel(spec.MapOutput{Address: "a:1", File: "map-0-0.run", Length: ix[0].Length, Records: 1}),
			})
			if took := time.Since(begun); took != tc.took || !errors.Is(err, tc.err) {
				t.Errorf("%d hang: %s, %v", first, took, err)
			}
			if again != min(first, 3) || agent.closed != first {
				t.Errorf("%d hang: tried again %d times, idle connections were closed %d times", first, again, agent.closed)
			}
			if err == nil {
				if err := set.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// When no more outputs come and one failed, or some are missing, Gather ends.
func TestIncomplete(t *testing.T) {
	a := newAgent(t)
	_, err := New(config()).Gather(context.Background(), Request{
		Maps: 2, Outputs: channel(a.output(t, 0, 0, 10)), Folder: t.TempDir(),
	})
	if !errors.Is(err, ErrIncomplete) {
		t.Errorf("missing: %v", err)
	}
	cfg := config()
	cfg.Secret = []byte("wrong")
	_, err = New(cfg).Gather(context.Background(), Request{
		Maps: 1, Outputs: channel(a.output(t, 0, 0, 10)), Folder: t.TempDir(),
	})
	if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "403") || a.denied.Load() != 1 {
		t.Errorf("wrong secret: %v, %d denied", err, a.denied.Load())
	}
}

func TestCancel(t *testing.T) {
	a := newAgent(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	a.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		cancel(errors.New("job killed"))
		<-r.Context().Done()
		return true
	}
	outputs := make(chan spec.MapOutput, 1)
	outputs <- a.output(t, 0, 0, 10)
	_, err := New(config()).Gather(ctx, Request{Maps: 1, Outputs: outputs, Folder: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "job killed") {
		t.Errorf("error %v", err)
	}
}

// Names that would climb out of the folder are neither opened nor asked for.
func TestBadNames(t *testing.T) {
	a := newAgent(t)
	cfg := config()
	cfg.Local, cfg.Dir = a.address(), a.dir
	for _, name := range []string{"", "..", "../x", "/etc/passwd", "a/b", ".hidden", "a\nb", strings.Repeat("x", 300)} {
		out := a.output(t, 0, 0, 10)
		out.File = name
		_, err := New(cfg).Gather(context.Background(), Request{Maps: 1, Outputs: channel(out), Folder: t.TempDir()})
		if !errors.Is(err, ErrIncomplete) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if n := a.requests.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// A file in the own folder that is damaged after it was announced is blamed on its map.
func TestBlame(t *testing.T) {
	a := newAgent(t)
	good, bad := a.output(t, 0, 0, 30_000), a.output(t, 1, 0, 30_000)
	path := filepath.Join(a.dir, bad.File)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config()
	cfg.Local, cfg.Dir = a.address(), a.dir
	set, err := New(cfg).Gather(context.Background(), Request{Maps: 2, Outputs: channel(good, bad), Folder: t.TempDir(), Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	m, err := set.Merge(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	err = mapreduce.EachRecord(m, func(_, _ []byte) error { return nil })
	out, ok := set.Blame(err)
	if !errors.Is(err, run.ErrCorrupt) || !ok || out != bad {
		t.Errorf("error %v blames %v, %t", err, out, ok)
	}
	if _, ok := set.Blame(io.ErrUnexpectedEOF); ok {
		t.Error("an error of something else blames a map")
	}
}
