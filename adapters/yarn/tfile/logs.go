package tfile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Keys of the records that are not a container's.
const (
	keyVersion = "VERSION"
	keyOwner   = "APPLICATION_OWNER"
	keyACL     = "APPLICATION_ACL"
	logVersion = 1
)

// accessTypes are those of an application, in the order that they are written.
var accessTypes = []string{"VIEW_APP", "MODIFY_APP"}

// copySize is how much of a log is handed on at once, as Hadoop does it: the cuts between chunks depend on it.
const copySize = 65535

// LogWriter writes the logs of an application's containers on one node, as YARN's log aggregation does.
type LogWriter struct{ t *Writer }

// File is one log of a container. Open says how long it is; so much of it is written, and line feeds if it ends before.
type File struct {
	Name string
	Open func() (content io.ReadCloser, size int64, err error)
}

// NewLogWriter writes the head: who owns the application, and who may read (VIEW_APP) and change (MODIFY_APP) it; an absent
// right is nobody's but the owner's. Close ends the file but not w.
func NewLogWriter(w io.Writer, owner string, acls map[string]string) (*LogWriter, error) {
	l := &LogWriter{NewWriter(w)}
	var rights []byte
	for _, t := range accessTypes {
		list, ok := acls[t]
		if !ok {
			list = " "
		}
		var err error
		if rights, err = appendUTF(rights, t); err == nil {
			rights, err = appendUTF(rights, list)
		}
		if err != nil {
			return nil, fmt.Errorf("tfile: right %s: %w", t, err)
		}
	}
	who, err := appendUTF(nil, owner)
	if err != nil {
		return nil, fmt.Errorf("tfile: owner: %w", err)
	}
	for _, r := range []struct {
		key   string
		value []byte
	}{{keyVersion, binary.BigEndian.AppendUint32(nil, logVersion)}, {keyOwner, who}, {keyACL, rights}} {
		if err := l.record(r.key, func(w io.Writer) error { _, err := w.Write(r.value); return err }); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *LogWriter) record(key string, value func(io.Writer) error) error {
	k, err := appendUTF(nil, key)
	if err != nil {
		return fmt.Errorf("tfile: %w", err)
	}
	return l.t.Append(k, value)
}

// Container writes a container's logs, sorted by name. A log that cannot be opened is left out; left says which and why.
// The error is of the writing, and final.
func (l *LogWriter) Container(id string, files []File) (left, err error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	buffer := make([]byte, copySize)
	err = l.record(id, func(w io.Writer) error {
		for _, f := range files {
			name, err := appendUTF(nil, f.Name)
			if err != nil {
				left = errors.Join(left, fmt.Errorf("log %.80q: %w", f.Name, err))
				continue
			}
			content, size, err := f.Open()
			if err != nil {
				left = errors.Join(left, fmt.Errorf("log %s: %w", f.Name, err))
				continue
			}
			short, err := writeLog(w, name, content, size, buffer)
			if short != nil {
				left = errors.Join(left, fmt.Errorf("log %s: %w", f.Name, short))
			}
			if err := errors.Join(err, content.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	return left, err
}

// writeLog writes one log. The length goes before the bytes, so a log that proves shorter, or cannot be read on, is filled
// up: what follows must stay where it is looked for.
func writeLog(w io.Writer, name []byte, content io.Reader, size int64, buffer []byte) (short, err error) {
	if _, err := w.Write(name); err != nil {
		return nil, err
	}
	length, _ := appendUTF(nil, strconv.FormatInt(size, 10)) // is short
	if _, err := w.Write(length); err != nil {
		return nil, err
	}
	for left := size; left > 0; {
		b := buffer[:min(left, int64(len(buffer)))]
		if short == nil {
			n, err := io.ReadFull(content, b)
			if err != nil {
				short = fmt.Errorf("ended %d bytes early: %w", left-int64(n), err)
				fill(b[n:])
			}
		} else {
			fill(b)
		}
		if _, err := w.Write(b); err != nil {
			return short, err
		}
		left -= int64(len(b))
	}
	return short, nil
}

func fill(b []byte) {
	for i := range b {
		b[i] = '\n'
	}
}

// Close ends the file.
func (l *LogWriter) Close() error { return l.t.Close() }

// Logs reads what LogWriter or YARN wrote.
type Logs struct {
	Owner string
	ACLs  map[string]string

	t     *Reader
	key   string    // of a container that was read ahead
	value io.Reader // of the present container
	ahead bool
	file  *io.LimitedReader
}

// maxFileText is how long the decimal length of a log may be.
const maxFileText = 20

// ReadLogs reads the head of a file of size bytes.
func ReadLogs(r io.ReaderAt, size int64) (*Logs, error) {
	t, err := NewReader(r, size)
	if err != nil {
		return nil, err
	}
	l := &Logs{t: t, ACLs: map[string]string{}}
	for {
		key, value, err := t.Next()
		if err == io.EOF {
			return l, nil
		}
		if err != nil {
			return nil, err
		}
		name, err := readUTF(bytes.NewReader(key))
		if err != nil {
			return nil, damaged("a key: %v", err)
		}
		switch name {
		case keyVersion:
			var v [4]byte
			if _, err := io.ReadFull(value, v[:]); err != nil || binary.BigEndian.Uint32(v[:]) != logVersion {
				return nil, damaged("logs of version %x", v)
			}
		case keyOwner:
			if l.Owner, err = readUTF(value); err != nil {
				return nil, damaged("the owner: %v", err)
			}
		case keyACL:
			for range accessTypes {
				kind, err := readUTF(value)
				if err == io.EOF {
					break
				}
				if err != nil {
					return nil, damaged("rights: %v", err)
				}
				if l.ACLs[kind], err = readUTF(value); err != nil {
					return nil, damaged("rights: %v", err)
				}
			}
		default:
			l.key, l.value, l.ahead = name, value, true
			return l, nil
		}
	}
}

// Next moves to the next container; io.EOF after the last.
func (l *Logs) Next() (container string, err error) {
	l.file = nil
	if l.ahead {
		l.ahead = false
		return l.key, nil
	}
	key, value, err := l.t.Next()
	if err != nil {
		return "", err
	}
	l.value = value
	if container, err = readUTF(bytes.NewReader(key)); err != nil {
		return "", damaged("a container's id: %v", err)
	}
	return container, nil
}

// NextFile moves to the next log of the container; io.EOF after the last. The content is of no use after the next call.
func (l *Logs) NextFile() (name string, size int64, content io.Reader, err error) {
	if l.value == nil {
		return "", 0, nil, io.EOF
	}
	if l.file != nil {
		if _, err := io.Copy(io.Discard, l.file); err != nil {
			return "", 0, nil, err
		}
		if l.file.N > 0 {
			return "", 0, nil, damaged("a log ends %d bytes early", l.file.N)
		}
	}
	if name, err = readUTF(l.value); err != nil {
		if err != io.EOF && !errors.Is(err, ErrFormat) {
			err = damaged("a log's name: %v", err)
		}
		return "", 0, nil, err
	}
	text, err := readUTF(l.value)
	if err != nil {
		return "", 0, nil, damaged("a log's length: %v", err)
	}
	if size, err = strconv.ParseInt(text, 10, 64); err != nil || size < 0 || len(text) > maxFileText {
		return "", 0, nil, damaged("a log of %.40q bytes", text)
	}
	l.file = &io.LimitedReader{R: l.value, N: size}
	return name, size, l.file, nil
}
