package yarnlogs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/tfile"
	"fairway/integration/hadoop"
)

const (
	owner       = "alice"
	application = "application_1700000000000_12007"
	node        = "node1.example.com:45454"
)

var rights = map[string]string{"VIEW_APP": "ann,carl ops", "MODIFY_APP": " "}

// logs of containers, by file: short, none, several chunks, exactly a chunk, lengths around the size of a copy.
func logs() map[string]map[string]string {
	all := map[string]map[string]string{}
	for i := range 12 {
		c := fmt.Sprintf("container_1700000000000_12007_01_%06d", i+1)
		all[c] = map[string]string{
			"stdout":               strings.Repeat(fmt.Sprintf("line of %d\n", i), i*3000),
			"stderr":               "",
			"syslog":               strings.Repeat("s", 65535+i-6),
			"prelaunch.out":        "Setting up env variables\n",
			"directory.info":       strings.Repeat("d", 100*i),
			"syslog.shuffle\u00e9": "\u20ac\n",
		}
		switch i {
		case 3:
			all[c]["big"] = strings.Repeat("0123456789abcdef", 3<<16+7)
		case 5:
			all[c]["chunk"] = strings.Repeat("x", 1<<20)
		}
	}
	return all
}

func TestUsualVersion(t *testing.T) {
	if os.Getenv("FAIRWAY_INTEGRATION") != "1" {
		t.Skip("FAIRWAY_INTEGRATION is not 1: starts a JVM")
	}
	in, err := hadoop.Fetch(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	check(t, in)
}

func TestOtherVersions(t *testing.T) {
	if os.Getenv("FAIRWAY_INTEGRATION") != "1" || os.Getenv("FAIRWAY_LONG") != "1" {
		t.Skip("FAIRWAY_INTEGRATION and FAIRWAY_LONG are not both 1: fetches two more Hadoops")
	}
	for _, version := range []string{"3.3.6", "3.5.0"} {
		t.Run(version, func(t *testing.T) {
			in, err := hadoop.FetchClient(t.Context(), "", version, nil)
			if err != nil {
				t.Fatal(err)
			}
			check(t, in)
		})
	}
}

// check runs Hadoop's classes once, on the same logs that ours are written from.
func check(t *testing.T, in hadoop.Install) {
	dir := t.TempDir()
	root, local := filepath.Join(dir, "remote"), filepath.Join(dir, "local")
	all := logs()
	for c, files := range all {
		d := filepath.Join(local, application, c)
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	app, err := id.ParseApplication(application)
	if err != nil {
		t.Fatal(err)
	}
	n, err := id.ParseNode(node)
	if err != nil {
		t.Fatal(err)
	}
	mine := tfile.Folders{Root: root, Suffix: "logs"}.File(owner, app, n)
	if err := os.MkdirAll(filepath.Dir(mine), 0o755); err != nil {
		t.Fatal(err)
	}
	ours := write(t, filepath.Join(local, application), all)
	if err := os.WriteFile(mine, ours, 0o644); err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("testdata/Logs.java")
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(dir, "theirs")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := in.Client(dir, owner)
	client.JVM = []string{"-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", "-XX:TieredStopAtLevel=1"}
	out, err := client.Java(ctx, source, root, owner, application, node, local, theirs, mine)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := map[string]bool{}
	for line := range strings.Lines(out) {
		said[strings.TrimRight(line, "\n")] = true
	}
	want := []string{"PATH " + mine, "OWNER " + owner, "VIEW ann,carl ops", "MODIFY [ ]"}
	for c, files := range all {
		for name, text := range files {
			want = append(want, fmt.Sprintf("FILE %s %s %d %d", c, name, len(text), javaHash(text)))
		}
	}
	for _, w := range want {
		if !said[w] {
			t.Errorf("Hadoop does not say %q", w)
		}
	}
	for c := range all {
		found := false
		for line := range said {
			found = found || strings.HasPrefix(line, "CLI "+c+" 0 ") && strings.HasSuffix(line, " true")
		}
		if !found {
			t.Errorf("the command line does not find the logs of %s", c)
		}
	}
	if t.Failed() {
		t.Logf("Hadoop says\n%.5000s", out)
	}
	b, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, ours) {
		at := 0
		for at < len(b) && at < len(ours) && b[at] == ours[at] {
			at++
		}
		t.Errorf("Hadoop's file has %d bytes, ours %d; they differ from byte %d", len(b), len(ours), at)
	}
	compare(t, b, all)
}

// write writes all logs as an agent does.
func write(t *testing.T, dir string, all map[string]map[string]string) []byte {
	var b bytes.Buffer
	w, err := tfile.NewLogWriter(&b, owner, rights)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(all) {
		c := fmt.Sprintf("container_1700000000000_12007_01_%06d", i+1)
		var files []tfile.File
		for name := range all[c] {
			files = append(files, tfile.File{Name: name, Open: func() (io.ReadCloser, int64, error) {
				f, err := os.Open(filepath.Join(dir, c, name))
				if err != nil {
					return nil, 0, err
				}
				info, err := f.Stat()
				return f, info.Size(), err
			}})
		}
		if left, err := w.Container(c, files); left != nil || err != nil {
			t.Fatal(left, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compare reads a file that Hadoop wrote.
func compare(t *testing.T, b []byte, all map[string]map[string]string) {
	l, err := tfile.ReadLogs(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if l.Owner != owner || l.ACLs["VIEW_APP"] != rights["VIEW_APP"] || l.ACLs["MODIFY_APP"] != rights["MODIFY_APP"] {
		t.Errorf("owner %q, rights %v", l.Owner, l.ACLs)
	}
	containers := 0
	for {
		c, err := l.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		containers++
		files := 0
		for {
			name, _, content, err := l.NextFile()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			files++
			if text, err := io.ReadAll(content); err != nil || string(text) != all[c][name] {
				t.Errorf("%s %s: %d bytes, %v", c, name, len(text), err)
			}
		}
		if files != len(all[c]) {
			t.Errorf("%s has %d logs, want %d", c, files, len(all[c]))
		}
	}
	if containers != len(all) {
		t.Errorf("%d containers, want %d", containers, len(all))
	}
}

// javaHash is what Logs.java calls hash.
func javaHash(s string) int32 {
	h := int32(1)
	for i := range len(s) {
		h = 31*h + int32(int8(s[i]))
	}
	return h
}
