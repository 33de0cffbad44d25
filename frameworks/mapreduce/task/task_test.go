package task_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/run"
	"fairway/frameworks/mapreduce/shuffle"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/task"
)

// jobOf makes a text job with a mapper and a reducer that are registered for it.
func (c *cluster) jobOf(in string, m mapreduce.NewMapper, r mapreduce.NewReducer) spec.Job {
	job := spec.Job{Inputs: []string{in}, Output: c.newOutput(), Mapper: spec.Stage{Function: "m"}}
	c.registry.Mapper("m", m)
	if r != nil {
		c.registry.Reducer("r", r)
		job.Reducer = spec.Stage{Function: "r"}
		job.Reduces = 1
	}
	return job
}

// The record that a mapper fails on is named, also when it panics, and by lines or by chunks.
func TestRecordError(t *testing.T) {
	in := "good\ngood\nbad\ngood\n"
	boom := errors.New("boom")
	fails := mapreduce.Map(func(_ *mapreduce.Context, _, value []byte, _ mapreduce.Emitter) error {
		if string(value) == "bad" {
			return boom
		}
		return nil
	})
	panics := mapreduce.Map(func(_ *mapreduce.Context, _, value []byte, _ mapreduce.Emitter) error {
		if string(value) == "bad" {
			panic(boom)
		}
		return nil
	})
	chunks := mapreduce.MapLines(func(*mapreduce.Context, []byte, mapreduce.Emitter) error { return boom })
	for _, c := range []struct {
		name   string
		m      mapreduce.NewMapper
		offset int64
	}{{"error", fails, 10}, {"panic", panics, 10}, {"chunk", chunks, 0}} {
		cl := newCluster(t)
		path := cl.write("in.txt", in)
		err := cl.run(cl.jobOf(path, c.m, mapreduce.Reduce(mapreduce.Identity{}.Reduce)))
		var bad *task.RecordError
		if !errors.As(err, &bad) || bad.Offset != c.offset || !strings.HasSuffix(bad.URL, path) ||
			!strings.Contains(err.Error(), "boom") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A value that the in-place combiner cannot read is the record's fault; a full disk is not.
func TestNotTheRecordsFault(t *testing.T) {
	c := newCluster(t)
	job := c.jobOf(c.write("in.txt", "a\n"), mapreduce.Map(func(_ *mapreduce.Context, _, v []byte, out mapreduce.Emitter) error {
		return out.Emit(v, v)
	}), mapreduce.Reduce(mapreduce.Identity{}.Reduce))
	job.Combiner.Function = "sum"
	var bad *task.RecordError
	if err := c.run(job); !errors.As(err, &bad) {
		t.Errorf("no number: %v", err)
	}
	var big strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&big, "%0*d\n", 99, i)
	}
	job = c.jobOfName(t, "lines", c.write("in.txt", big.String()))
	splits, err := input.Splits(context.Background(), c.mux, &job)
	if err != nil {
		t.Fatal(err)
	}
	_, err = task.RunMap(context.Background(), task.MapArgs{
		Job: &job, Split: splits[0], Mux: c.mux, Dir: c.dir, Sandbox: filepath.Join(c.dir, "missing"), Memory: 1,
		Registry: c.registry,
	})
	if errors.As(err, &bad) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder for spills: %v", err)
	}
}

func (c *cluster) jobOfName(t *testing.T, name, in string) spec.Job {
	t.Helper()
	return spec.Job{
		ID: "job-1", Inputs: []string{in}, Output: c.newOutput(), Reduces: 1,
		Mapper: spec.Stage{Function: name}, Reducer: spec.Stage{Function: name},
	}
}

// A map-only job writes its output itself, keys and values as they are.
func TestMapOnly(t *testing.T) {
	c := newCluster(t)
	job := c.jobOf(c.write("in.txt", "b\na\n"), mapreduce.Map(
		func(_ *mapreduce.Context, key, value []byte, out mapreduce.Emitter) error {
			return out.Emit(value, key)
		}), nil)
	if err := c.run(job); err != nil {
		t.Fatal(err)
	}
	if got, want := c.output(job.Output), "b\t0\na\t2\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if in, out := c.counter("MAP_INPUT_RECORDS"), c.counter("MAP_OUTPUT_RECORDS"); in != 2 || out != 2 {
		t.Errorf("counters %d, %d", in, out)
	}
}

