package spark

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"fairway/adapters/kept"
)

// Limits of a registration.
const (
	maxData      = 64 << 10 // bytes of service data
	maxState     = 64 << 20 // bytes of a registration's file
	maxDirs      = 256
	maxPath      = 4096 // bytes
	maxSubDirs   = 1 << 16
	maxExecutors = 10_000  // of one application on this host
	maxExecutor  = 256     // bytes of an executor's id
	maxNames     = 8 << 20 // bytes of the names of all of an application's folders here
)

// registration is what is kept of an application. It is not changed once it can be found, Executors apart.
type registration struct {
	Application string              `json:"application"`
	User        string              `json:"user"`
	UID         int                 `json:"uid"`
	Secret      string              `json:"secret"`
	Dirs        []string            `json:"dirs"`
	Forget      bool                `json:"-"` // the client wants nothing kept over a restart
	Executors   map[string]executor `json:"executors"`
}

// executor is where one keeps its files.
type executor struct {
	Dirs    []string `json:"dirs"`
	SubDirs int      `json:"subdirs"`
}

type application struct {
	mu  sync.RWMutex
	reg registration
}

// head is the registration without executors.
func (a *application) head() registration {
	a.mu.RLock()
	defer a.mu.RUnlock()
	r := a.reg
	r.Executors = nil
	return r
}

func (a *application) executor(id string) (executor, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	e, ok := a.reg.Executors[id]
	return e, ok
}

// applications is the known ones, kept in files of a folder.
type applications struct {
	kept kept.Folder

	mu     sync.RWMutex
	byID   map[string]*application
	saving sync.Mutex // one writer of files
}

func validID(id string) bool {
	rest, ok := strings.CutPrefix(id, "application_")
	ts, n, two := strings.Cut(rest, "_")
	return ok && two && len(rest) <= 40 && digits(ts) && digits(n)
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func newRegistration(app, user string, uid int, data []byte, dirs []string) (*registration, error) {
	if !validID(app) {
		return nil, errors.New("not an application's id")
	}
	if len(data) > maxData {
		return nil, fmt.Errorf("service data of %d bytes, at most %d are read", len(data), maxData)
	}
	r := &registration{Application: app, User: user, UID: uid, Secret: string(data), Dirs: slices.Clone(dirs), Executors: map[string]executor{}}
	if bytes.HasPrefix(data, []byte("{")) {
		// From Spark 3.4 on, only if there is more to say than the secret.
		var said struct {
			Secret string          `json:"secret"`
			Forget json.RawMessage `json:"spark.yarn.shuffle.server.recovery.disabled"`
		}
		if err := json.Unmarshal(data, &said); err == nil {
			r.Secret, r.Forget = said.Secret, strings.Trim(string(said.Forget), `"`) == "true"
		}
	}
	return r, r.check()
}

func (r *registration) check() error {
	if len(r.Dirs) == 0 || len(r.Dirs) > maxDirs {
		return fmt.Errorf("%d local folders, want 1 to %d", len(r.Dirs), maxDirs)
	}
	for _, d := range r.Dirs {
		if !cleanPath(d) {
			return fmt.Errorf("local folder %.200q is not a clean absolute path", d)
		}
	}
	if len(r.Executors) > maxExecutors {
		return fmt.Errorf("%d executors, at most %d", len(r.Executors), maxExecutors)
	}
	if n := r.names(); n > maxNames {
		return fmt.Errorf("names of folders of %d bytes, at most %d", n, maxNames)
	}
	for id, e := range r.Executors {
		if err := r.checkExecutor(id, e); err != nil {
			return err
		}
	}
	return nil
}

// names is how many bytes the names of its executors and their folders have.
func (r *registration) names() (n int) {
	for id, e := range r.Executors {
		n += len(id)
		for _, d := range e.Dirs {
			n += len(d)
		}
	}
	return n
}

func cleanPath(d string) bool {
	return filepath.IsAbs(d) && filepath.Clean(d) == d && len(d) <= maxPath && strings.IndexByte(d, 0) < 0
}

// checkExecutor says whether an executor's folders are its application's.
func (r *registration) checkExecutor(id string, e executor) error {
	if id == "" || len(id) > maxExecutor {
		return fmt.Errorf("executor id of %d bytes, want 1 to %d", len(id), maxExecutor)
	}
	if len(e.Dirs) == 0 || len(e.Dirs) > maxDirs {
		return fmt.Errorf("%d folders, want 1 to %d", len(e.Dirs), maxDirs)
	}
	if e.SubDirs < 1 || e.SubDirs > maxSubDirs {
		return fmt.Errorf("%d folders below each, want 1 to %d", e.SubDirs, maxSubDirs)
	}
	for _, d := range e.Dirs {
		if !cleanPath(d) {
			return fmt.Errorf("folder %.200q is not a clean absolute path", d)
		}
		if _, _, ok := below(r.Dirs, d); !ok {
			return fmt.Errorf("folder %.200q is outside of application %s's folders", d, r.Application)
		}
	}
	return nil
}

// below finds the root that a clean path lies under, and the rest of the path.
func below(roots []string, path string) (root, rest string, ok bool) {
	for _, root := range roots {
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/"); ok && rest != "" {
			return root, rest, true
		}
	}
	return "", "", false
}

