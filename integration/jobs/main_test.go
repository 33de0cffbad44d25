package jobs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
	"fairway/integration/testbed"
)

// One cluster serves the tests without faults.
var world struct {
	*testbed.Testbed
	c *cluster.Cluster
}

func TestMain(m *testing.M) {
	testbed.Main(m, "a JDK and Maven", 10*time.Minute, func(ctx context.Context) (b *testbed.Testbed, err error) {
		if world.Testbed, err = testbed.New(ctx, nil); err != nil {
			return world.Testbed, err
		}
		world.c, err = cluster.Start(ctx, cluster.Options{Binary: world.Binary, Agents: agents(world.DFS.Hosts, "3"), HadoopDir: world.DFS.ConfDir,
			Config: "roles: [{path: analytics, weight: 2}, {path: batch, weight: 1}]\n"})
		if err == nil {
			world.Later(func() {
				if err := world.c.Stop(); err != nil {
					fmt.Fprintln(os.Stderr, "stop the cluster:", err)
				}
			})
		}
		return world.Testbed, err
	})
}

func agents(hosts []hadoop.Host, cpu string) []cluster.Agent {
	var list []cluster.Agent
	for _, h := range hosts {
		list = append(list, cluster.Agent{Host: h.Name, CPU: cpu, Memory: "6GiB"})
	}
	return list
}

// put writes a file into HDFS.
func put(t *testing.T, path, text string) string {
	t.Helper()
	world.Put(t, "", path, text)
	return "hdfs://" + path
}

// lines makes n lines of words, and their counts.
func lines(n int) (string, map[string]int64) {
	counts := map[string]int64{}
	var b strings.Builder
	for i := range n {
		for _, w := range []string{"alpha", fmt.Sprintf("w%d", i%1000), fmt.Sprintf("x%d", i%37)} {
			counts[w]++
			b.WriteString(w)
			b.WriteByte(' ')
		}
		b.WriteByte('\n')
	}
	return b.String(), counts
}

// results reads the "key TAB value" lines of an output folder.
func results(t *testing.T, folder string) map[string]string {
	t.Helper()
	list, err := world.FS.List(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	got, success := map[string]string{}, false
	for _, i := range list {
		name := filepath.Base(i.Path)
		success = success || name == "_SUCCESS"
		if !strings.HasPrefix(name, "part-") {
			if name != "_SUCCESS" {
				t.Errorf("%s holds %s", folder, name)
			}
			continue
		}
		for l := range strings.Lines(read(t, i.Path)) {
			k, v, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
			if _, twice := got[k]; twice {
				t.Errorf("key %q is there twice", k)
			}
			got[k] = v
		}
	}
	if !success {
		t.Errorf("%s has no _SUCCESS", folder)
	}
	return got
}

func read(t *testing.T, path string) string {
	t.Helper()
	f, err := world.FS.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func checkCounts(t *testing.T, folder string, want map[string]int64) {
	t.Helper()
	got := results(t, folder)
	if len(got) != len(want) {
		t.Errorf("%s has %d keys, want %d", folder, len(got), len(want))
	}
	for w, n := range want {
		if got[w] != fmt.Sprint(n) {
			t.Errorf("%s: %s = %q, want %d", folder, w, got[w], n)
			return
		}
	}
}

// submit runs a job by the command line and returns it as the broker tells it.
func submit(t *testing.T, c *cluster.Cluster, args ...string) *v1.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := c.Run(ctx, append([]string{"submit", "mapreduce", "-o", "json"}, args...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Logs())
	}
	var j v1.Job
	if err := protojson.Unmarshal([]byte(out), &j); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return &j
}

// refused runs a command that must fail, within three quarters of a minute, with an error that says want; it returns that.
func refused(t *testing.T, c *cluster.Cluster, want []string, args ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	out, err := c.Run(ctx, args...)
	if err == nil {
		t.Fatalf("%v succeeded: %s", args, out)
	}
	if ctx.Err() != nil {
		t.Fatalf("%v hung", args)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v: %v\nwant it to say %q", args, err, w)
		}
	}
	for _, bad := range []string{"panic", "goroutine ", "0x"} {
		if strings.Contains(err.Error(), bad) {
			t.Errorf("%v: %v", args, err)
		}
	}
	return err
}

func counter(j *v1.Job, name string) int64 {
	for _, k := range j.Counters {
		if k.Name == name {
			return k.Value
		}
	}
	return 0
}
