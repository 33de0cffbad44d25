package coordinator_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/builtin"
	"fairway/frameworks/mapreduce/coordinator"
	"fairway/frameworks/mapreduce/shuffle"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/stream"
	"fairway/frameworks/mapreduce/umbilical"
	"fairway/frameworks/sdk/sdktest"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

// cluster runs real maps and reduces in goroutines of this process, over a broker for tests and local files.
type cluster struct {
	t        testing.TB
	broker   *sdktest.Broker
	dir      string
	mux      *storage.Mux
	registry *mapreduce.Registry
	agents   map[string]*node

	mu     sync.Mutex
	change chan struct{}  // closed at the next change of anything
	starts map[string]int // launches of each task, by the first words of its name
	fault  func(ctx context.Context, a sdktest.Agent, t *v1.TaskSpec) *sdktest.Exit
}

// node is an agent's data server and folders.
type node struct {
	dir    string
	server *httptest.Server
	down   bool
	mu     sync.Mutex
}

func newCluster(t testing.TB, agents, slots int) *cluster {
	c := &cluster{t: t, dir: t.TempDir(), registry: mapreduce.NewRegistry(), agents: map[string]*node{}, starts: map[string]int{}, change: make(chan struct{})}
	c.mux = storage.NewMux(map[string]storage.Opener{"file": func(ctx context.Context, authority, user string) (storage.FS, error) {
		fs, err := local.Opener()(ctx, authority, user)
		return noisy{fs, c}, err
	}}, "")
	builtin.Register(c.registry)
	c.broker = sdktest.New(c.run)
	c.broker.Trace(func(string) { c.changed() })
	for i := range agents {
		c.addAgent(fmt.Sprintf("a%d", i+1), slots)
	}
	t.Cleanup(func() {
		c.broker.Close()
		for _, n := range c.agents {
			n.server.Close()
		}
		c.mux.Close()
	})
	return c
}

func (c *cluster) addAgent(id string, slots int) {
	n := &node{dir: filepath.Join(c.dir, "agents", id)}
	n.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.data(n, w, r) }))
	u, err := url.Parse(n.server.URL)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.agents[id] = n
	c.mu.Unlock()
	c.broker.AddAgent(sdktest.Agent{ID: id, Host: "host-" + id, Rack: "/r1", DataAddress: u.Host,
		CPUMilli: int64(slots) * 1000, Memory: int64(slots) << 30})
}

func (c *cluster) data(n *node, w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	down := n.down
	n.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler)
	}
	if r.Header.Get(shuffle.SignatureHeader) != shuffle.Sign(c.broker.Secret, r.URL.EscapedPath(), r.Header.Get("Range")) {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	parts := strings.Split(r.URL.Path, "/") // "", v1, jobs, JOB, files, NAME
	if len(parts) != 6 {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, filepath.Join(n.dir, "jobs", parts[3], parts[5]))
}

// setDown makes an agent's data server fail.
func (c *cluster) setDown(id string, down bool) {
	c.mu.Lock()
	n := c.agents[id]
	c.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

// run is one task's process.
func (c *cluster) run(ctx context.Context, a sdktest.Agent, t *v1.TaskSpec) sdktest.Exit {
	words := strings.Fields(t.Name)
	c.mu.Lock()
	c.starts[words[0]+" "+words[1]]++
	fault := c.fault
	c.mu.Unlock()
	c.changed()
	if fault != nil {
		if e := fault(ctx, a, t); e != nil {
			return *e
		}
	}
	c.mu.Lock()
	n := c.agents[a.ID]
	c.mu.Unlock()
	return c.attempt(ctx, n, a, t, c.registry)
}

// attempt runs a task as its process does.
func (c *cluster) attempt(ctx context.Context, n *node, a sdktest.Agent, t *v1.TaskSpec, registry *mapreduce.Registry) sdktest.Exit {
	sandbox := filepath.Join(n.dir, "sandboxes", strconv.FormatUint(t.Task.Sequence, 10))
	jobDir := filepath.Join(n.dir, "jobs", t.JobId)
	for _, d := range []string{filepath.Join(sandbox, "tmp"), jobDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return sdktest.Exit{Code: 1, Message: err.Error()}
		}
	}
	secret := filepath.Join(sandbox, ".secret")
	if err := os.WriteFile(secret, t.JobSecret, 0o600); err != nil {
		return sdktest.Exit{Code: 1, Message: err.Error()}
	}
	env := map[string]string{
		"FAIRWAY_TASK_ID": fmt.Sprintf("%s/%d", t.Task.Framework, t.Task.Sequence), "FAIRWAY_SANDBOX": sandbox,
		"FAIRWAY_JOB_ID": t.JobId, "FAIRWAY_JOB_DIR": jobDir, "FAIRWAY_SECRET_FILE": secret, "FAIRWAY_AGENT_ID": a.ID,
		"FAIRWAY_AGENT_HOST": a.Host, "FAIRWAY_AGENT_DATA_ADDRESS": a.DataAddress,
		"FAIRWAY_MEMORY_BYTES": strconv.FormatInt(t.Resources.MemoryBytes, 10),
	}
	for k, v := range t.Command.Env {
		env[k] = v
	}
	err := umbilical.RunTask(ctx, umbilical.TaskConfig{Mux: c.mux, Registry: registry, Programs: &stream.Programs{},
		Getenv: func(k string) string { return env[k] }, Shared: true})
	if err != nil {
		return sdktest.Exit{Code: 1, Message: err.Error()}
	}
	return sdktest.Exit{}
}

