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
	return filepath.Join(in.Lib, "hadoop-mapreduce-examples-"+in.version+".jar")
}

// StreamingJar runs programs as mappers and reducers.
func (in Install) StreamingJar() string {
	return filepath.Join(in.Lib, "hadoop-streaming-"+in.version+".jar")
}

// DistributedShellJar runs a command in containers of its own; it knows placement constraints.
func (in Install) DistributedShellJar() string {
	return filepath.Join(in.Lib, "hadoop-yarn-applications-distributedshell-"+in.version+".jar")
}

var (
	applicationID = regexp.MustCompile(`application_\d+_\d+`)
	counterLine   = regexp.MustCompile(`(?m)^\t\t([^\t\n=]+)=(-?\d+)$`)
)

// RunJob does what "hadoop jar JAR ARGS..." does and returns when the job has ended. When ctx ends it kills the job.
func (y *YARN) RunJob(ctx context.Context, jar string, args ...string) (JobResult, error) {
	return y.Client("").RunJob(ctx, jar, args...)
}

// Client makes a client of this cluster.
func (y *YARN) Client(user string) *Client {
	c := y.install.Client(y.ConfDir, user)
	c.Dir, c.home = y.Dir, y.Dir
	if y.hostsFile != "" {
		c.JVM = []string{"-Djdk.net.hosts.file=" + y.hostsFile}
	}
	return c
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
