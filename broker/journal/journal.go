package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Journal is one voter's log and its copy of the state. Its methods may be called from several goroutines.
type Journal struct {
	o         Options
	log       *zap.Logger
	lock      *os.File
	store     *store
	snapshots *snapshots
	machine   *machine
	raft      *raft.Raft
	transport raft.Transport
	metrics   *metrics
	group     errgroup.Group
	leader    chan bool
	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when leads changes
	leads   bool
	lead    uint64   // number of the owner's present lead, 0: none
	term    uint64   // raft's, in which its appends are proposed
	next    uint64   // number of the next entry in the term
	count   uint64   // of leads
	queue   []*entry // appended and not done, in order
	sent    int      // of them, handed to raft
	closed  bool
	wake    chan struct{}

	failed   chan struct{}
	failOnce sync.Once
	failure  error
}

// Open locks the folder, makes it where there is none, and recovers what it holds. It fails, naming the file, where
// that is damaged or by a newer Fairway; it never leaves out what it cannot read.
func Open(ctx context.Context, o Options) (*Journal, error) {
	j, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", o.Dir, err)
	}
	return j, nil
}

func open(ctx context.Context, o Options) (_ *Journal, err error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	j := &Journal{
		o: o, log: o.Log, leader: make(chan bool, 1), closing: make(chan struct{}), changed: make(chan struct{}),
		wake: make(chan struct{}, 1), failed: make(chan struct{}), transport: o.Transport,
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "wal"), 0o700); err != nil {
		return nil, err
	}
	if j.lock, err = lockFolder(o.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.release())
		}
	}()
	logger := bridge(o.Log)
	j.metrics = newMetrics(o.Registerer, j)
	j.machine = newMachine(o.Log, j.fail)
	if j.snapshots, err = newSnapshots(filepath.Join(o.Dir, "snapshots")); err != nil {
		return nil, err
	}
	meta, err := j.snapshots.restore(j.machine)
	if err != nil {
		return nil, err
	}
	if j.store, err = openStore(filepath.Join(o.Dir, "wal"), o.SegmentBytes, o.files, logger, j.fail); err != nil {
		return nil, err
	}
	if err := j.store.verify(ctx, meta.Index); err != nil {
		return nil, err
	}
	if err := j.metrics.register(); err != nil {
		return nil, err
	}
	if err := j.start(logger); err != nil {
		return nil, err
	}
	return j, nil
}

// LeaderCh tells of leadership gained and lost; only the latest value is kept.
func (j *Journal) LeaderCh() <-chan bool { return j.leader }

// Failed is closed when the journal can do no more, as after a disk fault; Err says why. Close it and open it again.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err is why the journal failed, nil while it has not.
func (j *Journal) Err() error {
	select {
	case <-j.failed:
		return j.failure
	default:
		return nil
	}
}

// fail makes the journal refuse everything from now on.
func (j *Journal) fail(err error) {
	j.failOnce.Do(func() {
		j.failure = fmt.Errorf("journal %s failed: %w", j.o.Dir, err)
		j.log.Error("the journal failed", zap.Error(err))
		close(j.failed)
		j.setLeads(false)
		if j.store.running.Load() {
			j.raft.Shutdown() // else it would stand for election for ever
		}
	})
}

func (j *Journal) setLeads(leads bool) {
	j.mu.Lock()
	j.leads = leads && j.Err() == nil
	if !j.leads {
		j.lead = 0
	}
	close(j.changed)
	j.changed = make(chan struct{})
	leads = j.leads
	j.mu.Unlock()
	// A value that nobody took gives way to the later one.
	for {
		select {
		case j.leader <- leads:
			return
		default:
		}
		select {
		case <-j.leader:
		default:
		}
	}
}

// start runs raft and the journal's own goroutines.
func (j *Journal) start(logger raftLogger) error {
	c := j.o.raftConfig(logger)
	if j.transport == nil {
		_, j.transport = raft.NewInmemTransport(raft.ServerAddress(c.LocalID))
	}
	existing, err := raft.HasExistingState(j.store, j.store, j.snapshots)
	if err != nil {
		return err
	}
	if !existing {
		peers := j.o.Peers
		if len(peers) == 0 {
			peers = []raft.Server{{ID: c.LocalID, Address: j.transport.LocalAddr()}}
		}
		if err := raft.BootstrapCluster(c, j.store, j.store, j.snapshots, j.transport, raft.Configuration{Servers: peers}); err != nil {
			return err
		}
	}
	if j.raft, err = raft.NewRaft(c, j.machine, j.store, j.store, j.snapshots, j.transport); err != nil {
		return err
	}
	j.store.running.Store(true)
	j.group.Go(j.watch)
	j.group.Go(j.finish)
	j.group.Go(j.compact)
	return nil
}

