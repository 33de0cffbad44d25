package hadoop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// JobResult of an unmodified Hadoop job.
type JobResult struct {
	Application string           // application_..., "" if none was submitted
	Took        time.Duration    // from the start of the client's JVM to its end, as "hadoop jar" would take
	Counters    map[string]int64 // by the names that Hadoop prints, such as "Data-local map tasks"
	Output      string           // what the client wrote
}

// ExamplesJar holds wordcount, teragen, terasort, teravalidate, grep, pi.
func (in Install) ExamplesJar() string {
	return filepath.Join(in.Lib, "hadoop-mapreduce-examples-"+Version+".jar")
}

// StreamingJar runs programs as mappers and reducers.
func (in Install) StreamingJar() string {
	return filepath.Join(in.Lib, "hadoop-streaming-"+Version+".jar")
}

var (
	applicationID = regexp.MustCompile(`application_\d+_\d+`)
	counterLine   = regexp.MustCompile(`(?m)^\t\t([^\t\n=]+)=(-?\d+)$`)
)

// RunJob does what "hadoop jar JAR ARGS..." does and returns when the job has ended. When ctx ends it kills the job.
func (y *YARN) RunJob(ctx context.Context, jar string, args ...string) (JobResult, error) {
	started := time.Now()
	out, err := y.java(ctx, append([]string{"-Dfairway.log.level=INFO", "org.apache.hadoop.util.RunJar", jar}, args...))
	result := JobResult{Took: time.Since(started), Output: string(out), Counters: make(map[string]int64),
		Application: string(applicationID.Find(out))}
	for _, m := range counterLine.FindAllSubmatch(out, -1) {
		if n, err := strconv.ParseInt(string(m[2]), 10, 64); err == nil {
			result.Counters[string(m[1])] = n
		}
	}
	if err == nil {
		return result, nil
	}
	if ctx.Err() != nil {
		if result.Application != "" {
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
			defer cancel()
			y.java(late, []string{"org.apache.hadoop.yarn.client.cli.ApplicationCLI", "application", "-kill", result.Application})
		}
		return result, ctx.Err()
	}
	return result, fmt.Errorf("hadoop jar %s %s: %w: %s", filepath.Base(jar), strings.Join(args, " "), err, jobError(out))
}

// Shell does what "hdfs dfs ARGS..." does and returns what it wrote to standard output.
func (h *HDFS) Shell(ctx context.Context, args ...string) (string, error) {
	classPath, err := h.install.classPath(h.ConfDir)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, h.install.java, append([]string{"-cp", classPath, "org.apache.hadoop.fs.FsShell"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("hdfs dfs %s: %w: %s", strings.Join(args, " "), err, firstLine(stderr.Bytes()))
	}
	return string(out), nil
}

// java runs a client class, whose name is the first argument without a dash, and returns all that it wrote.
func (y *YARN) java(ctx context.Context, args []string) ([]byte, error) {
	base, err := y.javaArgs(y.ConfDir)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, y.install.java, append(base, args...)...)
	cmd.Env = y.env(y.ConfDir)
	cmd.Dir = y.Dir
	cmd.WaitDelay = 5 * time.Second
	return cmd.CombinedOutput()
}

// jobError returns the line of a client's output that tells most.
func jobError(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, want := range []string{"Exception", "Error", "failed"} {
		for _, line := range lines {
			if strings.Contains(line, want) && !strings.HasPrefix(line, "\tat ") {
				return strings.TrimSpace(line)
			}
		}
	}
	return lines[len(lines)-1]
}

// killMentioning kills the processes whose command line names dir, which is a folder of ours: containers that outlived
// their NodeManager.
func killMentioning(dir string) {
	if len(dir) < 8 {
		return
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(text, []byte(dir+"/")) {
			unix.Kill(pid, syscall.SIGKILL)
		}
	}
}
