package sparkjobs

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// history is what an application's event log tells.
type history struct {
	locality map[int]map[string]int // stage to level to tasks that succeeded
	failed   map[string]int         // why tasks did not succeed
	hosts    map[string]int         // tasks that succeeded on a host
	by       map[string]int         // ... and by an executor
	remote   int                    // blocks of shuffles that came over the network
	local    int                    // ... and from a disk of the host
	logs     map[string]string      // executor to the address of its stderr
	stages   []stage                // as they were submitted
	added    int                    // executors
	removed  map[string]string      // executor to why it went; Spark may log one twice
	ended    bool
}

type stage struct{ id, attempt int }

// history reads the event log of an application whose driver may still run.
func (r *rig) history(t *testing.T, application string) history {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.events, application+"*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s left no event log: %v", application, err)
	}
	f, err := os.Open(files[len(files)-1]) // of the last attempt
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := history{locality: map[int]map[string]int{}, failed: map[string]int{}, hosts: map[string]int{}, by: map[string]int{}, logs: map[string]string{}, removed: map[string]string{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct {
			Event   string
			StageID int `json:"Stage ID"`
			End     struct {
				Reason string
			} `json:"Task End Reason"`
			Task struct {
				Locality, Host string
				Executor       string `json:"Executor ID"`
			} `json:"Task Info"`
			Metrics struct {
				Read struct {
					Remote int `json:"Remote Blocks Fetched"`
					Local  int `json:"Local Blocks Fetched"`
				} `json:"Shuffle Read Metrics"`
			} `json:"Task Metrics"`
			Info struct {
				Logs map[string]string `json:"Log Urls"`
			} `json:"Executor Info"`
			Stage struct {
				ID      int `json:"Stage ID"`
				Attempt int `json:"Stage Attempt ID"`
			} `json:"Stage Info"`
			Executor string `json:"Executor ID"`
			Removed  string `json:"Removed Reason"`
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the last line of a log that is written
		}
		switch e.Event {
		case "SparkListenerTaskEnd":
			if e.End.Reason != "Success" {
				h.failed[e.End.Reason]++
				continue
			}
			if h.locality[e.StageID] == nil {
				h.locality[e.StageID] = map[string]int{}
			}
			h.locality[e.StageID][e.Task.Locality]++
			h.hosts[e.Task.Host]++
			h.by[e.Task.Executor]++
			h.remote, h.local = h.remote+e.Metrics.Read.Remote, h.local+e.Metrics.Read.Local
		case "SparkListenerStageSubmitted":
			h.stages = append(h.stages, stage{e.Stage.ID, e.Stage.Attempt})
		case "SparkListenerExecutorAdded":
			h.added++
			h.logs[e.Executor] = e.Info.Logs["stderr"]
		case "SparkListenerExecutorRemoved":
			if h.removed[e.Executor] == "" {
				h.removed[e.Executor] = e.Removed
			}
		case "SparkListenerApplicationEnd":
			h.ended = true
		}
	}
	return h
}

// tasks are all that succeeded.
func (h history) tasks() (n int) {
	for _, levels := range h.locality {
		for _, k := range levels {
			n += k
		}
	}
	return n
}
