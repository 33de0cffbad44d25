package nodemanager

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	jdk := t.TempDir()
	if err := os.WriteFile(filepath.Join(jdk, "release"), []byte("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"17.0.13\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	none := func(string) string { return "" }
	nothing := func(string) []string { return nil }
	from := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	for name, c := range map[string]struct {
		configured  map[string]string
		environment map[string]string
		path        map[string]string
		unpacked    map[string][]string
		want        map[string]string // name: value (from)
		java        int
	}{
		"configured": {configured: map[string]string{"JAVA_HOME": jdk, "MINE": "x"}, environment: map[string]string{"JAVA_HOME": "/no"},
			want: map[string]string{"JAVA_HOME": jdk + " (yarn.env)", "MINE": "x (yarn.env)"}, java: 17},
		"environment": {environment: map[string]string{"JAVA_HOME": "/j", "HADOOP_HOME": "/h", "HADOOP_CONF_DIR": "/c"}, path: map[string]string{"java": "/other/bin/java"},
			want: map[string]string{"JAVA_HOME": "/j (environment)", "HADOOP_MAPRED_HOME": "/h (environment)", "HADOOP_YARN_HOME": "/h (environment)", "HADOOP_CONF_DIR": "/c (environment)"}},
		"on PATH": {path: map[string]string{"java": jdk + "/bin/java", "hadoop": "/opt/h/bin/hadoop"}, unpacked: map[string][]string{"/opt/h/etc/hadoop": {"/opt/h/etc/hadoop"}},
			want: map[string]string{"JAVA_HOME": jdk + " (java on PATH)", "HADOOP_HOME": "/opt/h (hadoop on PATH)", "HADOOP_CONF_DIR": "/opt/h/etc/hadoop (hadoop on PATH)"}, java: 17},
		"unpacked": {unpacked: map[string][]string{"/opt/hadoop-*/share/hadoop/mapreduce": {"/opt/hadoop-3.3.6/share/hadoop/mapreduce", "/opt/hadoop-3.4.2/share/hadoop/mapreduce"}},
			want: map[string]string{"HADOOP_COMMON_HOME": "/opt/hadoop-3.4.2 (an unpacked Hadoop)", "JAVA_HOME": " ()"}},
		"nothing": {want: map[string]string{"JAVA_HOME": " ()", "HADOOP_HOME": " ()", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin (default)"}},
	} {
		look, glob := none, nothing
		if c.path != nil {
			look = from(c.path)
		}
		if c.unpacked != nil {
			glob = func(p string) []string { return c.unpacked[p] }
		}
		f := find(c.configured, from(c.environment), look, glob)
		for k, want := range c.want {
			if got := fmt.Sprintf("%s (%s)", f.Env[k], f.From[k]); got != want {
				t.Errorf("%s: %s is %s, want %s", name, k, got, want)
			}
		}
		if f.Java != c.java {
			t.Errorf("%s: java %d", name, f.Java)
		}
	}
}

func TestRefusalsAreLoggedOnce(t *testing.T) {
	var r refusals
	now := time.Unix(1000, 0)
	if !r.first("a", now) || r.first("a", now.Add(time.Second)) || !r.first("b", now) || !r.first("a", now.Add(time.Hour)) {
		t.Error("not once a minute for each")
	}
	for i := range 3 * maxRefusals {
		r.first(fmt.Sprint(i), now)
	}
	if len(r.seen) > maxRefusals {
		t.Errorf("%d kept", len(r.seen))
	}
}
