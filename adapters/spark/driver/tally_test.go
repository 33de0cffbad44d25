package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fake is a driver's REST interface.
type fake struct {
	stages []map[string]any
	tasks  map[string][]string // localities, by "id/attempt"
	weight int                 // bytes of each task
	asked  int                 // pages of tasks
	fail   error
}

func (f *fake) stage(id int, status string, tasks []string) *fake {
	f.stages = append(f.stages, map[string]any{"status": status, "stageId": id, "attemptId": 0, "numTasks": len(tasks), "numCompleteTasks": len(tasks), "name": "count at app.py:" + strconv.Itoa(id)})
	if f.tasks == nil {
		f.tasks = map[string][]string{}
	}
	f.tasks[fmt.Sprintf("%d/0", id)] = tasks
	return f
}

func (f *fake) get(_ context.Context, path string, q url.Values) (io.ReadCloser, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	answer := func(v any) (io.ReadCloser, error) {
		b, err := json.Marshal(v)
		return io.NopCloser(strings.NewReader(string(b))), err
	}
	if path == "stages" {
		if len(f.stages) == 0 {
			return answer([]int{})
		}
		return answer(f.stages)
	}
	f.asked++
	of := strings.TrimSuffix(strings.TrimPrefix(path, "stages/"), "/taskList")
	offset, err := strconv.Atoi(q.Get("offset"))
	if err != nil {
		return nil, err
	}
	length, err := strconv.Atoi(q.Get("length"))
	if err != nil {
		return nil, err
	}
	all := f.tasks[of]
	all = all[min(offset, len(all)):]
	var out []map[string]any
	for _, l := range all[:min(length, len(all))] {
		out = append(out, map[string]any{"taskLocality": l, "taskMetrics": strings.Repeat("x", f.weight)})
	}
	if out == nil {
		return answer([]int{})
	}
	return answer(out)
}

func many(n int, locality string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = locality
	}
	return out
}

func poll(t *testing.T, y *Tally, f *fake, changed bool) Report {
	t.Helper()
	got, err := y.Poll(t.Context(), f.get)
	if err != nil || got != changed {
		t.Fatalf("changed %v, %v", got, err)
	}
	return y.Report()
}

func TestTally(t *testing.T) {
	y, f := NewTally(), &fake{}
	if r := poll(t, y, f, false); r.Seen != 0 || r.Locality.Tasks() != 0 {
		t.Errorf("%+v", r)
	}
	f.stage(0, "COMPLETE", []string{"NODE_LOCAL", "NODE_LOCAL", "RACK_LOCAL", "ANY", "NO_PREF"}).stage(1, "ACTIVE", []string{"PROCESS_LOCAL", "PROCESS_LOCAL"})
	r := poll(t, y, f, true)
	if d := cmp.Diff(Locality{Process: 2, Node: 2, Rack: 1, Any: 1, None: 1}, r.Locality); d != "" || r.Seen != 2 || r.Ended != 1 || r.Uncounted != 0 || len(r.Stages) != 2 {
		t.Errorf("%+v\n%s", r, d)
	}
	// Nothing has changed: no task is asked for again.
	f.asked = 0
	if poll(t, y, f, false); f.asked != 0 {
		t.Errorf("asked %d times", f.asked)
	}
	// A stage that runs is counted anew, one that fails is known as such, and what Spark forgets stays counted.
	f.stages, f.tasks["1/0"] = f.stages[1:], append(f.tasks["1/0"], "ANY")
	f.stages[0]["numCompleteTasks"], f.stages[0]["status"] = 3, "FAILED"
	r = poll(t, y, f, true)
	if d := cmp.Diff(Locality{Process: 2, Node: 2, Rack: 1, Any: 2, None: 1}, r.Locality); d != "" || r.Seen != 2 || r.Ended != 2 || r.Failed != 1 || len(r.Stages) != 1 {
		t.Errorf("%+v\n%s", r, d)
	}
	// A driver that does not answer changes nothing.
	f.fail = io.ErrUnexpectedEOF
	if _, err := y.Poll(t.Context(), f.get); !errors.Is(err, io.ErrUnexpectedEOF) || y.Report().Seen != 2 {
		t.Errorf("%v, %+v", err, y.Report())
	}
}

