package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// ErrLocked: another process has the file open.
var ErrLocked = errors.New("checkpoint is open in another process")

// Store is an open checkpoint.
type Store struct{ db *bolt.DB }

// Identity says who the agent is and what it has heard.
type Identity struct {
	AgentID string `json:"agent"`
	BootID  string `json:"boot"`
	Epoch   uint64 `json:"epoch"` // highest seen
}

// Change is a batch of changes. A nil record removes it.
type Change struct {
	Identity *Identity
	Tasks    map[string]*Task
	Jobs     map[string]*Job
}

// Empty tells whether there is nothing to commit.
func (c *Change) Empty() bool { return c.Identity == nil && len(c.Tasks) == 0 && len(c.Jobs) == 0 }

var (
	bucketMeta  = []byte("meta")
	bucketTasks = []byte("tasks")
	bucketJobs  = []byte("jobs")
	keyIdentity = []byte("identity")
)

// reserve is the space that the file keeps for itself, so that ends of tasks can be written down when a task has filled
// the disk.
const reserve = 1 << 20

// Open opens the file or makes it.
func Open(path string) (*Store, error) {
	open := func(path string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(path, flag, mode)
		if err == nil {
			_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, reserve) // not every file system can
		}
		return f, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType, NoFreelistSync: true, OpenFile: open})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open checkpoint %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketMeta, bucketTasks, bucketJobs} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open checkpoint %s: %w", path, err), db.Close())
	}
	return &Store{db: db}, nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Load reads everything.
func (s *Store) Load() (id Identity, tasks map[string]*Task, jobs map[string]*Job, err error) {
	tasks, jobs = map[string]*Task{}, map[string]*Job{}
	err = s.db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket(bucketMeta).Get(keyIdentity); b != nil {
			if err := json.Unmarshal(b, &id); err != nil {
				return fmt.Errorf("checkpoint: identity: %w", err)
			}
		}
		err := tx.Bucket(bucketTasks).ForEach(func(k, v []byte) error {
			t, err := decodeTask(v)
			if err == nil && Key(t.Spec.GetTask()) != string(k) {
				err = errors.New("it is another task's")
			}
			if err != nil {
				return fmt.Errorf("checkpoint: record of task %q: %w", k, err)
			}
			tasks[string(k)] = t
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketJobs).ForEach(func(k, v []byte) error {
			j := &Job{}
			if err := json.Unmarshal(v, j); err != nil {
				return fmt.Errorf("checkpoint: record of job %q: %w", k, err)
			}
			jobs[string(k)] = j
			return nil
		})
	})
	return id, tasks, jobs, err
}

// Commit makes the changes durable, all or none.
func (s *Store) Commit(c *Change) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		if c.Identity != nil {
			b, err := json.Marshal(c.Identity)
			if err != nil {
				return err
			}
			if err := tx.Bucket(bucketMeta).Put(keyIdentity, b); err != nil {
				return err
			}
		}
		tasks := tx.Bucket(bucketTasks)
		for key, t := range c.Tasks {
			if t == nil {
				if err := tasks.Delete([]byte(key)); err != nil {
					return err
				}
				continue
			}
			b, err := encodeTask(t)
			if err != nil {
				return err
			}
			if err := tasks.Put([]byte(key), b); err != nil {
				return err
			}
		}
		jobs := tx.Bucket(bucketJobs)
		for key, j := range c.Jobs {
			if j == nil {
				if err := jobs.Delete([]byte(key)); err != nil {
					return err
				}
				continue
			}
			b, err := json.Marshal(j)
			if err != nil {
				return err
			}
			if err := jobs.Put([]byte(key), b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}
