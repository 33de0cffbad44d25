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
)

// Get reads a page of a driver, by its path below /api/v1/applications/ID/. Its reader is closed by who asked.
type Get func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error)

// Bounds of what a driver says.
const (
	maxBody   = 8 << 20 // bytes of an answer
	maxStages = 8192    // in one answer; Spark keeps 1,000
	maxCount  = 1 << 30 // tasks of a stage
	maxText   = 120     // runes of a stage's name
)

var errTooLarge = errors.New("the answer is too large")

// Stage is an attempt of a stage.
type Stage struct {
	ID, Attempt                          int
	Name                                 string // count at app.py:12, without the folder
	Ended                                bool
	OK                                   bool // of one that has ended
	Tasks, Running, Done, Failed, Killed int
}

// started is how many attempts of tasks it has begun.
func (s *Stage) started() int { return s.Running + s.Done + s.Failed + s.Killed }

// key names an attempt of a stage.
type key struct{ id, attempt int }

// limited ends an answer that is too large with an error of its own.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// each calls f for every item of an answer that is an array, of so many bytes and items at most. Items are decoded one by one.
func each[T any](body io.Reader, bytes, most int, f func(*T) error) error {
	d := json.NewDecoder(&limited{body, bytes})
	open, err := d.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('[') {
		return fmt.Errorf("no array, but %.40q", fmt.Sprint(open))
	}
	for n := 0; d.More(); n++ {
		if n == most {
			return errTooLarge
		}
		var item T
		if err := d.Decode(&item); err != nil {
			return err
		}
		if err := f(&item); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// stages reads the attempts of stages that run or have ended.
func stages(ctx context.Context, get Get, bytes int) (list []Stage, err error) {
	body, err := get(ctx, "stages", url.Values{"status": {"active", "complete", "failed"}})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	type said struct {
		Status           string `json:"status"`
		StageID          int    `json:"stageId"`
		AttemptID        int    `json:"attemptId"`
		NumTasks         int    `json:"numTasks"`
		NumActiveTasks   int    `json:"numActiveTasks"`
		NumCompleteTasks int    `json:"numCompleteTasks"`
		NumFailedTasks   int    `json:"numFailedTasks"`
		NumKilledTasks   int    `json:"numKilledTasks"`
		Name             string `json:"name"`
	}
	err = each(body, bytes, maxStages, func(x *said) error {
		s := Stage{
			ID: x.StageID, Attempt: x.AttemptID, Name: clean(x.Name), Ended: x.Status != "ACTIVE", OK: x.Status == "COMPLETE",
			Tasks: x.NumTasks, Running: x.NumActiveTasks, Done: x.NumCompleteTasks, Failed: x.NumFailedTasks, Killed: x.NumKilledTasks,
		}
		for _, n := range []int{s.ID, s.Attempt, s.Tasks, s.Running, s.Done, s.Failed, s.Killed} {
			if n < 0 || n > maxCount {
				return fmt.Errorf("stage %d.%d with a count of %d", s.ID, s.Attempt, n)
			}
		}
		switch x.Status {
		case "ACTIVE", "COMPLETE", "FAILED":
			list = append(list, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("stages: %w", err)
	}
	return list, nil
}

// clean keeps what may be shown of a name. PySpark's names hold the whole path of the program.
func clean(text string) string {
	if what, where, ok := strings.Cut(text, " at /"); ok {
		text = what + " at " + where[strings.LastIndexByte(where, '/')+1:]
	}
	out := strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	n := 0
	for i := range out {
		if n++; n > maxText {
			return out[:i]
		}
	}
	return out
}

// Locality counts attempts of tasks by where they were started, as they said themselves.
type Locality struct {
	Process, Node, Rack, Any int64
	None                     int64 // the task wanted no place (NO_PREF)
}

// Tasks is the sum.
func (l Locality) Tasks() int64 { return l.Process + l.Node + l.Rack + l.Any + l.None }

func (l *Locality) add(o Locality) {
	l.Process += o.Process
	l.Node += o.Node
	l.Rack += o.Rack
	l.Any += o.Any
	l.None += o.None
}

// page reads the localities of a part of a stage's tasks, and how many the part had.
func page(ctx context.Context, get Get, bytes int, k key, offset, length int) (l Locality, n int, err error) {
	path := "stages/" + strconv.Itoa(k.id) + "/" + strconv.Itoa(k.attempt) + "/taskList"
	body, err := get(ctx, path, url.Values{"offset": {strconv.Itoa(offset)}, "length": {strconv.Itoa(length)}})
	if err != nil {
		return l, 0, err
	}
	defer body.Close()
	type said struct {
		Locality string `json:"taskLocality"`
	}
	err = each(body, bytes, length, func(t *said) error {
		n++
		switch t.Locality {
		case "PROCESS_LOCAL":
			l.Process++
		case "NODE_LOCAL":
			l.Node++
		case "RACK_LOCAL":
			l.Rack++
		case "ANY":
			l.Any++
		case "NO_PREF":
			l.None++
		}
		return nil
	})
	if err != nil {
		return Locality{}, 0, fmt.Errorf("tasks of stage %d.%d: %w", k.id, k.attempt, err)
	}
	return l, n, nil
}