// The tasks of a large stage are read over several polls, and meanwhile it is said how many are not counted.
func TestTallyOfManyTasks(t *testing.T) {
	y, f := NewTally(), &fake{}
	f.stage(0, "ACTIVE", many(5000, "NODE_LOCAL"))
	if r := poll(t, y, f, true); r.Locality.Node != 0 || r.Uncounted != 5000 || f.asked != 0 {
		t.Errorf("%+v, asked %d", r, f.asked)
	}
	f.stages[0]["status"] = "COMPLETE"
	for i, want := range []int64{2000, 4000, 5000} {
		if r := poll(t, y, f, true); r.Locality.Node != want || r.Uncounted != 5000-want || f.asked > (i+1)*pollPages {
			t.Errorf("poll %d: %+v, asked %d", i, r, f.asked)
		}
	}
	poll(t, y, f, false)
}

// Tasks that say much are asked for in smaller pages; one that says too much is left out.
func TestTallyOfLargeAnswers(t *testing.T) {
	y, f := NewTally(), &fake{weight: 1 << 10}
	y.bytes = 80 << 10
	f.stage(0, "COMPLETE", many(100, "ANY"))
	poll(t, y, f, true)
	for range 4 {
		if _, err := y.Poll(t.Context(), f.get); err != nil {
			t.Fatal(err)
		}
	}
	if r := y.Report(); r.Locality.Any != 100 {
		t.Errorf("%+v", r)
	}
	y, f = NewTally(), &fake{weight: 80 << 10}
	y.bytes = 80 << 10
	f.stage(0, "COMPLETE", many(2, "ANY"))
	for range 8 {
		if _, err := y.Poll(t.Context(), f.get); err != nil {
			t.Fatal(err)
		}
	}
	if f.asked = 0; poll(t, y, f, false).Uncounted != 2 || f.asked != 0 {
		t.Errorf("%+v, asked %d", y.Report(), f.asked)
	}
}

func TestReportShowsTheLastStages(t *testing.T) {
	y, f := NewTally(), &fake{}
	for i := range 40 {
		status := "COMPLETE"
		if i == 3 {
			status = "ACTIVE"
		}
		f.stage(i, status, nil)
	}
	r := poll(t, y, f, true)
	if len(r.Stages) != maxShown || r.Stages[0].ID != 3 || r.Stages[1].ID != 25 || r.Stages[maxShown-1].ID != 39 || r.Seen != 40 || r.Ended != 39 {
		t.Errorf("%+v", r)
	}
}

func TestRefusedAnswers(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "no array", ``: "EOF", `[{"stageId":-1}]`: "count of -1", `[{"numTasks":2000000000}]`: "count of 2000000000", `[1]`: "cannot unmarshal", `[{"stageId":1}`: "EOF",
		`[{"name":"` + strings.Repeat("x", 1<<20) + `"}]`: "too large", `[` + strings.Repeat(`{},`, maxStages) + `{}]`: "too large", `<html>`: "invalid character",
	} {
		y := NewTally()
		y.bytes = 1 << 20
		_, err := y.Poll(t.Context(), func(context.Context, string, url.Values) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
	if got := clean("reduce at /opt/x/pi.py:42"); got != "reduce at pi.py:42" {
		t.Errorf("%q", got)
	}
	if got := clean("a\x1b[2Jb\n\xff" + strings.Repeat("é", 200)); strings.ContainsAny(got, "\x1b\n") || len([]rune(got)) != maxText {
		t.Errorf("%q", got)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`[{"status":"COMPLETE","stageId":0,"attemptId":0,"numTasks":2,"numCompleteTasks":2,"name":"x","details":"y"}]`), []byte(`[{"taskId":0,"taskLocality":"NODE_LOCAL"},{"taskLocality":"ANY"}]`))
	f.Add([]byte(`[{"status":"ACTIVE","stageId":7,"numActiveTasks":1}]`), []byte(`[{"taskLocality":7}]`))
	f.Add([]byte(`[]`), []byte(`{`))
	f.Fuzz(func(t *testing.T, list, tasks []byte) {
		y := NewTally()
		for range 3 {
			_, _ = y.Poll(t.Context(), func(_ context.Context, path string, _ url.Values) (io.ReadCloser, error) {
				if path == "stages" {
					return io.NopCloser(strings.NewReader(string(list))), nil
				}
				return io.NopCloser(strings.NewReader(string(tasks))), nil
			})
			r := y.Report()
			if l := r.Locality; r.Uncounted < 0 || r.Ended > r.Seen || r.Failed > r.Ended || len(r.Stages) > maxShown || min(l.Process, l.Node, l.Rack, l.Any, l.None) < 0 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
