package kept

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const unfinished = ".new-" // begins the name of a file that is being written

// Folder is where records lie. One goroutine at a time may change them.
type Folder struct {
	Dir      string // "": nothing is kept
	MaxBytes int64  // of a record; a longer one is damaged
}

// Save keeps a record by a name that is a file's; the one of before is replaced. Its mode is 0600, as records hold secrets.
func (f Folder) Save(name string, record any) error {
	if f.Dir == "" {
		return nil
	}
	b, err := json.Marshal(record)
	if err != nil {
		return err
	}
	w, err := os.CreateTemp(f.Dir, unfinished+"*")
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	if err = errors.Join(err, w.Close()); err == nil {
		err = os.Rename(w.Name(), filepath.Join(f.Dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(w.Name()))
	}
	return nil
}

// Remove forgets a record; one that is not there is no error.
func (f Folder) Remove(name string) error {
	if f.Dir == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(f.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Load hands every record to take, by name. One that cannot be read, or that take refuses, is removed and told in damaged. The
// folder is made if it is not there.
func (f Folder) Load(take func(name string, record []byte) error) (damaged []error, err error) {
	if f.Dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(f.Dir, e.Name())
		left := strings.HasPrefix(e.Name(), unfinished)
		if !left {
			b, err := f.read(path)
			if err == nil {
				err = take(e.Name(), b)
			}
			if err == nil {
				continue
			}
			damaged = append(damaged, fmt.Errorf("registration %s: %w", path, err))
		}
		if err := os.Remove(path); err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

func (f Folder) read(path string) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, f.MaxBytes+1))
	if err == nil && int64(len(b)) > f.MaxBytes {
		err = fmt.Errorf("of more than %d bytes", f.MaxBytes)
	}
	return b, err
}
