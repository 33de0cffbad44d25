package logs

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/tfile"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

// Logs of an application that is over are read from the file that the node wrote, by those who may.
func TestStoredPages(t *testing.T) {
	base := t.TempDir()
	folders := tfile.Folders{Root: base, Suffix: "logs"}
	over := id.ApplicationID{Timestamp: 1600000000000, Number: 1}
	first, second := id.NewContainer(id.AttemptID{Application: over, Number: 1}, 0, 1), id.NewContainer(id.AttemptID{Application: over, Number: 1}, 0, 2)
	write := func(text []byte) {
		t.Helper()
		at := folders.File("alice", over, testNode)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	l, err := tfile.NewLogWriter(&b, "alice", map[string]string{"VIEW_APP": "bob"})
	if err != nil {
		t.Fatal(err)
	}
	text := func(name, s string) tfile.File {
		return tfile.File{Name: name, Open: func() (io.ReadCloser, int64, error) { return io.NopCloser(strings.NewReader(s)), int64(len(s)), nil }}
	}
	for c, files := range map[id.ContainerID][]tfile.File{first: {text("stdout", "of the first")}, second: {text("stderr", strings.Repeat("x", 5000)+"<b>\n"), text("stdout", "of the second")}} {
		if left, err := l.Container(c.String(), files); left != nil || err != nil {
			t.Fatal(left, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	write(b.Bytes())
	fs := local.New()
	o := Options{Root: t.TempDir(), Folders: tfile.Folders{Root: "cluster:/logs", Suffix: "logs"}, Files: func(_ context.Context, url, user string) (storage.FS, string, error) {
		if url != "cluster:/logs" || user == "" {
			t.Errorf("files of %s for %q", url, user)
		}
		return fs, base, nil
	}}
	h := NewHandler(fakeNode{"RUNNING"}, o)
	at := "/node/containerlogs/" + second.String() + "/alice"
	holds := func(target string, code int, words ...string) {
		t.Helper()
		got, body, _ := get(h, target)
		for _, w := range words {
			if !strings.Contains(body, w) {
				t.Errorf("%s: no %q in %.300q", target, w, body)
			}
		}
		if got != code {
			t.Errorf("%s: %d %.300s", target, got, body)
		}
	}
	const unknown = "Unknown container."
	holds(at, 200, `/alice/stderr/?start=-4096">stderr : Total file length is 5004 bytes.`, "stdout : Total file length is 13 bytes.")
	holds(at+"/stderr?start=-4096", 200, "Showing 4096 bytes.", "x&lt;b&gt;\n</pre>")
	holds(at+"/stderr?start=4998&end=5001", 200, "<pre>xx&lt;</pre>")
	holds(at+"/stdout", 200, "<pre>of the second</pre>")
	holds("/node/containerlogs/"+first.String()+"/alice/stdout", 200, "<pre>of the first</pre>")
	holds(at+"/stderr?start=x", 400)
	holds(at+"/nothing", 404, unknown)
	holds(strings.Replace(at, "000002", "000009", 1), 404, unknown)
	for _, user := range []string{"bob", "..", "%2e%2e", "a%2Fb", ".hidden"} {
		if code, body, _ := get(h, strings.Replace(at, "alice", user, 1)); code == 200 || strings.Contains(body, base) {
			t.Errorf("%s: %d %.200s", user, code, body)
		}
	}
	o.ACLs = true
	h = NewHandler(fakeNode{"RUNNING"}, o)
	holds(at+"/stdout?user.name=bob", 200, "of the second")
	holds(at+"/stdout?user.name=eve", 403, "not authorized")
	holds(at+"/stdout", 403)
	for _, n := range []int{0, 7, b.Len() / 2, b.Len() - 3} { // cut off
		write(b.Bytes()[:n])
		if code, body, _ := get(h, at+"/stdout?user.name=alice"); code != 404 || strings.Contains(body, base) {
			t.Errorf("%d bytes: %d %.200s", n, code, body)
		}
	}
}
