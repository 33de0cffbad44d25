// Command tiers runs the tiers of make test one after another, shows their output, and writes how long each took to
// build/results/test-times.json.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairway/integration/report"
)

// tier is one command of make test.
type tier struct {
	name  string
	limit time.Duration
	env   []string
	argv  []string
}

// What is tested against real engines: all that needs an HDFS, and in tiers of their own what runs Hadoop's and Spark's jobs.
const (
	hadoopPackage = "fairway/integration/yarnjobs"
	sparkPackage  = "fairway/integration/sparkjobs"
)

// integrationPackages are all packages of integration but those.
func integrationPackages() []string {
	out, err := exec.Command("go", "list", "./integration/...").Output()
	if err != nil {
		return []string{"./integration/..."} // go test will say what is wrong
	}
	return slices.DeleteFunc(strings.Fields(string(out)), func(p string) bool { return p == hadoopPackage || p == sparkPackage })
}

func gotest(args ...string) []string {
	return append([]string{"go", "tool", "gotestsum", "--format", "pkgname-and-test-fails", "--", "-count=1"}, args...)
}

var tiers = map[string][]tier{
	"spark":      {sparkTier},
	"long-spark": longSpark,
	"test": {
		{"lint", 10 * time.Minute, nil, []string{"make", "lint"}},
		{"unit", 15 * time.Minute, nil, gotest("-race", "-timeout=12m", "./agent/...", "./broker/...", "./adapters/...", "./frameworks/...", "./conf/...", "./cmd/...")},
		{"integration", 12 * time.Minute, []string{"FAIRWAY_INTEGRATION=1"}, gotest(append([]string{"-timeout=11m", "-p=1", "./adapters/..."}, integrationPackages()...)...)},
		{"hadoop", 25 * time.Minute, []string{"FAIRWAY_INTEGRATION=1"}, gotest("-timeout=24m", hadoopPackage)},
		sparkTier,
	},
	"long": append([]tier{
		{"long-unit", 30 * time.Minute, []string{"FAIRWAY_LONG=1"}, gotest("-timeout=28m", "./broker/...", "./agent/...", "./frameworks/...")},
		{"long-integration", 30 * time.Minute, []string{"FAIRWAY_LONG=1", "FAIRWAY_INTEGRATION=1"}, gotest(append([]string{"-timeout=28m", "-p=1"}, integrationPackages()...)...)},
		{"long-hadoop", 40 * time.Minute, []string{"FAIRWAY_LONG=1", "FAIRWAY_INTEGRATION=1"}, gotest("-timeout=38m", hadoopPackage)},
	}, longSpark...),
}

// sparkTier runs Spark's jobs; make test-spark runs it alone.
var sparkTier = tier{"spark", 22 * time.Minute, []string{"FAIRWAY_INTEGRATION=1"}, gotest("-timeout=20m", sparkPackage)}

// longSpark are all of Spark's tests, and those of make test with the newest Spark.
var longSpark = []tier{
	{"long-spark", 40 * time.Minute, []string{"FAIRWAY_LONG=1", "FAIRWAY_INTEGRATION=1"}, gotest("-timeout=38m", sparkPackage)},
	{"long-spark-4", 40 * time.Minute, []string{"FAIRWAY_INTEGRATION=1", "FAIRWAY_SPARK=4"}, gotest("-timeout=38m", sparkPackage)},
}

func main() {
	set := "test"
	if len(os.Args) > 1 {
		set = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, set); err != nil {
		fmt.Fprintln(os.Stderr, "tiers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, set string) error {
	list, ok := tiers[set]
	if !ok {
		return fmt.Errorf("no set of tiers is called %q; there are test, long, spark and long-spark", set)
	}
	times := map[string]float64{}
	var failed error
	for _, t := range list {
		fmt.Printf("=== tier %s: %v\n", t.name, t.argv)
		start := time.Now()
		tctx, cancel := context.WithTimeout(ctx, t.limit)
		c := exec.CommandContext(tctx, t.argv[0], t.argv[1:]...)
		c.Env = append(os.Environ(), t.env...)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
		c.WaitDelay = 20 * time.Second
		err := c.Run()
		cancel()
		times[t.name] = time.Since(start).Round(100 * time.Millisecond).Seconds()
		fmt.Printf("=== tier %s: %.1f s\n", t.name, times[t.name])
		if err != nil && failed == nil {
			failed = fmt.Errorf("tier %s: %w", t.name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := writeTimes(set, times); err != nil {
		return err
	}
	return failed
}

func writeTimes(set string, times map[string]float64) error {
	name := "test-times.json"
	if set != "test" {
		name = "test-times-" + set + ".json"
	}
	return report.Write(filepath.Join("build", "results", name), times)
}
