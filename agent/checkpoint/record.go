package checkpoint

import (
	"encoding/json"
	"fmt"

	v1 "fairway/broker/api/fairwayv1"
	"google.golang.org/protobuf/proto"
)

// Phase is how far a task has come on this agent.
type Phase int

const (
	Launching Phase = 1 // the intent: written before anything is done
	Running   Phase = 2 // its container was started
	Ended     Phase = 3 // its last update is terminal
)

// Task is the record of one task.
type Task struct {
	// Spec is the task's; without the contents of inline files and without data if no service needs them.
	Spec      *v1.TaskSpec
	Epoch     uint64
	Container string // id in the container runtime
	Sandbox   string // the task's folder
	UID       int    // owner of the sandbox
	Phase     Phase
	EndedAt   int64 // Unix nanoseconds, for cleaning by age
	Sequence  uint64
	Kill      string // why somebody wanted it to end; empty: nobody has
	// Updates are the status updates that were not acknowledged, oldest first.
	Updates []*v1.TaskStatus
	// Last is the newest update, also after its acknowledgement.
	Last *v1.TaskStatus
}

// Key names a task in the store.
func Key(id *v1.TaskID) string { return fmt.Sprintf("%s/%d", id.GetFramework(), id.GetSequence()) }

// Job is the record of one job that has a folder here.
type Job struct {
	Secret []byte
	UID    int  // owner of the folder
	Ended  bool // the folder goes when none of its tasks runs
}

const version = 1

type taskRecord struct {
	Version   int      `json:"v"`
	Spec      []byte   `json:"spec"`
	Epoch     uint64   `json:"epoch,omitempty"`
	Container string   `json:"container"`
	Sandbox   string   `json:"sandbox"`
	UID       int      `json:"uid"`
	Phase     Phase    `json:"phase"`
	EndedAt   int64    `json:"ended,omitempty"`
	Sequence  uint64   `json:"seq"`
	Kill      string   `json:"kill,omitempty"`
	Updates   [][]byte `json:"updates,omitempty"`
	Last      []byte   `json:"last,omitempty"`
}

func encodeTask(t *Task) ([]byte, error) {
	r := taskRecord{Version: version, Epoch: t.Epoch, Container: t.Container, Sandbox: t.Sandbox, UID: t.UID, Phase: t.Phase,
		EndedAt: t.EndedAt, Sequence: t.Sequence, Kill: t.Kill}
	var err error
	if r.Spec, err = proto.Marshal(t.Spec); err != nil {
		return nil, err
	}
	for _, u := range t.Updates {
		b, err := proto.Marshal(u)
		if err != nil {
			return nil, err
		}
		r.Updates = append(r.Updates, b)
	}
	if t.Last != nil {
		if r.Last, err = proto.Marshal(t.Last); err != nil {
			return nil, err
		}
	}
	return json.Marshal(r)
}

func decodeTask(b []byte) (*Task, error) {
	var r taskRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if r.Version != version {
		return nil, fmt.Errorf("version %d, this Fairway knows %d", r.Version, version)
	}
	if r.Phase < Launching || r.Phase > Ended {
		return nil, fmt.Errorf("phase %d", r.Phase)
	}
	t := &Task{Spec: &v1.TaskSpec{}, Epoch: r.Epoch, Container: r.Container, Sandbox: r.Sandbox, UID: r.UID, Phase: r.Phase,
		EndedAt: r.EndedAt, Sequence: r.Sequence, Kill: r.Kill}
	if err := proto.Unmarshal(r.Spec, t.Spec); err != nil {
		return nil, err
	}
	for _, b := range r.Updates {
		u := &v1.TaskStatus{}
		if err := proto.Unmarshal(b, u); err != nil {
			return nil, err
		}
		t.Updates = append(t.Updates, u)
	}
	if len(r.Last) > 0 {
		t.Last = &v1.TaskStatus{}
		if err := proto.Unmarshal(r.Last, t.Last); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Slim is the spec as it is kept: what only the start needs is left out. A service's task is kept whole, since it may have
// to be prepared again.
func Slim(s *v1.TaskSpec) *v1.TaskSpec {
	if s.GetService() != "" || len(s.GetData()) == 0 && len(s.GetCommand().GetFiles()) == 0 {
		return s
	}
	c := proto.CloneOf(s)
	c.Data = nil
	if c.Command != nil {
		c.Command.Files = nil
	}
	return c
}
