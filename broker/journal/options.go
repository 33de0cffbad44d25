package journal

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options of a journal. Only Dir is needed.
type Options struct {
	// Dir is the folder that holds everything. One process has it at a time.
	Dir string
	// Log and Registerer may be nil.
	Log        *zap.Logger
	Registerer prometheus.Registerer
	// SnapshotLogBytes: a snapshot is taken when the log has grown by this (default 16 MiB) and by the size of the last
	// snapshot, so that log and snapshots stay in proportion.
	SnapshotLogBytes int64
	// SegmentBytes is the size of the log's files, which are allocated whole (default 4 MiB).
	SegmentBytes int

	// ID, Transport and Peers are for more than one voter. ID (default "broker") is this voter's name; without a Transport
	// it talks to itself in memory. Peers are the voters of a new cluster, and must be the same at each.
	ID        string
	Transport raft.Transport
	Peers     []raft.Server
	// Heartbeat is how long a follower waits for its leader, and a single voter at start before it leads (up to twice
	// that). Default: 20 ms for one voter, 1 s for more.
	Heartbeat time.Duration

	files types.VFS // nil: the real one
}

// raftTrailing entries before a snapshot stay in the log, for followers that are a little behind.
const raftTrailing = 128

func (o *Options) complete() error {
	if o.Dir == "" {
		return errors.New("no folder")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.SnapshotLogBytes <= 0 {
		o.SnapshotLogBytes = 16 << 20
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 4 << 20
	}
	if o.ID == "" {
		o.ID = "broker"
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = time.Second
		if o.Transport == nil {
			o.Heartbeat = 20 * time.Millisecond
		}
	}
	if o.Transport == nil && len(o.Peers) > 1 {
		return errors.New("several voters need a transport")
	}
	return nil
}

func (o *Options) raftConfig(logger raftLogger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(o.ID)
	c.Logger = logger
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = o.Heartbeat, o.Heartbeat, o.Heartbeat/2
	c.CommitTimeout = min(o.Heartbeat/4, 50*time.Millisecond)
	c.BatchApplyCh = true // Apply does not wait for the disk
	c.MaxAppendEntries = 64
	c.TrailingLogs = raftTrailing
	c.NoSnapshotRestoreOnStart = true // Open has done it, with clearer errors
	// We say when: by bytes, not by entries.
	c.SnapshotThreshold = 1 << 62
	c.SnapshotInterval = 24 * time.Hour
	c.ShutdownOnRemove = false
	return c
}
