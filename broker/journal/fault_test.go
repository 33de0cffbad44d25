package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"fairway/broker/state"
)

// faulty is a file system whose writes and syncs fail from a given one on, the first of them half done.
type faulty struct {
	disk
	mu   sync.Mutex
	left int // operations that work; < 0: all
}

var errDisk = errors.New("no more disk")

func (f *faulty) works() (bool, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left < 0 {
		return true, false
	}
	if f.left > 0 {
		f.left--
		return true, false
	}
	f.left = 0
	return false, true
}

func (f *faulty) Create(dir, name string, size uint64) (types.WritableFile, error) {
	if ok, _ := f.works(); !ok {
		return nil, errDisk
	}
	w, err := f.disk.Create(dir, name, size)
	return &faultyFile{w, f}, err
}

func (f *faulty) OpenWriter(dir, name string) (types.WritableFile, error) {
	w, err := f.disk.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{w, f}, nil
}

type faultyFile struct {
	types.WritableFile
	f *faulty
}

func (w *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	if ok, _ := w.f.works(); !ok {
		n, err := w.WritableFile.WriteAt(b[:len(b)/2], at)
		return n, errors.Join(errDisk, err)
	}
	return w.WritableFile.WriteAt(b, at)
}

func (w *faultyFile) Sync() error {
	if ok, _ := w.f.works(); !ok {
		return errDisk
	}
	return w.WritableFile.Sync()
}

// Whatever operation of the disk fails, the journal says so and does not panic, and what is there after the next Open is
// what was acknowledged and perhaps some of what was not, in its order.
func TestDiskFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred journals with many syncs each; not with -short")
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		o := small(dir)
		o.SegmentBytes = 4 << 10
		acked, appended := uint64(0), uint64(0)
		for range rapid.IntRange(1, 3).Draw(rt, "lives") {
			files := &faulty{left: -1}
			o.files = files
			j, err := Open(deadline(t), o)
			if err != nil {
				rt.Fatal(err)
			}
			s, err := j.Lead(deadline(t))
			if err != nil {
				rt.Fatal(err)
			}
			n := prefix(t, s)
			if n < acked || n > appended {
				rt.Fatalf("%d tasks; %d were acknowledged of %d", n, acked, appended)
			}
			acked, appended = n, n
			files.mu.Lock()
			files.left = rapid.IntRange(0, 60).Draw(rt, "operations")
			files.mu.Unlock()
			type outcome struct {
				seq uint64
				err error
			}
			done := make(chan outcome, 1000)
			next := func(facts ...state.Fact) {
				for i := range facts {
					if err := s.Apply(&facts[i]); err != nil {
						rt.Fatal(err)
					}
				}
				j.Append(facts, func(err error) { done <- outcome{appended, err} })
			}
			if s.Epoch() == 0 {
				next(setUp()...)
				if d := <-done; d.err != nil {
					acked = 0
				}
			}
			flying := 0
			failed := false
			for !failed {
				for flying < MaxInFlight {
					appended++
					seq := appended
					f := launch(seq)
					f.Name = strings.Repeat("x", rapid.IntRange(0, 300).Draw(rt, "bytes"))
					if err := s.Apply(&f); err != nil {
						rt.Fatal(err)
					}
					j.Append([]state.Fact{f}, func(err error) { done <- outcome{seq, err} })
					flying++
				}
				for flying > 0 {
					d := <-done
					flying--
					if d.err == nil {
						if failed || d.seq != acked+1 {
							rt.Fatalf("%d was acknowledged after %d, or after a failure", d.seq, acked)
						}
						acked = d.seq
					} else {
						failed = true
					}
				}
			}
			<-j.Failed()
			if err := j.Err(); err == nil || !strings.Contains(err.Error(), dir) {
				rt.Fatalf("the error does not name the folder: %v", err)
			}
			if _, err := j.Lead(deadline(t)); err == nil {
				rt.Fatal("a journal that has failed leads")
			}
			if err := j.Close(); err != nil {
				rt.Fatal(err)
			}
		}
		o.files = nil
		j, err := Open(deadline(t), o)
		if err != nil {
			rt.Fatal(err)
		}
		defer j.Close()
		s, err := j.Lead(deadline(t))
		if err != nil {
			rt.Fatal(err)
		}
		if n := prefix(t, s); n < acked || n > appended {
			rt.Fatalf("%d tasks; %d were acknowledged of %d", n, acked, appended)
		}
	})
}

// A real full disk: appends and snapshots fail with an error, and nothing acknowledged is lost.
func TestFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(mount, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: filepath.Join(mount, "journal"), SegmentBytes: 256 << 10, SnapshotLogBytes: 512 << 10}
	w := lead(t, o)
	w.must(setUp()...)
	acked := uint64(0)
	for seq := uint64(1); ; seq++ {
		f := launch(seq)
		f.Name = strings.Repeat("x", 4000)
		err := w.commit(f)
		if err == nil {
			acked = seq
			continue
		}
		if !errors.Is(err, unix.ENOSPC) && !strings.Contains(err.Error(), "no space left") && !strings.Contains(err.Error(), "sealed") {
			t.Fatalf("after %d: %v", seq, err)
		}
		break
	}
	<-w.j.Failed()
	w.close()
	// As long as there is no room it may open or not, but says why, and does not panic.
	if j, err := Open(deadline(t), o); err == nil {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	} else if !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	again := lead(t, o)
	if n := prefix(t, again.s); n < acked || n > acked+1 {
		t.Fatalf("%d tasks, %d were acknowledged", n, acked)
	}
	again.must(launch(again.s.HighWater(1) + 1))
	again.close()
}

