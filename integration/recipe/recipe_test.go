package recipe

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/integration/cluster"
)

// program is the README's Go program: the first block of Go after its mark.
func program(t *testing.T) string {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- integration/recipe builds and runs this very program. -->\n```go\n")
	code, _, ok2 := strings.Cut(rest, "\n```\n")
	if !ok || !ok2 {
		t.Fatal("the README's program has lost its mark")
	}
	return code
}

func TestReadmeProgram(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "longwords")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"go", "mod", "init", "longwords"},
		{"go", "mod", "edit", "-require", "fairway@v0.0.0", "-replace", "fairway=" + root},
		{"go", "mod", "tidy"},
		{"go", "build"},
	} {
		c := exec.CommandContext(ctx, argv[0], argv[1:]...)
		c.Dir, c.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	binary, err := cluster.Build(ctx, filepath.Join(t.TempDir(), "fairway"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(ctx, cluster.Options{Binary: binary, Agents: []cluster.Agent{{Host: "agent1", CPU: "2", Memory: "4GiB"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	in, out := filepath.Join(dir, "in.txt"), filepath.Join(c.Dir, "out")
	if err := os.WriteFile(in, []byte("a elephant crocodile\nelephant bee\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	job := exec.CommandContext(ctx, filepath.Join(dir, "longwords"), "-input", in, "-output", out)
	job.Env = append(os.Environ(), "FAIRWAY_BROKER=unix://"+c.Socket)
	if text, err := job.CombinedOutput(); err != nil {
		t.Fatalf("longwords: %v\n%s\n%s", err, text, c.Logs())
	}
	got, err := os.ReadFile(filepath.Join(out, "part-r-00000"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "crocodile\t1\nelephant\t2\n"; string(got) != want {
		t.Errorf("output = %q, want %q", got, want)
	}
}
