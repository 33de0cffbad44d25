package yarnjobs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	"fairway/integration/testbed"
)

// seams are where cmd/fairway/faultpoints.go is put between, by file of cmd/fairway: what stands there, and what replaces it.
var seams = map[string][2]string{
	"broker.go": {"core.Options{Journal: d.journal,", "core.Options{Journal: dyingJournal{d.journal},"},
	"yarn.go":   {`listen("client_port", y.ClientPort)`, `dyingListen(listen("client_port", y.ClientPort))`},
}

// buildDying builds a fairway whose broker kills itself where the file at FAIRWAY_FAULTPOINT says.
func buildDying(ctx context.Context, dir string) (string, error) {
	sources, err := filepath.Abs("../../cmd/fairway")
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, seam := range seams {
		from := filepath.Join(sources, file)
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), seam[0]); n != 1 {
			return "", fmt.Errorf("cmd/fairway/%s has %d times %q, want it once: say in seams where the fault points go now", file, n, seam[0])
		}
		replace[from] = filepath.Join(dir, file)
		if err := os.WriteFile(replace[from], []byte(strings.Replace(string(text), seam[0], seam[1], 1)), 0o644); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(at, overlay, 0o644); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "fairway")
	if out, err := exec.CommandContext(ctx, "go", "build", "-tags", "faultpoints", "-overlay", at, "-o", binary, "fairway/cmd/fairway").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with fault points: %w\n%s", err, out)
	}
	return binary, nil
}

// The broker is killed before a submission is written, after it, and after the reply, and started again at once: the
// unmodified client's job ends well, with its own retries and with short ones, and runs once.
func TestBrokerKilledAtSubmission(t *testing.T) {
	testbed.Long(t)
	dir, err := os.MkdirTemp(world.Dir, "faults-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // tasks of other accounts are started by this binary too
		t.Fatal(err)
	}
	dying, err := buildDying(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	armed := filepath.Join(dir, "armed")
	t.Setenv("FAIRWAY_FAULTPOINT", armed)
	ordinary := world.Binary
	world.Binary = dying
	r, err := startRig(t.Context(), "")
	world.Binary = ordinary
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	short := []string{
		"-Dyarn.resourcemanager.connect.retry-interval.ms=500", "-Dyarn.resourcemanager.connect.max-wait.ms=10000",
		"-Dipc.client.connect.max.retries=2", "-Dipc.client.connect.retry.interval=250",
	}
	known := map[string]bool{}
	for _, c := range []struct {
		point, retries string
		options        []string
	}{
		{"after-write", "short", short}, {"before-write", "short", short}, {"after-reply", "short", short},
		// Hadoop waits for 30 s between two tries by default.
		{"before-write", "default", nil}, {"after-write", "default", nil}, {"after-reply", "default", nil},
	} {
		t.Run(c.point+" "+c.retries, func(t *testing.T) {
			r.dieAtSubmission(t, armed, c.point, "die-"+c.point+"-"+c.retries, c.options, known)
		})
	}
}

// defaultPause is a little more than what Hadoop's client waits between two tries of the resource manager.
const defaultPause = 40 * time.Second

// dieAtSubmission submits one job, has the broker die at the point, and starts it again. known are the applications of
// before; the new one is added.
func (r *rig) dieAtSubmission(t *testing.T, armed, point, name string, options []string, known map[string]bool) {
	mapper, started, open := gate(t)
	if err := os.WriteFile(armed, []byte(point), 0o644); err != nil {
		t.Fatal(err)
	}
	pid := r.Broker().Pid()
	begun := time.Now()
	j := r.beginGated(t, testbed.WithAccount, name, 1, mapper, append(slices.Clip(options), "-Dmapreduce.job.maps=1", "-Dmapreduce.job.reduces=0")...)
	await(t, "the broker's death", 60*time.Second, func() bool { return syscall.Kill(pid, 0) != nil })
	died := time.Now()
	if err := r.StartBroker(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := dial(t, r.addresses["yarn.resourcemanager.address"], hadooprpc.ClientOptions{Protocol: clientProtocol, User: testbed.WithAccount})
	var metrics wire.GetClusterMetricsResponseProto
	if err := client.Call(t.Context(), "getClusterMetrics", &wire.GetClusterMetricsRequestProto{}, &metrics); err != nil {
		t.Fatal(err)
	}
	back := time.Since(died)
	if back > 5*time.Second {
		t.Errorf("the clients' port was served again after %v", back)
	}
	if options == nil {
		// The client hears of the restart only after its pause: its job is not to end before, for then, as on any YARN, only a
		// history server could tell it more.
		await(t, "the map", 2*time.Minute, func() bool { return started() > 0 })
		<-time.After(time.Until(died.Add(defaultPause)))
	}
	open()
	res := j.wait(t, r, 4*time.Minute)
	t.Logf("dead %v after the start, clients served again after %v, the job took %v", died.Sub(begun).Round(time.Millisecond), back.Round(time.Millisecond), res.Took.Round(time.Millisecond))
	checkLines(t, home(testbed.WithAccount, name+"-out"), 1)
	if n := started(); n != 1 {
		t.Errorf("%d attempts of one map were started", n)
	}
	var listed wire.GetApplicationsResponseProto
	if err := client.Call(t.Context(), "getApplications", &wire.GetApplicationsRequestProto{}, &listed); err != nil {
		t.Fatal(err)
	}
	var fresh []string
	for _, a := range listed.Applications {
		i, err := id.ApplicationFrom(a.ApplicationId)
		if err != nil {
			t.Fatal(err)
		}
		if known[i.String()] {
			continue
		}
		known[i.String()] = true
		fresh = append(fresh, i.String())
		var attempts wire.GetApplicationAttemptsResponseProto
		if err := client.Call(t.Context(), "getApplicationAttempts", &wire.GetApplicationAttemptsRequestProto{ApplicationId: a.ApplicationId}, &attempts); err != nil {
			t.Fatal(err)
		}
		if n := len(attempts.ApplicationAttempts); n != 1 {
			t.Errorf("%s had %d attempts", i, n)
		}
	}
	if len(fresh) != 1 || fresh[0] != res.Application {
		t.Errorf("there is %v of the job, whose client says %s", fresh, res.Application)
	}
}
