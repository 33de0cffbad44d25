package heartbeat

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// A real broker with few masters for a short time; FAIRWAY_MASTERS and FAIRWAY_SECONDS make it the bar's size, FAIRWAY_BINARY
// names a binary that is built already.
func TestOnFairway(t *testing.T) {
	if os.Getenv("FAIRWAY_INTEGRATION") != "1" {
		t.Skip("starts a cluster; set FAIRWAY_INTEGRATION=1")
	}
	masters, seconds := 100, 3
	for name, v := range map[string]*int{"FAIRWAY_MASTERS": &masters, "FAIRWAY_SECONDS": &seconds} {
		if s := os.Getenv(name); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(name, err)
			}
			*v = n
		}
	}
	binary := os.Getenv("FAIRWAY_BINARY")
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "fairway")
		if out, err := exec.Command("go", "build", "-o", binary, "fairway/cmd/fairway").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := OnFairway(ctx, binary, masters, time.Duration(seconds)*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Cores >= MaxCores || r.Containers < r.Asks*9/10 {
		t.Errorf("%+v", r)
	}
}
