package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// compress runs the real tool.
func compress(t testing.TB, tool, text string) string {
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("no %s on this machine", tool)
	}
	cmd := exec.Command(tool, "-c")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

var tools = map[string]string{"gzip": ".gz", "bzip2": ".bz2", "zstd": ".zst"}

func readLines(m *memory, name string) (lines []string, err error) {
	n := int64(len(m.files[name]))
	r, err := Open(context.Background(), Text, m, name, spec.Split{URL: "mem://" + name, Length: n, FileSize: n, Whole: true}, nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		k, v, err := r.Next()
		if err == io.EOF {
			if r.Pos() > n {
				return lines, fmt.Errorf("position %d of %d", r.Pos(), n)
			}
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		if len(lines) == 0 && string(k) != "0" {
			return nil, fmt.Errorf("first key %q", k)
		}
		lines = append(lines, string(v))
	}
}

func TestCompressedFiles(t *testing.T) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "line %d of some text\n", i)
	}
	for tool, suffix := range tools {
		t.Run(tool, func(t *testing.T) {
			p := compress(t, tool, text.String())
			m := newMemory(map[string]string{"/f" + suffix: p, "/two" + suffix: p + compress(t, tool, "more\nend"), "/none" + suffix: ""})
			lines, err := readLines(m, "/f"+suffix)
			if err != nil || len(lines) != 100_000 || lines[99_999] != "line 99999 of some text" {
				t.Errorf("%d lines, %v", len(lines), err)
			}
			if lines, err = readLines(m, "/two"+suffix); err != nil || len(lines) != 100_002 || lines[100_001] != "end" {
				t.Errorf("two members: %d lines, %v", len(lines), err)
			}
			if lines, err = readLines(m, "/none"+suffix); err != nil || len(lines) != 0 {
				t.Errorf("an empty file: %d lines, %v", len(lines), err)
			}
			raw, err := OpenRaw(context.Background(), m, "/f"+suffix, int64(len(p)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(raw); err != nil || string(got) != text.String() {
				t.Errorf("raw: %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestDamagedCompressedFiles(t *testing.T) {
	text := strings.Repeat("some text that is compressed\n", 50_000)
	for tool, suffix := range tools {
		t.Run(tool, func(t *testing.T) {
			p := []byte(compress(t, tool, text))
			flipped := bytes.Clone(p)
			for i := range 8 {
				flipped[len(p)/2+i] ^= 0x55
			}
			for what, damaged := range map[string][]byte{
				"cut": p[:len(p)/2], "flipped": flipped, "text": []byte("no compressed data at all, just text\n"), "head": p[:3],
			} {
				name := "/" + what + suffix
				_, err := readLines(newMemory(map[string]string{name: string(damaged)}), name)
				if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "mem://"+name) || !strings.Contains(err.Error(), "byte") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

func TestCodecRefusals(t *testing.T) {
	m := newMemory(map[string]string{"/f.lz4": "x", "/f.gz": "x"})
	if _, err := Open(context.Background(), Text, m, "/f.lz4", spec.Split{Length: 1}, nil); !errors.Is(err, storage.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if _, err := Open(context.Background(), Text, m, "/f.gz", spec.Split{Offset: 1}, nil); err == nil {
		t.Error("a compressed file was read from its middle")
	}
	if _, err := Open(context.Background(), "sequence", m, "/f", spec.Split{}, nil); err == nil || !strings.Contains(err.Error(), "unknown input format") {
		t.Errorf("%v", err)
	}
}

func FuzzCompressed(f *testing.F) {
	for tool, suffix := range tools {
		p := compress(f, tool, "some text\nand more\n")
		f.Add([]byte(p), suffix)
		f.Add([]byte(p[:len(p)-3]), suffix)
	}
	f.Fuzz(func(t *testing.T, p []byte, suffix string) {
		if open := codecs[suffix]; open == nil || len(p) > 1<<16 {
			return
		}
		name := "/f" + suffix
		n := int64(len(p))
		raw, err := OpenRaw(context.Background(), newMemory(map[string]string{name: string(p)}), name, n)
		if err != nil {
			return
		}
		io.CopyN(io.Discard, raw, 64<<20) // a bomb may go on
		raw.Close()
	})
}
