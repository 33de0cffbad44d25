package sparkjobs

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/integration/testbed"
)

// typed is what a command line of a user's came to.
type typed struct {
	stdout, stderr string
	code           int
}

// command is a command line of a user who has no configuration of Hadoop, but Fairway's own and his own Spark.
func (r *rig) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := r.Command(ctx, args...)
	cmd.Env = append(cmd.Env, "HADOOP_CONF_DIR=", "FAIRWAY_HDFS_CONF_DIR="+world.DFS.ConfDir, "HADOOP_USER_NAME="+testbed.WithAccount,
		"SPARK_HOME="+world.spark.Home, "JAVA_HOME="+world.spark.Java, "PYSPARK_PYTHON="+world.spark.Python, "SPARK_LOCAL_IP=127.0.0.1")
	return cmd
}

// typed runs such a command line to its end.
func (r *rig) typed(t *testing.T, ctx context.Context, in io.Reader, args ...string) typed {
	t.Helper()
	cmd := r.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		t.Fatalf("fairway %v: %v\n%s\n%s", args, err, tail(out.String()), tail(errs.String()))
	}
	return typed{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// options are those that make Spark small and keep it on this machine.
func (r *rig) options() (args []string) {
	for k, v := range map[string]string{
		"spark.yarn.jars": "local:" + filepath.Join(world.spark.Home, "jars", "*"), "spark.driver.host": "127.0.0.1", "spark.driver.memory": "512m",
		"spark.yarn.am.memory": "512m", "spark.executor.memory": "512m", "spark.executor.cores": "1", "spark.ui.showConsoleProgress": "false",
	} {
		args = append(args, "--conf", k+"="+v)
	}
	return args
}

// counted are the localities of an application's tasks, as its job has them.
func (r *rig) counted(t *testing.T, application string) map[string]int64 {
	t.Helper()
	b, err := r.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	list, err := b.ListJobs(t.Context(), api.Caller{}, &v1.ListJobsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, j := range list.Jobs {
		if j.Status == application {
			for _, k := range j.Counters {
				if k.Group == "Spark locality" {
					counts[k.Name] = k.Value
				}
			}
		}
	}
	return counts
}

// fairway submit spark: the driver's output, a line for each stage, the summary, and what the job keeps.
func TestSubmitSpark(t *testing.T) {
	testbed.Long(t)
	r := world.rig
	body, _ := text(200_000) // some three blocks
	file := home(testbed.WithAccount, "submit/in.txt")
	world.Put(t, testbed.WithAccount, file, body)
	blocks := (len(body) + testbed.BlockSize - 1) / testbed.BlockSize
	ctx, cancel := within(t, 3*time.Minute)
	defer cancel()
	args := append([]string{"submit", "spark", "--role", "analytics", "--progress", "-o", "json", "--num-executors", "3"}, r.options()...)
	got := r.typed(t, ctx, nil, append(args, program(t, "count.py"), file)...)
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s\n%s", got.code, tail(got.stdout), tail(got.stderr), r.Logs())
	}
	check(t, said(got.stdout), map[string]string{"lines": "200000"})
	if !strings.Contains(got.stdout, "a word on stderr\n") { // Spark gives all that Python says on its own standard output
		t.Errorf("what the driver said on stderr is not in\n%s", tail(got.stdout))
	}
	for _, want := range []string{
		`(?m)^application_\S+ is job-\S+ in role analytics; `, `(?m)^stage 0 \(count at count\.py:8\): ` + strconv.Itoa(blocks) + "/" + strconv.Itoa(blocks) + ` tasks$`,
		`(?m)^application_\S+ succeeded in `,
	} {
		if !regexp.MustCompile(want).MatchString(got.stderr) {
			t.Errorf("no %q in\n%s", want, tail(got.stderr))
		}
	}
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	var x struct {
		Application string `json:"application_id"`
		Job         string `json:"job_id"`
		State       string
		Tasks       map[string]int
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &x); err != nil {
		t.Fatalf("%v in %q", err, lines[len(lines)-1])
	}
	sum := 0
	for _, n := range x.Tasks {
		sum += n
	}
	if x.State != "succeeded" || sum != blocks || x.Tasks["not_counted"] != 0 || x.Tasks["node"]+x.Tasks["process"] == 0 {
		t.Errorf("%+v, want %d tasks", x, blocks)
	}
	if app := r.application(t, x.Application); app.User != testbed.WithAccount || !strings.HasSuffix(app.Queue, "analytics") {
		t.Errorf("the application is %+v", app)
	}
	out, err := r.Run(t.Context(), "job", x.Application)
	if err != nil || !strings.Contains(out, x.Job) || !strings.Contains(out, "Node-local tasks") {
		t.Errorf("%v\n%s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "fairway-spark-[0-9]*"))
	if err != nil || len(left) != 0 {
		t.Errorf("configuration is left: %v, %v", left, err)
	}
}

// What Spark's own spark-submit began is counted too.
func TestLocalitiesOfAnySubmission(t *testing.T) {
	testbed.Long(t)
	r := world.rig
	body, _ := text(200_000)
	file := home(testbed.WithAccount, "counted/in.txt")
	world.Put(t, testbed.WithAccount, file, body)
	c := r.client(testbed.WithAccount)
	c.Conf["spark.executor.instances"] = "3"
	res := r.submit(t, c, 3*time.Minute, program(t, "count.py"), file)
	h := r.history(t, res.Application)
	want := map[string]int64{"PROCESS_LOCAL": 0, "NODE_LOCAL": 0, "RACK_LOCAL": 0, "ANY": 0, "NO_PREFERENCE": 0, "NOT_COUNTED": 0}
	for level, n := range h.locality[0] {
		if level == "NO_PREF" {
			level = "NO_PREFERENCE"
		}
		want[level] += int64(n)
	}
	counts := r.counted(t, res.Application)
	for level, n := range want {
		if counts[level] != n {
			t.Errorf("%d tasks are %s by the event log, %d by the job: %v", n, level, counts[level], counts)
		}
	}
}

// An error in the driver gives Spark's exit code, and interrupting ends driver and executors.
func TestSubmitSparkFails(t *testing.T) {
	testbed.Long(t)
	r := world.rig
	ctx, cancel := within(t, 3*time.Minute)
	defer cancel()
	got := r.typed(t, ctx, nil, append(append([]string{"submit", "spark"}, r.options()...), program(t, "broken.py"))...)
	if got.code != 1 || !strings.Contains(got.stdout+got.stderr, "ValueError: deliberate error in the driver") {
		t.Errorf("exit code %d\n%s\n%s", got.code, tail(got.stdout), tail(got.stderr))
	}

	g := newGate(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	cmd := r.command(ctx, append(append([]string{"submit", "spark", "--num-executors", "2"}, r.options()...), g.args(t, 2)...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Run() // interrupted
	}()
	defer func() { interrupt(); <-ended }()
	await(t, "the tasks' start", 2*time.Minute, func() bool { return g.count("started-") == 2 })
	id := g.application(t)
	interrupt()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it goes on after Ctrl-C")
	}
	await(t, "the executors' end", time.Minute, func() bool { return len(processes(id, r.Dir)) == 0 })
	if cmd.ProcessState.ExitCode() == 0 || !strings.Contains(errs.String(), "fairway: interrupted") {
		t.Errorf("exit code %d\n%s", cmd.ProcessState.ExitCode(), tail(errs.String()))
	}
}

// The Python shell, with a program for its standard input: Python makes its own context only on a terminal.
func TestSparkShell(t *testing.T) {
	testbed.Long(t)
	ctx, cancel := within(t, 3*time.Minute)
	defer cancel()
	got := world.rig.typed(t, ctx, strings.NewReader("from pyspark import SparkContext\nsc = SparkContext.getOrCreate()\nprint('sum=%d' % sc.parallelize(range(100), 2).sum())\nsc.stop()\n"),
		append([]string{"spark", "shell", "--role", "batch", "--num-executors", "1"}, world.rig.options()...)...)
	if got.code != 0 || !strings.Contains(got.stdout, "sum=4950") {
		t.Errorf("exit code %d\n%s\n%s", got.code, tail(got.stdout), tail(got.stderr))
	}
}
