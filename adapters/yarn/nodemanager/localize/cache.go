package localize

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairway/agent/service"
	"fairway/frameworks/storage"
	"go.uber.org/zap"
)

// Options of a Cache.
type Options struct {
	Dir     string // the local folder, laid out as YARN's: filecache, usercache/USER/{filecache,appcache/APPLICATION}
	Private string // the agent's own: what it knows of the copies
	BootID  string // of the host: after a crash of it copies are not believed
	// Files finds the file system of a URL for a user, and the path in it.
	Files func(ctx context.Context, url, user string) (storage.FS, string, error)
	Bytes int64 // what copies that outlive applications may take; 0: 10 GiB
	Log   *zap.Logger
}

// User is whose resources are fetched.
type User struct {
	Name        string // who submitted the application: names folders, and speaks to file systems
	Account     service.Account
	Application string
}

// Held is a copy that is kept until it is released.
type Held struct {
	ID     int64 // for Release and Hold
	Path   string
	Bytes  int64
	Cached bool // it was here before
}

// Cache keeps copies. It is safe for concurrent use.
type Cache struct {
	o    Options
	root *os.Root // of Dir
	ctx  context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	entries map[string]*entry // by scope and key
	byID    map[int64]*entry
	next    int64
	used    int64                    // bytes of copies that outlive applications
	turns   map[string]chan struct{} // by user: downloads at once
}

// entry is one copy, or the fetch of it.
type entry struct {
	ID       int64  `json:"id"`
	Scope    string `json:"scope"` // folder below Dir that holds filecache
	Key      string `json:"key"`
	Path     string `json:"path"` // below Dir
	Bytes    int64  `json:"bytes"`
	released time.Time

	holders int
	waiting int // for the fetch
	cancel  context.CancelFunc
	done    chan struct{} // closed when fetched
	err     error
}

const (
	parallel = 16 // downloads at once of one user
	folder   = "filecache"
)

