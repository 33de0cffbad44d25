package journal

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"fairway/broker/state"
)

// MaxInFlight is how many entries are on their way to the disk at once; what is appended meanwhile waits in order.
const MaxInFlight = 4

// ErrNotLeader: this journal may not append now; Lead again. The facts of a failed Append may or may not survive, but
// if one does then so do all before it.
var ErrNotLeader = errors.New("not the leader")

// Options of a journal. Only Dir is needed.
type Options struct {
	Dir        string
	Log        *zap.Logger
	Registerer prometheus.Registerer
}

// Journal is one voter's log and its copy of the state.
type Journal struct{}

// Open locks the folder and recovers what it holds.
func Open(ctx context.Context, o Options) (*Journal, error) { return nil, errors.New("not yet") }

// Lead waits until this journal leads and all that was committed before is folded in, begins a term of appends, and
// returns a clone of the state for the caller to own. After an Append has failed, and when LeaderCh has said false,
// call it again: all that was appended in the old term fails.
func (j *Journal) Lead(ctx context.Context) (*state.State, error) { return nil, errors.New("not yet") }

// Append makes facts durable as one entry. It does not wait, and keeps nothing of facts. done is called once, from one
// goroutine for all entries and in their order, and must not block for long. After one failure all later entries of the
// term fail with ErrNotLeader.
func (j *Journal) Append(facts []state.Fact, done func(error)) { done(errors.New("not yet")) }

// InFlight is the number of appended entries whose done has not returned.
func (j *Journal) InFlight() int { return 0 }

// LeaderCh tells of leadership gained and lost; only the latest value is kept.
func (j *Journal) LeaderCh() <-chan bool { return nil }

// Failed is closed when the journal can do no more, as after a disk fault; Err says why. Close it and open it again.
func (j *Journal) Failed() <-chan struct{} { return nil }

// Err is why the journal failed.
func (j *Journal) Err() error { return nil }

// Snapshot takes a snapshot now and waits for it.
func (j *Journal) Snapshot(ctx context.Context) error { return nil }

// Stats tells what the journal holds.
type Stats struct {
	Entries       uint64 // in the log now
	LogBytes      int64  // of the log's files
	DiskBytes     int64  // of all files
	SnapshotBytes int64
	SnapshotIndex uint64
	SnapshotAt    time.Time
	SnapshotPause time.Duration // the longest that taking one stopped the state machine
	Snapshots     uint64
	Leader        bool
}

func (j *Journal) Stats() Stats { return Stats{} }

// Close stops the journal; entries in flight may fail.
func (j *Journal) Close() error { return nil }
