package hadoop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Client runs Hadoop's own commands against one cluster, each in a JVM of its own, as its shell scripts do.
type Client struct {
	ConfDir string   // HADOOP_CONF_DIR
	User    string   // HADOOP_USER_NAME; "": the account of this process
	Dir     string   // working folder; "": this process's
	JVM     []string // more arguments for the JVM

	install Install
	home    string // HADOOP_*_HOME
}

// Client makes a client of a cluster by its configuration folder.
func (in Install) Client(confDir, user string) *Client {
	return &Client{ConfDir: confDir, User: user, install: in, home: confDir}
}

// Java runs a class and returns all that it wrote. Arguments before the class go to the JVM.
func (c *Client) Java(ctx context.Context, args ...string) (string, error) {
	cmd, err := c.Command(ctx, args...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Command is a command line for a class.
func (c *Client) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	in := c.install
	in.helper = "" // Hadoop's own jars and nothing else
	classPath, err := in.classPath(c.ConfDir)
	if err != nil {
		return nil, err
	}
	base := append([]string{"--add-opens=java.base/java.lang=ALL-UNNAMED", "-Djava.net.preferIPv4Stack=true"}, c.JVM...)
	cmd := exec.CommandContext(ctx, c.install.java, append(append(base, "-cp", classPath), args...)...)
	cmd.Env = append(os.Environ(), "JAVA_HOME="+c.install.javaHome(), "HADOOP_CONF_DIR="+c.ConfDir,
		"HADOOP_COMMON_HOME="+c.home, "HADOOP_HDFS_HOME="+c.home, "HADOOP_YARN_HOME="+c.home, "HADOOP_MAPRED_HOME="+c.home)
	if c.User != "" {
		cmd.Env = append(cmd.Env, "HADOOP_USER_NAME="+c.User)
	}
	cmd.Dir = c.Dir
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// RunJob does what "hadoop jar JAR ARGS..." does and returns when the job has ended. When ctx ends it kills the job.
func (c *Client) RunJob(ctx context.Context, jar string, args ...string) (JobResult, error) {
	started := time.Now()
	out, err := c.Java(ctx, append([]string{"-Dfairway.log.level=INFO", "org.apache.hadoop.util.RunJar", jar}, args...)...)
	result := JobResult{Took: time.Since(started), Output: out, Counters: make(map[string]int64), Application: applicationID.FindString(out)}
	for _, m := range counterLine.FindAllStringSubmatch(out, -1) {
		if n, err := strconv.ParseInt(m[2], 10, 64); err == nil {
			result.Counters[m[1]] = n
		}
	}
	if err == nil {
		return result, nil
	}
	if ctx.Err() != nil {
		if result.Application != "" {
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
			defer cancel()
			_, _ = c.Java(late, "org.apache.hadoop.yarn.client.cli.ApplicationCLI", "application", "-kill", result.Application)
		}
		return result, ctx.Err()
	}
	return result, fmt.Errorf("hadoop jar %s %s: %w: %s", filepath.Base(jar), strings.Join(args, " "), err, jobError([]byte(out)))
}

// ClientConf writes the configuration folder of a client of a Fairway cluster: where the file system and the resource
// manager are, and where the nodes have Hadoop's jars, as on any cluster. more goes to all of it.
func (in Install) ClientConf(dir string, h *HDFS, more map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	classPath := filepath.Join(in.Lib, "*")
	yarn := map[string]string{"yarn.application.classpath": classPath, "yarn.log-aggregation-enable": "true"}
	mapred := map[string]string{
		"mapreduce.framework.name": "yarn", "mapreduce.application.classpath": classPath,
		"yarn.app.mapreduce.am.staging-dir": "/tmp/hadoop-yarn/staging",
	}
	for k, v := range more {
		yarn[k], mapred[k] = v, v
	}
	if err := writeLog4j(dir); err != nil {
		return err
	}
	for file, conf := range map[string]map[string]string{
		"core-site.xml": {"fs.defaultFS": h.URL(), "hadoop.tmp.dir": filepath.Join(dir, "tmp")},
		"hdfs-site.xml": h.conf, "yarn-site.xml": yarn, "mapred-site.xml": mapred,
	} {
		if err := writeConf(filepath.Join(dir, file), conf); err != nil {
			return err
		}
	}
	return nil
}

// writeLog4j writes how clients log: on stderr, warnings unless told otherwise.
func writeLog4j(dir string) error {
	text, err := javaSources.ReadFile("java/log4j.properties")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "log4j.properties"), text, 0o644)
}
