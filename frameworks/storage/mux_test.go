package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
)

type fakeFS struct {
	FS
	name   string
	closed bool
}

func (f *fakeFS) Close() error { f.closed = true; return nil }

func opener(opened *[]*fakeFS, mu *sync.Mutex) Opener {
	return func(_ context.Context, authority, user string) (FS, error) {
		mu.Lock()
		defer mu.Unlock()
		if authority == "bad" {
			return nil, errors.New("bad authority")
		}
		f := &fakeFS{name: authority + "|" + user}
		*opened = append(*opened, f)
		return f, nil
	}
}

func TestParse(t *testing.T) {
	for url, want := range map[string]string{
		"hdfs://nn:8020/a/b": "hdfs nn:8020 /a/b", "hdfs:///a//b/../c": "hdfs  /a/c", "HDFS:/a": "hdfs  /a", "file:/tmp": "file  /tmp",
		"hdfs://nn": "hdfs nn /", "/a:b/c": "  /a:b/c", "/a b%20*": "  /a b%20*", "s3a://x/y": "s3a x /y", "/": "  /",
	} {
		l, err := Parse(url)
		if got := fmt.Sprintf("%s %s %s", l.Scheme, l.Authority, l.Path); got != want || err != nil {
			t.Errorf("%s: %q, %v", url, got, err)
		}
		if again, err := Parse(l.String()); again != l || err != nil {
			t.Errorf("%s does not come back: %v, %v", url, again, err)
		}
	}
	for _, url := range []string{"", "a/b", "hdfs:a", "://x", "/a\x00", "/a\nb", "http:", "C:\\x"} {
		if l, err := Parse(url); err == nil {
			t.Errorf("%q passed as %+v", url, l)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"hdfs://nn/a", "file:/x", "/a", "hdfs:///", "a://b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, url string) {
		l, err := Parse(url)
		if err != nil {
			return
		}
		if again, err := Parse(l.String()); again != l || err != nil {
			t.Fatalf("%q: %+v comes back as %+v, %v", url, l, again, err)
		}
	})
}

func FuzzBraces(f *testing.F) {
	for _, s := range []string{"{a,b}", "/{a,{b,c}}d", "\\{a", "}{", "{,}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if len(pattern) > maxGlobLength {
			return
		}
		out, err := expandBraces(pattern)
		if err == nil && (len(out) == 0 || len(out) > maxGlobAlternatives) {
			t.Fatalf("%q: %d alternatives", pattern, len(out))
		}
	})
}

func TestMuxCachesByAuthorityAndUser(t *testing.T) {
	var opened []*fakeFS
	var mu sync.Mutex
	o := opener(&opened, &mu)
	m := NewMux(map[string]Opener{"hdfs": o, "file": o}, "hdfs://default")
	ctx := context.Background()
	var wg sync.WaitGroup
	for range 8 {
		for _, url := range []string{"/a", "hdfs://default/b", "hdfs://x/c", "file:///d"} {
			for _, user := range []string{"", "alice"} {
				wg.Go(func() {
					if _, _, err := m.Resolve(ctx, url, user); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
	wg.Wait()
	if len(opened) != 6 {
		t.Errorf("%d opened", len(opened))
	}
	f, p, err := m.Resolve(ctx, "/a/../b", "alice")
	if err != nil || p != "/b" || f.(*fakeFS).name != "default|alice" {
		t.Errorf("%v %q %v", f, p, err)
	}
	if _, _, err := m.Resolve(ctx, "hdfs://bad/x", ""); err == nil {
		t.Error("a failed opener passed")
	}
	if _, _, err := m.Resolve(ctx, "s3://b/x", ""); err == nil || !strings.Contains(err.Error(), "file, hdfs") {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	for _, f := range opened {
		if !f.closed {
			t.Errorf("%s was left open", f.name)
		}
	}
	if _, _, err := m.Resolve(ctx, "/a", ""); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
}

func TestPlainPathsAreLocalByDefault(t *testing.T) {
	l, err := NewMux(nil, "").Locate("/x")
	if err != nil || l.String() != "file:///x" {
		t.Error(l, err)
	}
	if _, err := NewMux(nil, "/nonsense").Locate("/x"); err == nil {
		t.Error("a default without scheme passed")
	}
}
