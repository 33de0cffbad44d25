package yarnjobs

import (
	"crypto/sha1"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/integration/testbed"
)

// What runs in the containers are Apache Hadoop's own bytes: every jar on every container's class path has the checksum
// that Maven Central gave for it, and no option or command was changed on the way.
func TestSameClientBytes(t *testing.T) {
	sums := mavenSums(t)
	r := world.rig
	m, started, open := gate(t)
	j := r.beginGated(t, testbed.WithAccount, "bytes", 2, m)
	await(t, "the maps' start", 2*time.Minute, func() bool { return started() >= 2 })
	checked := map[string]bool{}
	containers := 0
	for _, pid := range processes("CONTAINER_ID=", r.Dir) {
		line := read0(t, pid, "cmdline")
		if len(line) == 0 || filepath.Base(line[0]) != "java" {
			continue
		}
		containers++
		env := map[string]string{}
		for _, e := range read0(t, pid, "environ") {
			k, v, _ := strings.Cut(e, "=")
			env[k] = v
		}
		for _, k := range []string{"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"} {
			if v, ok := env[k]; ok {
				t.Errorf("%s=%s is in a container's environment", k, v)
			}
		}
		for _, a := range line {
			if strings.Contains(strings.ToLower(a), "fairway.") || strings.HasPrefix(a, "-javaagent") || strings.HasPrefix(a, "-Xshare") {
				t.Errorf("a container's command has %q: %q", a, line)
			}
		}
		for _, entry := range strings.Split(env["CLASSPATH"], ":") {
			var jars []string
			if strings.HasSuffix(entry, "*") {
				jars, _ = filepath.Glob(strings.TrimSuffix(entry, "*") + "*.jar")
			} else if strings.HasSuffix(entry, ".jar") {
				jars = []string{entry}
			}
			for _, jar := range jars {
				if name := filepath.Base(jar); !checked[jar] && name != "job.jar" { // the user's own
					checked[jar] = true
					if got := sha1Of(t, jar); !sums[name][got] {
						t.Errorf("%s is not what Maven has: %s", jar, got)
					}
				}
			}
		}
	}
	if containers < 3 || len(checked) < 100 {
		t.Errorf("looked at %d containers and %d jars", containers, len(checked))
	}
	open()
	j.wait(t, r, 2*time.Minute)
}

// mavenSums are the checksums that came with the artifacts, by file name.
func mavenSums(t *testing.T) map[string]map[string]bool {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]map[string]bool{}
	err = filepath.WalkDir(filepath.Join(home, ".m2", "repository"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".jar.sha1") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(path), ".sha1")
		if sums[name] == nil {
			sums[name] = map[string]bool{}
		}
		if f := strings.Fields(string(b)); len(f) > 0 {
			sums[name][f[0]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

func sha1Of(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha1.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// read0 reads a file of /proc/pid that has a zero byte after each entry.
func read0(t *testing.T, pid int, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		return nil // it has ended
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
}
