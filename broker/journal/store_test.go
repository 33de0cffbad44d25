package journal

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// A follower drops the end of its log and writes another; both before and after it is opened again the log is whole.
func TestLogSuffixIsReplaced(t *testing.T) {
	dir := t.TempDir()
	reopen := func() *store {
		s, err := openStore(dir, 64<<10, nil, bridge(zap.NewNop()), func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := reopen()
	write := func(from, to uint64, what string) {
		for i := from; i <= to; i++ {
			if err := s.StoreLog(&raft.Log{Index: i, Term: 1, Type: raft.LogCommand, Data: fmt.Append(nil, what, i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(last, replaced uint64) {
		t.Helper()
		if n, err := s.LastIndex(); err != nil || n != last {
			t.Fatalf("the last entry is %d, not %d: %v", n, last, err)
		}
		for i := uint64(1); i <= last; i++ {
			want := fmt.Sprint("old", i)
			if i >= replaced {
				want = fmt.Sprint("new", i)
			}
			var l raft.Log
			if err := s.GetLog(i, &l); err != nil || string(l.Data) != want {
				t.Fatalf("entry %d is %q, not %q: %v", i, l.Data, want, err)
			}
		}
	}
	write(1, 10, "old")
	if err := s.DeleteRange(8, 10); err != nil {
		t.Fatal(err)
	}
	write(8, 12, "new")
	check(12, 8)
	for range 2 {
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s = reopen()
		check(12, 8)
	}
	write(13, 14, "new")
	check(14, 8)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}
