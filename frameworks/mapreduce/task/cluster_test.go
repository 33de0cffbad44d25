package task_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/builtin"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/output"
	"fairway/frameworks/mapreduce/shuffle"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/task"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

// cluster runs whole jobs in this process: maps and reduces as an agent's tasks would, map outputs served over HTTP.
type cluster struct {
	t        testing.TB
	mux      *storage.Mux
	registry *mapreduce.Registry
	programs mapreduce.Programs
	dir      string // the job's folder
	server   *httptest.Server
	secret   []byte
	memory   int64
	slots    int
	direct   bool // reduces read map outputs from the job's folder
	counters spec.Counters
	serve    func(w http.ResponseWriter, r *http.Request) bool // may answer instead
}

func newCluster(t testing.TB) *cluster {
	c := &cluster{t: t, dir: t.TempDir(), secret: []byte("secret"), slots: 2, registry: mapreduce.NewRegistry()}
	c.mux = storage.NewMux(map[string]storage.Opener{"file": local.Opener()}, "")
	builtin.Register(c.registry)
	c.server = httptest.NewServer(http.HandlerFunc(c.data))
	t.Cleanup(func() {
		c.server.Close()
		c.mux.Close()
	})
	return c
}

// data is an agent's data server.
func (c *cluster) data(w http.ResponseWriter, r *http.Request) {
	if c.serve != nil && c.serve(w, r) {
		return
	}
	if r.Header.Get(shuffle.SignatureHeader) != shuffle.Sign(c.secret, r.URL.EscapedPath(), r.Header.Get("Range")) {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/v1/jobs/job-1/files/")
	if !ok || strings.Contains(name, "/") {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, filepath.Join(c.dir, name))
}

func (c *cluster) address() string {
	u, err := url.Parse(c.server.URL)
	if err != nil {
		c.t.Fatal(err)
	}
	return u.Host
}

func (c *cluster) Progress(float64)         {}
func (c *cluster) Status(string)            {}
func (c *cluster) Counters() *spec.Counters { return &c.counters }

func (c *cluster) counter(name string) int64 {
	return c.counters.Get(spec.TaskCounters, name).Load()
}

// run runs a job to its committed end.
func (c *cluster) run(job spec.Job) error {
	ctx := context.Background()
	job.ID = "job-1"
	splits, err := input.Splits(ctx, c.mux, &job)
	if err != nil {
		return err
	}
	if job.Partitioner == "total" && job.Reduces > 1 {
		if job.Cuts, err = builtin.SampleCuts(ctx, &job, splits, c.mux, c.registry); err != nil {
			return err
		}
	}
	var fs storage.FS
	path := ""
	if job.Output != "" {
		if fs, path, err = c.mux.Resolve(ctx, job.Output, ""); err != nil {
			return err
		}
	}
	committer := output.NewCommitter(fs, path, &job)
	if err := committer.Setup(ctx); err != nil {
		return err
	}
	results, err := c.maps(ctx, &job, splits)
	if err != nil {
		return err
	}
	if job.Reduces == 0 {
		return committer.CommitJob(ctx, spec.Map, len(splits))
	}
	if err := c.reduces(ctx, &job, results); err != nil {
		return err
	}
	return committer.CommitJob(ctx, spec.Reduce, job.Reduces)
}

func (c *cluster) maps(ctx context.Context, job *spec.Job, splits []spec.Split) ([]task.MapResult, error) {
	results := make([]task.MapResult, len(splits))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.slots)
	for i, split := range splits {
		g.Go(func() (err error) {
			results[i], err = task.RunMap(ctx, task.MapArgs{
				Job: job, Split: split, Mux: c.mux, Dir: c.dir, Sandbox: c.sandbox(), Memory: c.memory,
				Registry: c.registry, Programs: c.programs, Reporter: c,
			})
			return err
		})
	}
	return results, g.Wait()
}

func (c *cluster) reduces(ctx context.Context, job *spec.Job, results []task.MapResult) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.slots)
	for p := range job.Reduces {
		outputs := make(chan spec.MapOutput, len(results))
		for _, r := range results {
			o := r.Partitions[p]
			o.Address = c.address()
			outputs <- o
		}
		close(outputs)
		g.Go(func() error {
			cfg := shuffle.Config{Job: job.ID, Secret: c.secret}
			if c.direct {
				cfg.Local, cfg.Dir = c.address(), c.dir
			}
			return task.RunReduce(ctx, task.ReduceArgs{
				Job: job, Partition: p, Maps: len(results), Mux: c.mux, Dir: c.dir, Sandbox: c.sandbox(),
				Memory: c.memory, Registry: c.registry, Programs: c.programs, Reporter: c, Outputs: outputs,
				Fetch: shuffle.New(cfg),
			})
		})
	}
	return g.Wait()
}

func (c *cluster) sandbox() string { return c.t.TempDir() }

// output returns the lines of all parts, in order.
func (c *cluster) output(dir string) string {
	c.t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "_SUCCESS")); err != nil {
		c.t.Error(err)
	}
	parts, err := filepath.Glob(filepath.Join(dir, "part-*"))
	if err != nil {
		c.t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range parts {
		text, err := os.ReadFile(p)
		if err != nil {
			c.t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}

func (c *cluster) write(name, text string) string {
	path := filepath.Join(c.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	return path
}

func (c *cluster) newOutput() string { return filepath.Join(c.t.TempDir(), "out") }

// build makes a job of a built-in by name.
func build(t testing.TB, name string, args ...string) spec.Job {
	t.Helper()
	f := builtin.Jobs[name]
	if f == nil {
		t.Fatalf("no job %q", name)
	}
	job, err := f(args)
	if err != nil {
		t.Fatal(err)
	}
	return job
}