// Without the grant nothing is committed and nothing is left behind.
func TestCommitRefused(t *testing.T) {
	c := newCluster(t)
	job := c.jobOf(c.write("in.txt", "a\n"), mapreduce.Map(mapreduce.Identity{}.Map), nil)
	job.ID = "job-1"
	splits, err := input.Splits(context.Background(), c.mux, &job)
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("another attempt has it")
	_, err = task.RunMap(context.Background(), task.MapArgs{
		Job: &job, Split: splits[0], Mux: c.mux, Dir: c.dir, Sandbox: c.sandbox(), Registry: c.registry,
		Commit: func(context.Context) error { return refused },
	})
	if !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	err = filepath.WalkDir(job.Output, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("left behind: %s", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A map output on the own disk that is damaged is blamed on its map, and the reduce fails.
func TestDamagedMapOutput(t *testing.T) {
	c := newCluster(t)
	ctx := context.Background()
	in, _ := text(1, 300_000)
	job := c.jobOfName(t, "lines", c.write("in.txt", in))
	splits, err := input.Splits(ctx, c.mux, &job)
	if err != nil {
		t.Fatal(err)
	}
	results, err := c.maps(ctx, &job, splits)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.dir, results[0].File)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	outputs := make(chan spec.MapOutput, 1)
	out := results[0].Partitions[0]
	out.Address = "agent:1"
	outputs <- out
	var mu sync.Mutex
	var blamed []spec.MapOutput
	err = task.RunReduce(ctx, task.ReduceArgs{
		Job: &job, Maps: 1, Mux: c.mux, Dir: c.dir, Sandbox: c.sandbox(), Registry: c.registry, Outputs: outputs,
		Fetch: shuffle.New(shuffle.Config{Job: "job-1", Local: "agent:1", Dir: c.dir}),
		FetchFailed: func(o spec.MapOutput, _ error) {
			mu.Lock()
			defer mu.Unlock()
			blamed = append(blamed, o)
		},
	})
	if !errors.Is(err, run.ErrCorrupt) || len(blamed) != 1 || blamed[0] != out {
		t.Errorf("error %v, blamed %v", err, blamed)
	}
}

// A task that is stopped ends with the cause.
func TestStopped(t *testing.T) {
	c := newCluster(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	killed := errors.New("killed by the user")
	job := c.jobOf(c.write("in.txt", strings.Repeat("a\n", 10_000)), mapreduce.Map(
		func(*mapreduce.Context, []byte, []byte, mapreduce.Emitter) error {
			cancel(killed)
			return nil
		}), mapreduce.Reduce(mapreduce.Identity{}.Reduce))
	splits, err := input.Splits(ctx, c.mux, &job)
	if err != nil {
		t.Fatal(err)
	}
	_, err = task.RunMap(ctx, task.MapArgs{Job: &job, Split: splits[0], Mux: c.mux, Dir: c.dir, Sandbox: c.sandbox(), Registry: c.registry})
	if !errors.Is(err, killed) {
		t.Errorf("error %v", err)
	}
}

// upper is a program: its mapper makes the value a key in capitals, its reducer counts.
type upper struct{}

func (upper) Map(cx *mapreduce.Context, stage spec.Stage, in mapreduce.Records, out mapreduce.Emitter) error {
	return mapreduce.EachRecord(in, func(_, v []byte) error {
		return out.Emit([]byte(strings.ToUpper(string(v))), []byte("1"))
	})
}

func (upper) Reduce(cx *mapreduce.Context, stage spec.Stage, in mapreduce.Records, out mapreduce.Emitter) error {
	counts := map[string]int64{}
	var order []string
	err := mapreduce.EachRecord(in, func(k, v []byte) error {
		n, err := mapreduce.ParseInt(v)
		if _, ok := counts[string(k)]; !ok {
			order = append(order, string(k))
		}
		counts[string(k)] += n
		return err
	})
	for _, k := range order {
		err = errors.Join(err, out.EmitInt([]byte(k), counts[k]))
	}
	return err
}

// Programs serve as mapper, combiner and reducer, alone or with functions.
func TestPrograms(t *testing.T) {
	program, sum, none := spec.Stage{Program: []string{"upper"}}, spec.Stage{Function: "sum"}, spec.Stage{}
	for _, s := range []struct{ combiner, reducer spec.Stage }{{none, program}, {program, program}, {sum, program}, {program, sum}} {
		c := newCluster(t)
		c.programs = upper{}
		job := spec.Job{
			Inputs: []string{c.write("in.txt", "b\na\nB\n")}, Output: c.newOutput(), Reduces: 1,
			Mapper: program, Combiner: s.combiner, Reducer: s.reducer,
		}
		if err := c.run(job); err != nil {
			t.Fatal(err)
		}
		if got, want := c.output(job.Output), "A\t1\nB\t2\n"; got != want {
			t.Errorf("%v: got %q, want %q", s, got, want)
		}
		if n := c.counter("MAP_INPUT_RECORDS"); n != 3 {
			t.Errorf("MAP_INPUT_RECORDS = %d", n)
		}
		c.programs = nil
		job.Output = c.newOutput()
		if err := c.run(job); !errors.Is(err, task.ErrNoPrograms) {
			t.Errorf("without programs: %v", err)
		}
	}
}

// Jobs spill, compress and shuffle to disk with little memory and still give the same.
func TestLittleMemory(t *testing.T) {
	for _, compress := range []string{"", "lz4", "s2", "zstd"} {
		c := newCluster(t)
		c.memory = 1
		in, counts := text(9, 100_000)
		job := build(t, "wordcount", c.write("in.txt", in), c.newOutput())
		job.Combiner = spec.Stage{}
		job.Compress, job.SplitSize = compress, 100_000
		job.Conf = map[string]string{"mapreduce.task.io.sort.mb": "1"}
		if err := c.run(job); err != nil {
			t.Fatal(err)
		}
		if got, want := c.output(job.Output), strings.Join(countLines(counts), "\n")+"\n"; got != want {
			t.Errorf("%q: wrong counts", compress)
		}
	}
}

// What Hadoop counts is counted.
func TestCounters(t *testing.T) {
	c := newCluster(t)
	job := build(t, "wordcount", c.write("in.txt", "a b a\nc\n"), c.newOutput())
	if err := c.run(job); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"MAP_INPUT_RECORDS": 2, "MAP_OUTPUT_RECORDS": 4, "COMBINE_INPUT_RECORDS": 4, "COMBINE_OUTPUT_RECORDS": 3,
		"SPILLED_RECORDS": 3, "REDUCE_INPUT_RECORDS": 3, "REDUCE_INPUT_GROUPS": 3, "REDUCE_OUTPUT_RECORDS": 3,
		"SHUFFLED_MAPS": 1, "FAILED_SHUFFLE": 0, "MAP_OUTPUT_BYTES": 8,
	} {
		if got := c.counter(name); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	read := c.counters.Get(spec.FileCounters, "FILE_BYTES_READ").Load()
	written := c.counters.Get(spec.FileCounters, "FILE_BYTES_WRITTEN").Load()
	if read != 8 || written != int64(len("a\t2\nb\t1\nc\t1\n")) {
		t.Errorf("bytes read %d, written %d", read, written)
	}
	if sent, got := c.counter("MAP_OUTPUT_MATERIALIZED_BYTES"), c.counter("REDUCE_SHUFFLE_BYTES"); sent == 0 || sent != got {
		t.Errorf("%d bytes materialized, %d shuffled", sent, got)
	}
	if n := fmt.Sprint(c.counter("PHYSICAL_MEMORY_BYTES")); len(n) < 7 {
		t.Errorf("PHYSICAL_MEMORY_BYTES = %s", n)
	}
}
