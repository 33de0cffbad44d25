package spark

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Client runs Spark's own commands against one cluster.
type Client struct {
	ConfDir string            // HADOOP_CONF_DIR
	User    string            // HADOOP_USER_NAME; "": the account of this process
	Dir     string            // working folder; "": this process's
	Conf    map[string]string // spark.* of each command
	Address string            // of this machine, for executors; "": loopback

	install Install
}

// Client makes a client of a cluster by Hadoop's configuration folder. Its applications take Spark's jars where they lie,
// which saves the upload of 320 MB for each, and use the Python that every account may run.
func (in Install) Client(confDir, user string) *Client {
	return &Client{ConfDir: confDir, User: user, install: in, Conf: map[string]string{
		"spark.yarn.jars":              "local:" + filepath.Join(in.Home, "jars", "*"),
		"spark.pyspark.python":         in.Python,
		"spark.executorEnv.PYTHONPATH": in.Packages,
	}}
}

// Result of a command.
type Result struct {
	Application string        // application_..., "" if none was submitted
	Took        time.Duration // of the whole command
	Stdout      string        // in client mode also the driver's
	Stderr      string        // Spark's log
}

var applicationID = regexp.MustCompile(`application_\d+_\d+`)

// Submit does what "spark-submit --master yarn ARGS..." does.
func (c *Client) Submit(ctx context.Context, args ...string) (Result, error) {
	return c.Run(ctx, "spark-submit", args...)
}

// Run runs one of Spark's commands, such as spark-sql, with --master yarn.
func (c *Client) Run(ctx context.Context, name string, args ...string) (Result, error) {
	cmd := c.Command(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	started := time.Now()
	err := cmd.Run()
	r := Result{Took: time.Since(started), Stdout: out.String(), Stderr: errs.String()}
	r.Application = applicationID.FindString(r.Stderr)
	if ctx.Err() != nil {
		return r, fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), ctx.Err())
	}
	if err != nil {
		return r, fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return r, nil
}

// Command is a command line for one of Spark's commands, with --master yarn. When ctx ends, it and its children are told to
// end; in client mode the driver is one of them.
func (c *Client) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	address := c.Address
	if address == "" {
		address = "127.0.0.1"
	}
	all := []string{"--master", "yarn", "--conf", "spark.driver.host=" + address}
	keys := make([]string, 0, len(c.Conf))
	for k := range c.Conf {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		all = append(all, "--conf", k+"="+c.Conf[k])
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.install.Home, "bin", name), append(all, args...)...)
	cmd.Env = append(os.Environ(), "SPARK_HOME="+c.install.Home, "JAVA_HOME="+c.install.Java, "HADOOP_CONF_DIR="+c.ConfDir,
		"PYTHONPATH="+c.install.Packages, "PYSPARK_PYTHON="+c.install.Python, "SPARK_LOCAL_IP="+address)
	if c.User != "" {
		cmd.Env = append(cmd.Env, "HADOOP_USER_NAME="+c.User)
	}
	cmd.Dir = c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// Example is a Python program that comes with Spark, such as pi.py.
func (in Install) Example(name string) string {
	return filepath.Join(in.Home, "examples", "src", "main", "python", name)
}

// Jar compiles Java sources against Spark's jars, in dir, and returns a jar of them.
func (in Install) Jar(ctx context.Context, dir string, sources ...string) (string, error) {
	classes := filepath.Join(dir, "classes")
	args := append([]string{"--release", "17", "-cp", filepath.Join(in.Home, "jars", "*"), "-d", classes}, sources...)
	if out, err := exec.CommandContext(ctx, in.javac, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %v: %w: %s", sources, err, out)
	}
	file := filepath.Join(dir, "app.jar")
	jar := filepath.Join(filepath.Dir(in.javac), "jar")
	if out, err := exec.CommandContext(ctx, jar, "--create", "--file", file, "-C", classes, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("make %s: %w: %s", file, err, out)
	}
	return file, nil
}
