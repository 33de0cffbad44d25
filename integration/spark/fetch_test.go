package spark_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairway/integration/spark"
)

// tools makes a PATH with nothing but the scripts that are written into it.
func tools(t *testing.T) (script func(name, text string)) {
	t.Helper()
	bin, err := os.MkdirTemp("/tmp", "fairway-tools-") // which every account may enter, as t.TempDir may not be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(bin) })
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Setenv("JAVA_HOME", "")
	script = func(name, text string) {
		t.Helper()
		file := filepath.Join(bin, name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script("javac", "exit 0")
	script("java", `echo 'openjdk version "17.0.1"' >&2`)
	return script
}

func TestFetchSaysWhatIsMissing(t *testing.T) {
	ctx := context.Background()
	if _, err := spark.Fetch(ctx, t.TempDir(), "2.4.8", nil); err == nil || !strings.Contains(err.Error(), "no checksum of Spark 2.4.8") {
		t.Error(err)
	}
	script := tools(t)
	for _, python := range []string{"echo 'Python 3.10.1'", "exit 1", `case "$1" in --version) echo "Python 3.11.2";; *) exit 1;; esac`} {
		script("python3", python) // too old, broken, without pip
		if _, err := spark.Fetch(ctx, t.TempDir(), spark.Version, nil); !errors.Is(err, spark.ErrNoPython) {
			t.Errorf("with %q: %v", python, err)
		}
	}
}

// What pip refuses leaves nothing; what it installs is there for the next call, which does not run it.
func TestFetchKeepsWhatIsWhole(t *testing.T) {
	script := tools(t)
	cache := t.TempDir()
	pip := func(install string) {
		script("python3", `case "$*" in --version) echo "Python 3.11.2"; exit;; *--version) exit;; esac
`+install)
	}
	pip("echo 'Collecting pyspark'; echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES'; exit 1")
	_, err := spark.Fetch(t.Context(), cache, spark.Version, nil)
	if err == nil || !strings.Contains(err.Error(), "DO NOT MATCH THE HASHES") {
		t.Errorf("a wrong checksum: %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(cache, "*", "*"))
	if len(left) != 1 || filepath.Base(left[0]) != "lock" {
		t.Errorf("a failed fetch left %v", left)
	}
	// A stand-in for pip: it makes the folder after --target, and keeps the requirements that it was given in it.
	pip(`while [ $# -gt 0 ]; do case "$1" in --target) target=$2;; -r) list=$2;; esac; shift; done
/bin/mkdir -p $target/pyspark && /bin/cp $list $target/asked`)
	in, err := spark.Fetch(t.Context(), cache, spark.Version, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := os.ReadFile(filepath.Join(filepath.Dir(in.Home), "asked"))
	if err != nil || !strings.Contains(string(asked), "pyspark=="+spark.Version+" --hash=sha256:") {
		t.Errorf("pip was asked for %q, %v", asked, err)
	}
	pip("exit 1")
	if again, err := spark.Fetch(t.Context(), cache, spark.Version, nil); err != nil || again != in {
		t.Errorf("the second call: %+v, %v", again, err)
	}
}
