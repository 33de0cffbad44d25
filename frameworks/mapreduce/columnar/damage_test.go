package columnar

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"fairway/frameworks/storage"
)

// readAll reads a file in both ways; what it returns matters less than that it does.
func readAll(format Format, p []byte) (int, error) {
	for _, stream := range []bool{true, false} {
		r, err := openFile(memory.DefaultAllocator, format, fileOf(p), "f", 0, int64(len(p)), int64(len(p)))
		if err != nil {
			return 0, err
		}
		n := 0
		if stream {
			err = r.WriteStream(io.Discard, func(int64) {})
		} else {
			for err == nil && n < 10_000 {
				_, _, err = r.Next()
				n++
			}
			if err == io.EOF {
				err = nil
			}
		}
		if cerr := r.Close(); cerr != nil && err == nil {
			err = cerr
		}
		if err != nil || !stream {
			return n, err
		}
	}
	return 0, nil
}

func TestDamagedFilesAreErrors(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			good := fileBytes(t, k.name)
			rnd := rand.New(rand.NewPCG(1, 2))
			failed := 0
			for range 100 {
				p := bytes.Clone(good)
				for range 1 + rnd.IntN(4) {
					switch at := rnd.IntN(len(p)); rnd.IntN(4) {
					case 0:
						p[at] ^= 1 << rnd.IntN(8)
					case 1:
						p[at] = 0xff
					case 2:
						copy(p[at:], []byte{0xff, 0xff, 0xff, 0x7f})
					case 3:
						p = p[:max(at, 1)]
					}
				}
				if _, err := readAll(k.format, p); err != nil {
					failed++
					if !errors.Is(err, storage.ErrCorrupt) && !strings.Contains(err.Error(), "columns") {
						t.Fatalf("not marked as corrupt: %v", err)
					}
				}
			}
			if failed < 12 {
				t.Errorf("only %d of 100 damaged files were refused", failed)
			}
		})
	}
}

func TestFilesThatAreNotColumnar(t *testing.T) {
	for _, f := range []Format{Parquet, Arrow} {
		for _, p := range []string{"x", "PAR1", "ARROW1", "ARROW1\x00\x00", "just some text that is long enough to be a file\n", "PAR1\xff\xff\xff\x7fPAR1", strings.Repeat("\x00", 100)} {
			if _, err := readAll(f, []byte(p)); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%s %q: %v", f, p, err)
			}
		}
	}
	r, err := openFile(memory.DefaultAllocator, Parquet, fileOf(nil), "f", 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Next(); err != io.EOF {
		t.Errorf("an empty file: %v", err)
	}
}

// A schema that claims 2^31 fields once made Arrow's reader ask for more memory than there is (found by FuzzStream).
func TestSchemaWithTooManyFields(t *testing.T) {
	for _, name := range []string{"stream", "arrow"} {
		good := fileBytes(t, name)
		first := 0 // lengths lie at multiples of four
		if name == "arrow" {
			first = (len(good) - 14) % 4
		}
		for at := first; at+4 <= 600; at += 4 {
			for _, length := range []string{"\xff\xff\xff\x7f", "\x00\x00\x00\x10"} {
				p := append([]byte(nil), good...)
				if name == "arrow" {
					copy(p[len(p)-10-at-4:], length)
				} else {
					copy(p[at:], length)
				}
				readAll(Arrow, p)
			}
		}
	}
}

func FuzzParquet(f *testing.F) { fuzzFile(f, Parquet, "parquet") }
func FuzzArrow(f *testing.F)   { fuzzFile(f, Arrow, "arrow", "arrow-zstd", "stream") }

func fuzzFile(f *testing.F, format Format, names ...string) {
	for _, n := range names {
		p := fileBytes(f, n)
		f.Add(p)
		f.Add(p[:len(p)/2])
	}
	f.Add([]byte("PAR1\x00\x00\x00\x00PAR1"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < 1<<20 {
			readAll(format, p)
		}
	})
}

func FuzzStream(f *testing.F) {
	f.Add(fileBytes(f, "stream"))
	f.Add([]byte("\xff\xff\xff\xff\x10\x00\x00\x00garbage"))
	f.Add([]byte("word\t1\n"))
	f.Fuzz(func(t *testing.T, p []byte) { readRecords(memory.DefaultAllocator, bytes.NewReader(p), new(impatient)) })
}

// impatient has enough after some rows.
type impatient int

func (n *impatient) Emit(k, v []byte) error {
	if *n++; *n > 10_000 {
		return errors.New("enough")
	}
	return nil
}

func (n *impatient) EmitInt(k []byte, _ int64) error { return n.Emit(k, nil) }

func FuzzFooter(f *testing.F) {
	p := fileBytes(f, "arrow")
	f.Add(p[len(p)-600:len(p)-10], int64(len(p)))
	f.Fuzz(func(t *testing.T, p []byte, limit int64) {
		_, blocks, err := footerBlocks(p, limit)
		for _, b := range blocks {
			if err == nil && (b.offset < 8 || b.end() > limit) {
				t.Fatalf("%+v beyond %d", b, limit)
			}
		}
		bodyLength(p)
	})
}

func TestJoinedStream(t *testing.T) {
	mem := checked(t)
	var b bytes.Buffer
	s := newStream(mem, &b)
	p := fileBytes(t, "parquet")
	for range 2 {
		r, err := openFile(mem, Parquet, fileOf(p), "one", 0, int64(len(p)), int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Add(r), r.Close()); err != nil {
			t.Fatal(err)
		}
	}
	err := s.AddRecords("two", func() ([]byte, []byte, error) { return nil, nil, io.EOF }, Columns{arrow.BinaryTypes.String, arrow.BinaryTypes.String})
	if err == nil || !strings.Contains(err.Error(), "two has other columns (key utf8, value utf8) than one") {
		t.Errorf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var out collector
	if err := readRecords(mem, &b, &out); err != nil || len(out.lines) != 400 || out.lines[201] != mixedLine(1) {
		t.Errorf("%v, %d rows", err, len(out.lines))
	}
	s = newStream(mem, &b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := readRecords(mem, &b, &out); err != nil {
		t.Errorf("an empty result: %v", err)
	}
}
