package mapreduce

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/kept"
)

// Limits of a registration.
const (
	maxData   = 64 << 10 // bytes of service data
	maxState  = 1 << 20  // bytes of a registration's file
	maxDirs   = 256
	minSecret = 8 // bytes; Hadoop's are 20
)

// registration is what is known of a job. It is not changed once it can be found.
type registration struct {
	Application string   `json:"application"`
	User        string   `json:"user"`
	UID         int      `json:"uid"`
	Secret      []byte   `json:"secret"`
	Dirs        []string `json:"dirs"`
}

// jobs is the registered ones by the job's id, kept in files of a folder.
type jobs struct {
	kept kept.Folder

	mu     sync.RWMutex
	byID   map[string]*registration
	saving sync.Mutex // one writer of files
}

// jobOf is the id of an application's MapReduce job: application_1_0001 runs job_1_0001.
func jobOf(application string) (string, error) {
	rest, ok := strings.CutPrefix(application, "application_")
	if !ok || !digits(strings.Replace(rest, "_", "", 1)) || strings.Count(rest, "_") != 1 || rest[0] == '_' || rest[len(rest)-1] == '_' || len(rest) > 40 {
		return "", fmt.Errorf("%.80q is not an application's id", application)
	}
	return "job_" + rest, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func newRegistration(application, user string, uid int, data []byte, dirs []string) (*registration, error) {
	if len(data) > maxData {
		return nil, fmt.Errorf("service data of %d bytes, at most %d are read", len(data), maxData)
	}
	// Some clients send the whole buffer behind their token, so what follows it does not matter.
	r := writable.NewReader(data)
	token := r.Token()
	if r.Err() != nil {
		return nil, fmt.Errorf("job token: %w", r.Err())
	}
	reg := &registration{Application: application, User: user, UID: uid, Secret: bytes.Clone(token.Password), Dirs: slices.Clone(dirs)}
	return reg, reg.check()
}

func (r *registration) check() error {
	if len(r.Secret) < minSecret {
		return fmt.Errorf("job token with a password of %d bytes, at least %d are wanted", len(r.Secret), minSecret)
	}
	if len(r.Dirs) == 0 || len(r.Dirs) > maxDirs {
		return fmt.Errorf("%d local folders, want 1 to %d", len(r.Dirs), maxDirs)
	}
	for _, d := range r.Dirs {
		if !filepath.IsAbs(d) || filepath.Clean(d) != d {
			return fmt.Errorf("local folder %q is not a clean absolute path", d)
		}
	}
	return nil
}

func (r *registration) equal(o *registration) bool {
	return r.Application == o.Application && r.User == o.User && r.UID == o.UID && bytes.Equal(r.Secret, o.Secret) && slices.Equal(r.Dirs, o.Dirs)
}

func (j *jobs) find(id string) *registration {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.byID[id]
}

func (j *jobs) count() int {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return len(j.byID)
}

// put registers a job, durably before it can be found. The same again is free.
func (j *jobs) put(id string, reg *registration) error {
	if old := j.find(id); old != nil && old.equal(reg) {
		return nil
	}
	j.saving.Lock()
	defer j.saving.Unlock()
	if old := j.find(id); old != nil {
		if old.equal(reg) {
			return nil
		}
		if old.User != reg.User || old.UID != reg.UID {
			return fmt.Errorf("%s is registered for user %s (uid %d), not %s (uid %d)", id, old.User, old.UID, reg.User, reg.UID)
		}
	}
	if err := j.kept.Save(id, reg); err != nil {
		return fmt.Errorf("keep registration of %s: %w", id, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.byID[id] = reg
	return nil
}

// drop forgets a job; an unknown one is no error.
func (j *jobs) drop(id string) error {
	j.saving.Lock()
	defer j.saving.Unlock()
	j.mu.Lock()
	delete(j.byID, id)
	j.mu.Unlock()
	return j.kept.Remove(id)
}

// load reads what an earlier process kept and reports what it cannot read, which is removed: it was cut off by a crash of
// the host, and with that the job's containers have ended.
func (j *jobs) load() (damaged []error, err error) {
	return j.kept.Load(func(id string, b []byte) error {
		reg, err := parseRegistration(b, id)
		if err == nil {
			j.byID[id] = reg
		}
		return err
	})
}

func parseRegistration(b []byte, id string) (*registration, error) {
	reg := &registration{}
	if err := json.Unmarshal(b, reg); err != nil {
		return nil, err
	}
	if want, err := jobOf(reg.Application); err != nil || want != id {
		return nil, fmt.Errorf("is of %.80q", reg.Application)
	}
	return reg, reg.check()
}
