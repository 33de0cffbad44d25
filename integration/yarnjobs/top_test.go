package yarnjobs

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway/integration/testbed"
)

// screen collects what a terminal shows.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// "yarn top" draws the cluster on a terminal until q is pressed.
func TestTop(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	top, err := world.rig.client(testbed.WithAccount).Command(ctx, cliPackage+"TopCLI", "-delay", "1")
	if err != nil {
		t.Fatal(err)
	}
	quoted := make([]string, len(top.Args))
	for i, a := range top.Args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	cmd := exec.CommandContext(ctx, "script", "-qefc", strings.Join(quoted, " "), "/dev/null") // gives it a pseudo-terminal
	cmd.Env, cmd.WaitDelay = append(top.Env, "TERM=xterm"), 5*time.Second
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var s screen
	cmd.Stdout, cmd.Stderr = &s, &s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "a picture of the cluster", 60*time.Second, func() bool {
		return strings.Contains(s.String(), "NodeManager(s): 3 total, 3 active") && strings.Contains(s.String(), "APPLICATIONID")
	})
	if _, err := io.WriteString(keys, "q\n"); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("yarn top: %v\n%s", err, s.String())
	}
	if strings.Contains(s.String(), "Exception") {
		t.Errorf("yarn top shows\n%s", s.String())
	}
}
