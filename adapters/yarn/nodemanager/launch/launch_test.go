package launch

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"1><LOG_DIR>/stdout":     "1>/logs/c/stdout",
		"{{PWD}}<CPS>{{PWD}}/*":  "$PWD:$PWD/*",
		"{{JAVA_HOME}}/bin/java": "$JAVA_HOME/bin/java",
		"java <ADD_OPENS> X":     "java " + addOpens + " X",
		"plain $HOME":            "plain $HOME",
		"":                       "",
		"a{{b":                   "a$b",
		"{{{A}}}":                "${A}",
	} {
		if got := Expand(in, "/logs/c", 17); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := Expand("java <ADD_OPENS> X", "", 11); got != "java  X" {
		t.Errorf("%q", got)
	}
}

func TestOrder(t *testing.T) {
	got := order(map[string]string{"A": "$B/${C:-x}", "B": "$D", "C": "1", "D": "\\$A", "E": "$NOT", "X": "$Y", "Y": "$X"})
	if want := []string{"D", "B", "C", "A", "E", "Y", "X"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A script is really executed: what the shell makes of it is what counts.
func TestScriptRuns(t *testing.T) {
	dir := t.TempDir()
	s := &Script{
		Inherited: []Variable{{"JAVA_HOME", "/jdk"}, {"HADOOP_HOME", "/hadoop"}, {"LANG", "C"}},
		Node:      []Variable{{"CONTAINER_ID", "container_1"}, {"PWD", dir}, {"JVM_PID", "$$"}},
		Said:      map[string]string{"CLASSPATH": "$PWD:$JAVA_HOME/lib/*:$MINE", "MINE": "a b", "JAVA_HOME": "/other", "QUOTED": "say \\\"hi\\\"", "CONTAINER_ID": "forged"},
		Command:   []string{`echo`, `\"$CLASSPATH\"`, `\"$QUOTED\"`, "$CONTAINER_ID", "$HADOOP_HOME", "1>" + dir + "/stdout", "2>" + dir + "/stderr", ";", "exit 7"},
		LogDir:    dir,
	}
	script, err := s.Bash()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "launch_container.sh")
	if err := os.WriteFile(file, script, 0o700); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/bin/bash", file)
	c.Dir, c.Env = dir, []string{"PATH=/usr/bin:/bin", "HADOOP_HOME=/set"}
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 || len(out) > 0 {
		t.Fatalf("%v, %s", err, out)
	}
	got, _ := os.ReadFile(filepath.Join(dir, "stdout"))
	if want := dir + ":/other/lib/*:a b say hi container_1 /set\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	for name, want := range map[string]string{"prelaunch.out": "Setting up env variables\nLaunching container\n", "prelaunch.err": ""} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestScriptRefused(t *testing.T) {
	if _, err := (&Script{}).Bash(); !errors.Is(err, ErrCommand) {
		t.Error(err)
	}
	if _, err := (&Script{Command: []string{"a\x00b"}}).Bash(); !errors.Is(err, ErrZero) {
		t.Error(err)
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("{{PWD}}<CPS><LOG_DIR>/x <ADD_OPENS>", "$A${B}", "B")
	f.Add("{{{{}}}}", "\\$", "_")
	f.Fuzz(func(t *testing.T, s, value, name string) {
		if got := Expand(s, "", 0); len(got) > len(s) {
			t.Errorf("%q became %q", s, got)
		}
		vars := map[string]string{name: value, "A": s, "B": value + s}
		if got := order(vars); len(got) != len(vars) {
			t.Errorf("%v of %v", got, vars)
		}
		b, err := (&Script{Said: vars, Command: []string{s}}).Bash()
		if err == nil && !strings.HasPrefix(string(b), "#!/bin/bash\n") {
			t.Errorf("%q", b)
		}
	})
}