func (c *cluster) count(task string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.starts[task]
}

func (c *cluster) options(job *spec.Job) coordinator.Options {
	return coordinator.Options{Job: job, Attempt: 1, Dial: c.broker.Dial, Mux: c.mux, Registry: c.registry,
		Logger: zap.NewNop(), Tuning: coordinator.Tuning{Preempt: 200 * time.Millisecond, Relax: 400 * time.Millisecond}}
}

// runJob runs a job within a limit that only a hang reaches.
func (c *cluster) runJob(o coordinator.Options) (coordinator.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return coordinator.Run(ctx, o)
}

func (c *cluster) write(name, text string) string {
	p := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	return "file://" + p
}

// output returns the lines of all parts of an output folder, and checks that it is complete and clean.
func (c *cluster) output(name string) map[string]int {
	dir := filepath.Join(c.dir, name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	lines, success := map[string]int{}, false
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "_") || strings.HasPrefix(e.Name(), ".") {
			success = success || e.Name() == "_SUCCESS"
			if e.Name() == "_temporary" {
				c.t.Error("_temporary is left in the output")
			}
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			c.t.Fatal(err)
		}
		for _, l := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
			if l != "" {
				lines[l]++
			}
		}
	}
	if !success {
		c.t.Error("no _SUCCESS in the output")
	}
	return lines
}

// text makes n lines of words and the right count of them.
func text(n int) (string, map[string]int) {
	var b strings.Builder
	counts := map[string]int{}
	for i := range n {
		for _, w := range []string{"the", "word" + strconv.Itoa(i%97), "x" + strconv.Itoa(i%7)} {
			counts[w]++
			b.WriteString(w + " ")
		}
		b.WriteByte('\n')
	}
	want := map[string]int{}
	for w, n := range counts {
		want[fmt.Sprintf("%s\t%d", w, n)]++
	}
	return b.String(), want
}

func counter(r coordinator.Result, name string) int64 {
	for _, c := range r.Counters {
		if c.Name == name {
			return c.Value
		}
	}
	return 0
}

// hang greets the coordinator as an attempt does, and does no work until it is killed.
func (c *cluster) hang(ctx context.Context, t *v1.TaskSpec) *sdktest.Exit {
	mute := mapreduce.NewRegistry()
	mute.Mapper("wordcount", func() mapreduce.Mapper { return silent{} })
	c.mu.Lock()
	n := c.agents["a1"]
	c.mu.Unlock()
	e := c.attempt(ctx, n, sdktest.Agent{ID: "a1", Host: "host-a1"}, t, mute)
	return &e
}

type silent struct{ mapreduce.Identity }

func (silent) Setup(ctx *mapreduce.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// changed wakes those who await something.
func (c *cluster) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.change)
	c.change = make(chan struct{})
}

// await returns when ok holds; it is asked again after each change.
func (c *cluster) await(ok func() bool) {
	for {
		c.mu.Lock()
		change := c.change
		c.mu.Unlock()
		if ok() {
			return
		}
		<-change
	}
}

// noisy is a file system that tells of renames.
type noisy struct {
	storage.FS
	c *cluster
}

func (n noisy) Rename(ctx context.Context, from, to string) error {
	defer n.c.changed()
	return n.FS.Rename(ctx, from, to)
}
