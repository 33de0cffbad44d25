package journal

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"fairway/broker/state"
)

const childVariable = "FAIRWAY_JOURNAL_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		child(dir)
	}
	flag.Parse()
	if os.Getenv("FAIRWAY_LONG") == "" {
		// Each history opens several journals; a hundred of them are for make test-long.
		if err := flag.Set("rapid.checks", "20"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

func small(dir string) Options {
	return Options{Dir: dir, SegmentBytes: 16 << 10, SnapshotLogBytes: 24 << 10}
}

// child appends launches as fast as it can, four in flight, and says which are durable, until it is killed.
func child(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(3)
		}
	}
	ctx := context.Background()
	j, err := Open(ctx, small(dir))
	fail(err)
	s, err := j.Lead(ctx)
	fail(err)
	slots := make(chan struct{}, MaxInFlight)
	say := func(n uint64) func(error) {
		return func(err error) {
			fail(err)
			// Written at once, as the kill may come at any time.
			_, err = os.Stdout.WriteString(strconv.FormatUint(n, 10) + "\n")
			fail(err)
			<-slots
		}
	}
	if s.Epoch() == 0 {
		slots <- struct{}{}
		j.Append(setUp(), say(0))
	}
	for seq := s.HighWater(1) + 1; ; {
		var facts []state.Fact
		for range 1 + seq%5 {
			facts = append(facts, launch(seq))
			seq++
		}
		slots <- struct{}{}
		j.Append(facts, say(seq-1))
	}
}

// A process is killed again and again while it appends, rotates segments and takes snapshots. All that it said was
// durable is there, and what is there is what it appended, in its order.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	said := uint64(0)
	for range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		left := 1 + random.IntN(600)
		for lines.Scan() {
			n, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				t.Fatalf("child: %s", lines.Text())
			}
			said = max(said, n)
			if left--; left == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("child: %v", err)
		}
		o := lead(t, small(dir))
		n := prefix(t, o.s)
		if n < said {
			t.Fatalf("%d tasks, but %d were said to be durable", n, said)
		}
		o.close()
	}
	stats := lead(t, small(dir))
	s, err := stats.j.Stats()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d durable, snapshot at entry %d", said, s.SnapshotIndex)
	if !testing.Short() && s.SnapshotIndex == 0 {
		t.Error("no snapshot was taken, so no kill met one")
	}
}