func (a *applications) find(id string) *application {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.byID[id]
}

func (a *applications) list() []string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Sorted(maps.Keys(a.byID))
}

func (a *applications) count() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.byID)
}

func (a *applications) executors() (n int) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, app := range a.byID {
		app.mu.RLock()
		n += len(app.reg.Executors)
		app.mu.RUnlock()
	}
	return n
}

// put makes an application known, durably before it can be found.
func (a *applications) put(r *registration) error {
	a.saving.Lock()
	defer a.saving.Unlock()
	app := a.find(r.Application)
	if app == nil {
		if err := a.save(r); err != nil {
			return fmt.Errorf("keep registration of %s: %w", r.Application, err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.byID[r.Application] = &application{reg: *r}
		return nil
	}
	old := app.head()
	if old.User != r.User || old.UID != r.UID {
		return fmt.Errorf("%s is registered for user %s (uid %d), not %s (uid %d)", r.Application, old.User, old.UID, r.User, r.UID)
	}
	next := *r
	if next.Secret == "" {
		next.Secret = old.Secret
	}
	if old.Secret == next.Secret && slices.Equal(old.Dirs, next.Dirs) && old.Forget == next.Forget {
		return nil
	}
	next.Executors = map[string]executor{}
	app.mu.RLock()
	for id, e := range app.reg.Executors {
		if next.checkExecutor(id, e) == nil {
			next.Executors[id] = e
		}
	}
	app.mu.RUnlock()
	if err := a.save(&next); err != nil {
		return fmt.Errorf("keep registration of %s: %w", r.Application, err)
	}
	app.mu.Lock()
	defer app.mu.Unlock()
	app.reg = next
	return nil
}

// register keeps an executor's folders, durably before they can be found.
func (a *applications) register(app *application, id string, e executor) error {
	a.saving.Lock()
	defer a.saving.Unlock()
	next := app.head()
	if a.find(next.Application) != app {
		return fmt.Errorf("application %s has ended", next.Application)
	}
	if err := next.checkExecutor(id, e); err != nil {
		return err
	}
	app.mu.RLock()
	old, known := app.reg.Executors[id]
	next.Executors = maps.Clone(app.reg.Executors)
	app.mu.RUnlock()
	if known && old.SubDirs == e.SubDirs && slices.Equal(old.Dirs, e.Dirs) {
		return nil
	}
	if !known && len(next.Executors) >= maxExecutors {
		return fmt.Errorf("application %s has %d executors on this host, no more are taken", next.Application, maxExecutors)
	}
	if next.Executors == nil {
		next.Executors = map[string]executor{}
	}
	next.Executors[id] = e
	if n := next.names(); n > maxNames {
		return fmt.Errorf("the names of folders of application %s's executors on this host would have %d bytes, at most %d are kept", next.Application, n, maxNames)
	}
	if err := a.save(&next); err != nil {
		return fmt.Errorf("keep registration of %s: %w", next.Application, err)
	}
	app.mu.Lock()
	defer app.mu.Unlock()
	app.reg.Executors = next.Executors
	return nil
}

// drop forgets an application; an unknown one is no error.
func (a *applications) drop(id string) error {
	if !validID(id) {
		return nil
	}
	a.saving.Lock()
	defer a.saving.Unlock()
	a.mu.Lock()
	delete(a.byID, id)
	a.mu.Unlock()
	return a.kept.Remove(id)
}

func (a *applications) save(r *registration) error {
	if r.Forget {
		return nil
	}
	return a.kept.Save(r.Application, r)
}

// load reads what an earlier process kept and reports what it cannot read, which is removed: it was cut off by a crash of
// the host, and with that the application's containers here have ended.
func (a *applications) load() (damaged []error, err error) {
	return a.kept.Load(func(id string, b []byte) error {
		r, err := parseRegistration(b, id)
		if err == nil {
			a.byID[id] = &application{reg: *r}
		}
		return err
	})
}

func parseRegistration(b []byte, id string) (*registration, error) {
	r := &registration{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	if r.Application != id || !validID(id) {
		return nil, fmt.Errorf("is of %.80q", r.Application)
	}
	if r.Executors == nil {
		r.Executors = map[string]executor{}
	}
	return r, r.check()
}
