package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
)

// stage is how far an application's logs are.
type stage string

const (
	waiting stage = ""
	moving  stage = "moving" // written; the file may already have its name
	stored  stage = "stored" // the folders are to be removed
)

// record is what is kept of an application until its logs are done with.
type record struct {
	Ended
	Added time.Time
	Stage stage
	File  string // the path in the file system, when moving
	Tries int    `json:"-"`
}

const recordEnd = ".json"

func (r *record) path(dir string) string { return filepath.Join(dir, r.ID.String()+recordEnd) }

// save writes the record so that a crash leaves the old or the new one.
func (r *record) save(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keep %s: %w", r.ID, err)
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("keep %s: %w", r.ID, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), r.path(dir))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("keep %s: %w", r.ID, err)
	}
	return nil
}

func (r *record) remove(dir string) error {
	if err := os.Remove(r.path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// load reads all records; one that cannot be read is left where it is and told of.
func load(dir string, log *zap.Logger) ([]record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("log aggregation: %w", err)
	}
	var all []record
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".new-") {
			os.Remove(p) // of a crash
			continue
		}
		if !strings.HasSuffix(e.Name(), recordEnd) {
			continue
		}
		var r record
		b, err := os.ReadFile(p)
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err == nil && r.path(dir) != p {
			err = errors.New("it is of another application")
		}
		if err != nil {
			log.Warn("a record of logs to aggregate cannot be read", zap.String("file", p), zap.Error(err))
			continue
		}
		all = append(all, r)
	}
	return all, nil
}