// watch follows raft's leadership.
func (j *Journal) watch() error {
	for {
		select {
		case <-j.closing:
			return nil
		case leads := <-j.raft.LeaderCh():
			j.setLeads(leads)
		}
	}
}

// compact takes snapshots when the log has grown.
func (j *Journal) compact() error {
	var least int64
	for {
		select {
		case <-j.closing:
			return nil
		case <-j.failed:
			return nil
		case <-j.machine.grown:
		}
		if j.machine.logBytes.Load() < max(j.o.SnapshotLogBytes, j.snapshots.bytes.Load(), least) {
			continue
		}
		least = 0
		if err := j.snapshot(); err != nil && j.Err() == nil && !errors.Is(err, raft.ErrRaftShutdown) {
			// The log stays, so nothing is lost but room.
			least = j.machine.logBytes.Load() + j.o.SnapshotLogBytes
			j.metrics.snapshotFailures.Inc()
			j.log.Error("no snapshot was taken; the next is tried when the log has grown", zap.Error(err), zap.Int64("log bytes", least))
		}
	}
}

func (j *Journal) snapshot() error {
	err := j.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// Snapshot takes a snapshot now, drops what the log no longer needs, and waits for both.
func (j *Journal) Snapshot(ctx context.Context) error {
	done := make(chan error, 1)
	f := j.raft.Snapshot()
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		if errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return nil
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close stops the journal and waits for its goroutines. Entries in flight fail, though they may be durable already.
func (j *Journal) Close() error {
	j.closeOnce.Do(func() {
		j.setLeads(false)
		err := j.raft.Shutdown().Error()
		j.mu.Lock()
		j.closed = true
		j.mu.Unlock()
		close(j.closing)
		j.closeErr = errors.Join(err, j.group.Wait(), j.release())
	})
	return j.closeErr
}

// release closes what open opened.
func (j *Journal) release() error {
	var errs []error
	if c, ok := j.transport.(io.Closer); ok && j.raft != nil {
		errs = append(errs, c.Close())
	}
	if j.store != nil {
		errs = append(errs, j.store.close())
	}
	if j.metrics != nil {
		j.metrics.unregister()
	}
	return errors.Join(append(errs, j.lock.Close())...)
}

// Stats tells what the journal holds.
type Stats struct {
	Entries       uint64 // in the log now
	LogBytes      int64  // of the log's files
	DiskBytes     int64  // of all files
	SnapshotBytes int64  // of the last snapshot, 0: none
	SnapshotIndex uint64
	SnapshotAt    time.Time
	SnapshotPause time.Duration // the longest that taking one stopped the state machine
	Snapshots     uint64        // taken since Open
	Leader        bool
}

// Stats reads the sizes of the files, so it is not for every turn.
func (j *Journal) Stats() (Stats, error) {
	first, err := j.store.FirstIndex()
	if err != nil {
		return Stats{}, err
	}
	last, err := j.store.LastIndex()
	if err != nil {
		return Stats{}, err
	}
	s := Stats{SnapshotPause: time.Duration(j.machine.pause.Load()), Snapshots: j.machine.taken.Load()}
	if first > 0 {
		s.Entries = last - first + 1
	}
	if s.LogBytes, err = diskBytes(filepath.Join(j.o.Dir, "wal")); err != nil {
		return Stats{}, err
	}
	if s.DiskBytes, err = diskBytes(j.o.Dir); err != nil {
		return Stats{}, err
	}
	if s.SnapshotBytes = j.snapshots.bytes.Load(); s.SnapshotBytes > 0 {
		s.SnapshotIndex, s.SnapshotAt = j.snapshots.index.Load(), time.Unix(0, j.snapshots.at.Load())
	}
	j.mu.Lock()
	s.Leader = j.leads
	j.mu.Unlock()
	return s, nil
}
