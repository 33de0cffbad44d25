package yarnjobs

import (
	"fmt"
	"os"
	"testing"
	"time"

	"fairway/integration/testbed"
)

// Many maps that have next to nothing to do, each of which runs once.
func TestTinyMaps(t *testing.T) {
	n := 40
	if os.Getenv("FAIRWAY_LONG") == "1" {
		n = 200
	}
	for i := range n {
		world.Put(t, testbed.WithAccount, home(testbed.WithAccount, fmt.Sprintf("tiny/f%03d", i)), fmt.Sprintf("word%d common\n", i))
	}
	res := world.rig.run(t, testbed.WithAccount, 20*time.Minute, world.In.ExamplesJar(), "wordcount", "-Dmapreduce.map.speculative=false", "-Dmapreduce.reduce.speculative=false",
		home(testbed.WithAccount, "tiny"), home(testbed.WithAccount, "tiny-out"))
	want := map[string]int{"common": n}
	for i := range n {
		want[fmt.Sprintf("word%d", i)] = 1
	}
	checkCounts(t, home(testbed.WithAccount, "tiny-out"), want)
	for name, want := range map[string]int{
		"Launched map tasks": n, "Launched reduce tasks": 1, "Failed map tasks": 0, "Killed map tasks": 0,
		"Map input records": n, "Map output records": 2 * n, "Reduce output records": n + 1, "Merged Map outputs": n, "Failed Shuffles": 0,
	} {
		if got := res.Counters[name]; got != int64(want) {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	if local := res.Counters["Data-local map tasks"]; local < int64(n)*95/100 {
		t.Errorf("%d of %d maps were data-local", local, n)
	}
}
