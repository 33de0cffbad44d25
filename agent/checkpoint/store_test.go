package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	v1 "fairway/broker/api/fairwayv1"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

func sample() *Task {
	id := &v1.TaskID{Framework: "f-1", Sequence: 7}
	u := &v1.TaskStatus{Task: id, State: v1.TaskState_TASK_STATE_RUNNING, Sequence: 1}
	return &Task{Spec: &v1.TaskSpec{Task: id, JobId: "j"}, Epoch: 3, Container: "f-1_7", Sandbox: "/s", UID: 5, Phase: Running, Sequence: 1,
		Kill: "why", Updates: []*v1.TaskStatus{u}, Last: u}
}

func same(a, b *Task) bool {
	if len(a.Updates) != len(b.Updates) || !proto.Equal(a.Spec, b.Spec) || !proto.Equal(a.Last, b.Last) {
		return false
	}
	for i := range a.Updates {
		if !proto.Equal(a.Updates[i], b.Updates[i]) {
			return false
		}
	}
	return a.Epoch == b.Epoch && a.Container == b.Container && a.Sandbox == b.Sandbox && a.UID == b.UID && a.Phase == b.Phase &&
		a.EndedAt == b.EndedAt && a.Sequence == b.Sequence && a.Kill == b.Kill
}

func TestCommitAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	task := sample()
	if err := s.Commit(&Change{Identity: &Identity{"a", "b", 9}, Tasks: map[string]*Task{"f-1/7": task}, Jobs: map[string]*Job{"j": {Secret: []byte{1}, UID: 2}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id, tasks, jobs, err := s.Load()
	if err != nil || id != (Identity{"a", "b", 9}) || len(tasks) != 1 || !same(tasks["f-1/7"], task) || string(jobs["j"].Secret) != "\x01" || jobs["j"].UID != 2 {
		t.Fatalf("loaded %v %v %v %v", id, tasks, jobs, err)
	}
	if err := s.Commit(&Change{Tasks: map[string]*Task{"f-1/7": nil}, Jobs: map[string]*Job{"j": nil}}); err != nil {
		t.Fatal(err)
	}
	if id, tasks, jobs, err = s.Load(); err != nil || id.AgentID != "a" || len(tasks)+len(jobs) != 0 {
		t.Errorf("loaded %v %v %v %v", id, tasks, jobs, err)
	}
}

func TestForeignRecordsAreRefused(t *testing.T) {
	for _, record := range []string{`{"v":2}`, "", "garbage", `{"v":1,"phase":1,"spec":"AAAA"}`, `{"v":1,"phase":9}`} {
		s, err := Open(filepath.Join(t.TempDir(), "c.db"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketTasks).Put([]byte("x/1"), []byte(record)) }); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := s.Load(); err == nil {
			t.Errorf("loaded %q", record)
		}
		s.Close()
	}
}

func FuzzDecodeTask(f *testing.F) {
	b, err := encodeTask(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"v":1,"phase":1,"updates":[""]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		task, err := decodeTask(b)
		if err != nil {
			return
		}
		again, err := encodeTask(task)
		if err != nil {
			t.Skip() // a string that is no UTF-8 came in by JSON
		}
		if back, err := decodeTask(again); err != nil || !same(task, back) {
			t.Errorf("%+v is %+v after a round trip: %v", task, back, err)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "c.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	change := &Change{Tasks: map[string]*Task{"f-1/7": sample()}}
	for b.Loop() {
		if err := s.Commit(change); err != nil {
			b.Fatal(err)
		}
	}
}

// Ends of tasks can be written down although a task has filled the disk.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(filepath.Join(dir, "c.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	for i := range 100 {
		if err := s.Commit(&Change{Tasks: map[string]*Task{fmt.Sprintf("f-1/%d", i): sample()}}); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
	}
}