// New opens the cache: copies of an earlier process are known again, half-made ones are removed.
func New(o Options) (*Cache, error) {
	if o.Bytes == 0 {
		o.Bytes = 10 << 30
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	for _, d := range []string{o.Dir, filepath.Join(o.Dir, folder), filepath.Join(o.Dir, "usercache")} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(filepath.Join(o.Dir, folder), 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Private, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cache{o: o, root: root, entries: map[string]*entry{}, byID: map[int64]*entry{}, turns: map[string]chan struct{}{}, next: 10}
	c.ctx, c.end = context.WithCancel(context.Background())
	if err := c.load(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return c, nil
}

// Close ends fetches and waits for them.
func (c *Cache) Close() error {
	c.end()
	c.work.Wait()
	return c.root.Close()
}

// load reads what an earlier process wrote down, and sweeps what it did not.
func (c *Cache) load() error {
	boot := filepath.Join(c.o.Private, "boot")
	if b, err := os.ReadFile(boot); err == nil && string(b) != c.o.BootID {
		if err := os.RemoveAll(c.o.Private); err != nil {
			return err
		}
		if err := os.MkdirAll(c.o.Private, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(boot, []byte(c.o.BootID), 0o600); err != nil {
		return err
	}
	list, err := os.ReadDir(c.o.Private)
	if err != nil {
		return err
	}
	for _, f := range list {
		id, err := strconv.ParseInt(f.Name(), 10, 64)
		if err != nil {
			continue
		}
		c.next = max(c.next, id)
		e := &entry{done: make(chan struct{})}
		b, err := os.ReadFile(filepath.Join(c.o.Private, f.Name()))
		if err == nil {
			err = json.Unmarshal(b, e)
		}
		if err == nil && (e.ID != id || !filepath.IsLocal(e.Path) || e.Scope != "" && !filepath.IsLocal(e.Scope)) {
			err = errors.New("does not fit")
		}
		if err == nil {
			_, err = c.root.Lstat(e.Path)
		}
		if err != nil {
			os.Remove(filepath.Join(c.o.Private, f.Name()))
			continue
		}
		close(e.done)
		c.entries[e.Scope+"\x00"+e.Key], c.byID[id] = e, e
		if !e.application() {
			c.used += e.Bytes
		}
	}
	scopes := []string{""}
	users, err := os.ReadDir(filepath.Join(c.o.Dir, "usercache"))
	if err != nil {
		return err
	}
	for _, u := range users {
		scopes = append(scopes, path.Join("usercache", u.Name()))
	}
	for _, scope := range scopes {
		copies, err := os.ReadDir(filepath.Join(c.o.Dir, scope, folder))
		if err != nil {
			continue // a user without any
		}
		for _, f := range copies {
			id, _ := strconv.ParseInt(f.Name(), 10, 64)
			if e := c.byID[id]; e == nil || e.Scope != scope {
				if err := c.root.RemoveAll(path.Join(scope, folder, f.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (e *entry) application() bool { return strings.Contains(e.Scope, "/appcache/") }

func scope(r *Resource, who User) string {
	switch r.Visibility {
	case Public:
		return ""
	case Private:
		return path.Join("usercache", who.Name)
	}
	return AppDir(who.Name, who.Application)
}

// AppDir is the folder of an application, below Dir.
func AppDir(user, application string) string {
	return path.Join("usercache", user, "appcache", application)
}

// Fetch returns a copy of a resource, holding it for the caller. The application's folder must exist.
func (c *Cache) Fetch(ctx context.Context, r Resource, who User) (Held, error) {
	s := scope(&r, who)
	name := s + "\x00" + r.key()
	c.mu.Lock()
	e, cached := c.entries[name]
	if !cached {
		c.next++
		e = &entry{ID: c.next, Scope: s, Key: r.key(), done: make(chan struct{})}
		e.Path = path.Join(s, folder, strconv.FormatInt(e.ID, 10), r.name())
		c.entries[name], c.byID[e.ID] = e, e
		var work context.Context
		work, e.cancel = context.WithCancel(c.ctx)
		turn := c.turns[who.Name]
		if turn == nil {
			turn = make(chan struct{}, parallel)
			c.turns[who.Name] = turn
		}
		c.work.Go(func() { c.fetch(work, e, r, who, turn) })
	}
	e.holders++
	e.waiting++
	c.mu.Unlock()
	select {
	case <-e.done:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.waiting--
	err := e.err
	select {
	case <-e.done:
	default:
		err = ctx.Err()
		if e.waiting == 0 { // nobody wants it any more
			c.forget(e)
			e.cancel()
		}
	}
	if err != nil {
		e.holders--
		return Held{}, err
	}
	return Held{ID: e.ID, Path: filepath.Join(c.o.Dir, e.Path), Bytes: e.Bytes, Cached: cached}, nil
}

// forget takes an entry out of the tables. Under mu.
func (c *Cache) forget(e *entry) {
	name := e.Scope + "\x00" + e.Key
	if c.entries[name] == e {
		delete(c.entries, name)
		delete(c.byID, e.ID)
	}
}

func (c *Cache) fetch(ctx context.Context, e *entry, r Resource, who User, turn chan struct{}) {
	defer e.cancel()
	var err error
	var bytes int64
	select {
	case turn <- struct{}{}:
		bytes, err = c.download(ctx, e, &r, who)
		<-turn
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		e.Bytes = bytes
		err = c.remember(e)
	}
	if err != nil {
		c.discard(e)
	}
	c.mu.Lock()
	e.err = err
	if err != nil {
		c.forget(e)
	} else if c.byID[e.ID] != e { // given up while it ended
		defer c.discard(e)
	} else if !e.application() {
		c.used += e.Bytes
	}
	close(e.done)
	c.mu.Unlock()
	c.evict()
}

func (c *Cache) remember(e *entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.o.Private, strconv.FormatInt(e.ID, 10)), b, 0o600)
}

// discard removes what there is of a copy. The note goes first: without it a rest is swept at the next start.
func (c *Cache) discard(e *entry) {
	err := os.Remove(filepath.Join(c.o.Private, strconv.FormatInt(e.ID, 10)))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, dir := range []string{path.Dir(e.Path), path.Dir(e.Path) + ".tmp"} {
		err = errors.Join(err, c.root.RemoveAll(dir))
	}
	if err != nil {
		c.o.Log.Warn("localised file not removed", zap.String("path", e.Path), zap.Error(err))
	}
}

// Hold takes up copies that a container of an earlier process holds.
func (c *Cache) Hold(ids []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if e := c.byID[id]; e != nil {
			e.holders++
		}
	}
}

// Release lets copies go.
func (c *Cache) Release(ids []int64) {
	c.mu.Lock()
	now := time.Now()
	for _, id := range ids {
		if e := c.byID[id]; e != nil && e.holders > 0 {
			e.holders--
			e.released = now
		}
	}
	c.mu.Unlock()
	c.evict()
}

// evict removes copies that nobody holds until the rest fits.
func (c *Cache) evict() {
	c.mu.Lock()
	var gone []*entry
	if c.used > c.o.Bytes {
		var free []*entry
		for _, e := range c.entries {
			if e.holders == 0 && !e.application() {
				select {
				case <-e.done:
					free = append(free, e)
				default:
				}
			}
		}
		slices.SortFunc(free, func(a, b *entry) int { return cmp.Or(a.released.Compare(b.released), cmp.Compare(a.ID, b.ID)) })
		for _, e := range free {
			if c.used <= c.o.Bytes {
				break
			}
			c.used -= e.Bytes
			c.forget(e)
			gone = append(gone, e)
		}
	}
	c.mu.Unlock()
	for _, e := range gone {
		c.discard(e)
	}
}

// DropApplication forgets an application's copies and removes its folder.
func (c *Cache) DropApplication(user, application string) error {
	dir := AppDir(user, application)
	c.mu.Lock()
	var ids []int64
	for _, e := range c.entries {
		if e.Scope == dir {
			ids = append(ids, e.ID)
			c.forget(e)
			if e.cancel != nil {
				e.cancel()
			}
		}
	}
	c.mu.Unlock()
	for _, id := range ids {
		os.Remove(filepath.Join(c.o.Private, strconv.FormatInt(id, 10)))
	}
	if err := c.root.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove folder of %s: %w", application, err)
	}
	return nil
}

// Used is how many bytes the copies that outlive applications take.
func (c *Cache) Used() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