// An entry of a kind that this program does not know stops it, at once and at every start.
func TestNewerFact(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	b, _ := encodeEntry(o.j.term, o.j.next, nil)
	b = append(b, 200, 1, 0)
	seal(b)
	if err := o.j.raft.Apply(b, 0).Error(); err != nil {
		t.Fatal(err)
	}
	<-o.j.Failed()
	if err := o.j.Err(); !errors.Is(err, state.ErrNewer) || !strings.Contains(err.Error(), "written by a newer Fairway") {
		t.Fatal(err)
	}
	o.close()
	if _, err := Open(deadline(t), Options{Dir: o.j.o.Dir}); !errors.Is(err, state.ErrNewer) {
		t.Fatal(err)
	}
}

func segments(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	return files
}

// The last write may be torn anywhere: it is taken back, and all before it stays.
func TestTornTail(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	for seq := uint64(1); seq <= 30; seq++ {
		o.must(launch(seq))
	}
	o.close()
	path := segments(t, o.j.o.Dir)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := len(strings.TrimRight(string(whole), "\x00"))
	for cut := 1; cut <= 80; cut += 7 {
		torn := append([]byte{}, whole...)
		clear(torn[end-cut:])
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		again := lead(t, Options{Dir: o.j.o.Dir})
		// A cut of some bytes reaches into one entry of that size, at most two.
		if n := prefix(t, again.s); n < 28 || n > 30 {
			t.Fatalf("%d tasks after a cut of %d bytes", n, cut)
		}
		again.must(launch(again.s.HighWater(1) + 1))
		again.close()
	}
}

// Damage inside the log is found when it is opened.
func TestDamagedLog(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	for seq := uint64(1); seq <= 30; seq++ {
		o.must(launch(seq))
	}
	o.close()
	path := segments(t, o.j.o.Dir)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole[strings.Index(string(whole), "task-15")] ^= 1
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(deadline(t), Options{Dir: o.j.o.Dir}); !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), "entry ") {
		t.Fatal(err)
	}
}

func TestDamagedSnapshot(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	if err := o.j.Snapshot(deadline(t)); err != nil {
		t.Fatal(err)
	}
	o.close()
	files, err := filepath.Glob(filepath.Join(o.j.o.Dir, "snapshots", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"head":  func(b []byte) []byte { b[0]++; return b },
		"text":  func(b []byte) []byte { b[snapshotHead+3]++; return b },
		"body":  func(b []byte) []byte { b[len(b)-3]++; return b },
		"cut":   func(b []byte) []byte { return b[:len(b)-1] },
		"empty": func([]byte) []byte { return nil },
		"newer": func(b []byte) []byte { b[len(snapshotMagic)]++; return b },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(files[0], damage(append([]byte{}, whole...)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(deadline(t), Options{Dir: o.j.o.Dir})
			want := state.ErrCorrupt
			if name == "newer" {
				want = state.ErrNewer
			}
			if !errors.Is(err, want) || !strings.Contains(err.Error(), files[0]) {
				t.Fatal(err)
			}
		})
	}
	// Without it the log does not reach back to the beginning, or reaches back whole; here it is whole.
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
}

// A snapshot that is missing is found by the gap before the log.
func TestMissingSnapshot(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	for seq := uint64(1); seq <= raftTrailing+100; seq++ {
		o.must(launch(seq))
	}
	if err := o.j.Snapshot(deadline(t)); err != nil {
		t.Fatal(err)
	}
	o.close()
	if err := os.RemoveAll(filepath.Join(o.j.o.Dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(deadline(t), Options{Dir: o.j.o.Dir}); !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), "snapshot") {
		t.Fatal(err)
	}
}

// Raft panics when it cannot store its term or read what it committed: the store keeps it from that.
func TestNoPanicOfRaft(t *testing.T) {
	o := lead(t, Options{Dir: t.TempDir()})
	o.must(setUp()...)
	_ = o.j.store.fault("write", errDisk)
	if err := o.j.store.SetUint64([]byte("CurrentTerm"), 99); err != nil {
		t.Fatalf("raft would panic: %v", err)
	}
	if err := o.j.store.Set([]byte("LastVoteCand"), []byte("x")); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if err := o.j.store.StoreLogs([]*raft.Log{{Index: 99}}); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	<-o.j.Failed()
	if err := o.commit(launch(1)); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	o.close()
	if term, err := lead(t, Options{Dir: o.j.o.Dir}).j.store.GetUint64([]byte("CurrentTerm")); err != nil || term >= 99 {
		t.Fatal(fmt.Sprint(term), err)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	b, _ := encodeEntry(3, 7, setUp())
	f.Add(b)
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for range 2 {
			_, _, facts, err := decodeEntry(b)
			if err == nil {
				_ = state.EachFact(facts, func(*state.Fact) error { return nil })
			} else if !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, state.ErrNewer) {
				t.Fatal(err)
			}
			if len(b) < 5 {
				return
			}
			b = append([]byte{}, b...)
			seal(b) // and once more past the checksum
		}
	})
}

func FuzzDescription(f *testing.F) {
	f.Add(`{"Version":1,"ID":"x","Index":3,"Term":2}`)
	f.Add(`{`)
	f.Fuzz(func(t *testing.T, text string) {
		meta, head, err := readDescription(strings.NewReader(string(describe([]byte(text))) + "body"))
		if err != nil {
			if !errors.Is(err, state.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if meta == nil || head != int64(snapshotHead+len(text)) {
			t.Fatal(meta, head)
		}
	})
}
