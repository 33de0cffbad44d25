package journal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"fairway/broker/state"
)

// voters are several journals that talk in memory.
type voters struct {
	t          *testing.T
	peers      []raft.Server
	transports []*raft.InmemTransport
	dirs       []string
	journals   []*Journal
}

func newVoters(t *testing.T, n int) *voters {
	v := &voters{t: t}
	for i := range n {
		id := fmt.Sprintf("broker%d", i)
		v.peers = append(v.peers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
		v.dirs = append(v.dirs, t.TempDir())
	}
	v.transports, v.journals = make([]*raft.InmemTransport, n), make([]*Journal, n)
	for i := range n {
		v.start(i)
	}
	return v
}

func (v *voters) start(i int) {
	_, v.transports[i] = raft.NewInmemTransport(v.peers[i].Address)
	for k, other := range v.transports {
		if k != i && other != nil {
			other.Connect(v.peers[i].Address, v.transports[i])
			v.transports[i].Connect(v.peers[k].Address, other)
		}
	}
	j, err := Open(deadline(v.t), Options{
		Dir: v.dirs[i], ID: string(v.peers[i].ID), Peers: v.peers, Transport: v.transports[i], Heartbeat: 200 * time.Millisecond,
		SegmentBytes: 64 << 10,
	})
	if err != nil {
		v.t.Fatal(err)
	}
	v.journals[i] = j
	v.t.Cleanup(func() { _ = j.Close() })
}

func (v *voters) stop(i int) {
	for k, other := range v.transports {
		if k != i && other != nil {
			other.Disconnect(v.peers[i].Address)
		}
	}
	v.transports[i].DisconnectAll()
	if err := v.journals[i].Close(); err != nil {
		v.t.Fatal(err)
	}
	v.transports[i], v.journals[i] = nil, nil
}

// lead waits for whoever leads.
func (v *voters) lead() (int, *owner) {
	type leader struct {
		i int
		s *state.State
	}
	ctx, cancel := context.WithCancel(deadline(v.t))
	defer cancel()
	found := make(chan leader, len(v.journals))
	for i, j := range v.journals {
		if j != nil {
			go func() {
				if s, err := j.Lead(ctx); err == nil {
					found <- leader{i, s}
				}
			}()
		}
	}
	select {
	case l := <-found:
		return l.i, &owner{v.t, v.journals[l.i], l.s}
	case <-ctx.Done():
		v.t.Fatal("nobody leads")
		return 0, nil
	}
}

// launch makes a task durable, by another leader where the one there is loses the lead.
func (v *voters) launch(i int, o *owner, seq uint64) (int, *owner) {
	for o.s.HighWater(1) < seq {
		f := launch(seq)
		err := o.commit(f)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrNotLeader) {
			v.t.Fatal(err)
		}
		i, o = v.lead()
		if n := prefix(v.t, o.s); n != seq && n != seq-1 {
			v.t.Fatalf("%d tasks, %d were acknowledged", n, seq-1)
		}
	}
	return i, o
}

// Three voters: the leader goes, another has all that was acknowledged and goes on; one that was away while the log it
// needs was dropped gets a snapshot. The same code as with one voter, with a transport and peers.
func TestThreeVoters(t *testing.T) {
	v := newVoters(t, 3)
	first, o := v.lead()
	o.must(setUp()...)
	for seq := uint64(1); seq <= 50; seq++ {
		first, o = v.launch(first, o, seq)
	}
	v.stop(first)
	second, o := v.lead()
	if n := prefix(t, o.s); n != 50 {
		t.Fatalf("%d of 50 tasks", n)
	}
	for seq := uint64(51); seq <= raftTrailing+200; seq++ {
		second, o = v.launch(second, o, seq)
	}
	if err := o.j.Snapshot(deadline(t)); err != nil {
		t.Fatal(err)
	}
	third := 3 - first - second
	v.start(first)
	// With the third away, an entry needs the one that came back.
	v.stop(third)
	_, o = v.launch(second, o, raftTrailing+201)
	if o.j.Err() != nil {
		t.Fatal(o.j.Err())
	}
	v.stop(second)
	v.start(third)
	_, o = v.lead()
	if n := prefix(t, o.s); n != raftTrailing+201 {
		t.Fatalf("%d of %d tasks", n, raftTrailing+201)
	}
}
