package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command that --help lists says what it is for and shows how it is used.
func TestEveryCommandHasExamples(t *testing.T) {
	seen := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" || c.HasParent() && c.Parent().Name() == "completion" {
			return // cobra's own
		}
		seen++
		if c.Short == "" {
			t.Errorf("%s does not say what it is for", c.CommandPath())
		}
		lines := strings.Split(c.Example, "\n")
		for _, l := range lines {
			if strings.TrimSpace(l) != "" && !strings.HasPrefix(l, "  ") {
				t.Errorf("%s: example %q is not indented", c.CommandPath(), l)
			}
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s has no example of its own: %q", c.CommandPath(), c.Example)
		}
	}
	walk(newRoot())
	if seen < 18 {
		t.Errorf("%d commands", seen)
	}
}

// A daemon that is not ready says so, and why; it is healthy nevertheless.
func TestReadiness(t *testing.T) {
	var not error
	a, err := newAdmin("", func() error { return not })
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, text := get("/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d %s", code, text)
	}
	not = errors.New("no leader yet")
	if code, text := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "no leader yet") {
		t.Errorf("not ready: %d %s", code, text)
	}
	if code, text := get("/healthz"); code != http.StatusOK {
		t.Errorf("healthy: %d %s", code, text)
	}
	if code, _ := get("/"); code != http.StatusNotFound {
		t.Errorf("/: %d", code)
	}
}
