package nodemanager

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"fairway/adapters/yarn/nodemanager/launch"
)

// inherited are the variables that containers get from the node: yarn.nodemanager.env-whitelist.
var inherited = []string{"JAVA_HOME", "HADOOP_COMMON_HOME", "HADOOP_HDFS_HOME", "HADOOP_CONF_DIR", "CLASSPATH_PREPEND_DISTCACHE",
	"HADOOP_YARN_HOME", "HADOOP_HOME", "HADOOP_MAPRED_HOME", "PATH", "LANG", "TZ"}

// Found is what containers on this host get, and where each came from.
type Found struct {
	Env  map[string]string
	From map[string]string // by name: "yarn.env", "environment", "java on PATH", ...
	Java int               // feature release of JAVA_HOME; 0: unknown
}

// find completes what is configured from the agent's environment, the java and hadoop on PATH and the usual places of an
// unpacked Hadoop.
func find(configured map[string]string, getenv func(string) string, look func(string) string, glob func(string) []string) Found {
	f := Found{Env: map[string]string{}, From: map[string]string{}}
	put := func(name, value, from string) {
		if f.Env[name] == "" && value != "" {
			f.Env[name], f.From[name] = value, from
		}
	}
	for k, v := range configured {
		put(k, v, "yarn.env")
	}
	for _, k := range inherited {
		put(k, getenv(k), "environment")
	}
	if java := look("java"); java != "" {
		put("JAVA_HOME", filepath.Dir(filepath.Dir(java)), "java on PATH")
	}
	if hadoop := look("hadoop"); hadoop != "" {
		put("HADOOP_HOME", filepath.Dir(filepath.Dir(hadoop)), "hadoop on PATH")
	}
	for _, pattern := range []string{"/opt/hadoop", "/usr/local/hadoop", "/usr/lib/hadoop", "/opt/hadoop-*", "/usr/local/hadoop-*"} {
		places := glob(pattern + "/share/hadoop/mapreduce")
		slices.Sort(places)
		for _, p := range slices.Backward(places) {
			put("HADOOP_HOME", filepath.Dir(filepath.Dir(filepath.Dir(p))), "an unpacked Hadoop")
		}
	}
	home, from := f.Env["HADOOP_HOME"], f.From["HADOOP_HOME"]
	if home == "" {
		home, from = f.Env["HADOOP_COMMON_HOME"], "HADOOP_COMMON_HOME"
	}
	if home != "" {
		for _, k := range []string{"HADOOP_HOME", "HADOOP_COMMON_HOME", "HADOOP_HDFS_HOME", "HADOOP_YARN_HOME", "HADOOP_MAPRED_HOME"} {
			put(k, home, from)
		}
		for _, p := range glob(filepath.Join(home, "etc/hadoop")) {
			put("HADOOP_CONF_DIR", p, from)
		}
	}
	for _, p := range glob("/etc/hadoop/conf") {
		put("HADOOP_CONF_DIR", p, "/etc/hadoop/conf")
	}
	put("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "default")
	if home := f.Env["JAVA_HOME"]; home != "" {
		f.Java = javaRelease(home)
	}
	return f
}

var releaseLine = regexp.MustCompile(`(?m)^JAVA_VERSION="(?:1\.)?(\d+)`)

// javaRelease reads the feature release from the file that every JDK has.
func javaRelease(home string) int {
	b, err := os.ReadFile(filepath.Join(home, "release"))
	if err != nil || len(b) > 64<<10 {
		return 0
	}
	m := releaseLine.FindSubmatch(b)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// onPath is the program's file behind all links, empty if there is none.
func onPath(name string) string {
	p, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	if p, err = filepath.Abs(p); err == nil {
		p, err = filepath.EvalSymlinks(p)
	}
	if err != nil {
		return ""
	}
	return p
}

func matches(pattern string) []string {
	l, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	return l
}

// variables are those that containers inherit, in order.
func (f Found) variables() []launch.Variable {
	var l []launch.Variable
	for _, k := range inherited {
		if v := f.Env[k]; v != "" {
			l = append(l, launch.Variable{Name: k, Value: v})
		}
	}
	further := make([]string, 0, len(f.Env))
	for k := range f.Env {
		if !slices.Contains(inherited, k) {
			further = append(further, k)
		}
	}
	slices.Sort(further)
	for _, k := range further {
		l = append(l, launch.Variable{Name: k, Value: f.Env[k]})
	}
	return l
}
