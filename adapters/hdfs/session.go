package hdfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	stock "github.com/colinmarc/hdfs/v2"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hdfs/wire"
)

const (
	maxIdleSessions = 4
	idleTime        = 10 * time.Second // after which an unused session or connection is closed
	leaseTime       = 20 * time.Second // the NameNode lets others take a file over after a minute without renewal
)

// session is one client of github.com/colinmarc/hdfs and what it lacks: a context, and reasons. The client holds one lock
// over each call to a NameNode and knows no deadlines, so a session serves one call, or one open file, at a time, and is
// thrown away after any failure that is not an exception of the NameNode.
type session struct {
	fs     *fileSystem
	client *stock.Client
	life   context.Context // its connections end with it
	end    context.CancelFunc
	since  time.Time // when it was given back

	mu      sync.Mutex
	remote  *hadooprpc.Exception            // the last exception
	failure error                           // why the session is of no more use
	renewed time.Time                       // when the lease was last renewed
	writing *placement                      // nil unless a file is being written
	reading *stream                         // whose read dials DataNodes; nil unless a file is being read
	replace bool                            // the next file that is created may replace another
	located *wire.GetBlockLocationsResponse // answers the client's next questions for the blocks of the open file
	conns   map[*dataConn]bool
}

func newSession(f *fileSystem) (*session, error) {
	s := &session{fs: f, conns: make(map[*dataConn]bool)}
	s.life, s.end = context.WithCancel(context.Background())
	o := stock.ClientOptions{
		Addresses: f.c.namenodes[:1], User: f.c.user, UseDatanodeHostname: f.c.useHostname,
		NamenodeDialFunc: s.dialNameNode, DatanodeDialFunc: s.dialDataNode,
	}
	var err error
	if s.client, err = stock.NewClient(o); err != nil {
		s.end()
		return nil, s.reason(err)
	}
	return s, nil
}

// take returns an idle session or a new one, bound to ctx until settle or drop.
func (f *fileSystem) take(ctx context.Context) (*bound, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, fs.ErrClosed
	}
	var s *session
	if n := len(f.idle); n > 0 {
		s, f.idle = f.idle[n-1], f.idle[:n-1]
		f.busy[s] = true
	}
	f.mu.Unlock()
	if s == nil {
		var err error
		if s, err = f.begin(); err != nil {
			return nil, err
		}
	}
	return &bound{session: s, ctx: ctx, stop: context.AfterFunc(ctx, s.end)}, nil
}

// begin makes a session. The client has nothing to wait for: its connection is ours.
func (f *fileSystem) begin() (*session, error) {
	s, err := newSession(f)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		s.end()
		s.client.Close()
		return nil, fs.ErrClosed
	}
	f.busy[s] = true
	return s, nil
}

// bound is a session that ends with a context.
type bound struct {
	*session
	ctx  context.Context
	stop func() bool
}

// settle gives the session back, or ends it if it may be out of step, and says what err means: the end of the context, an
// exception, or that no NameNode could be talked to.
func (b *bound) settle(err error) error {
	alive := b.stop()
	s := b.session
	s.mu.Lock()
	remote, failure := s.remote, s.failure
	s.remote, s.writing, s.reading, s.located = nil, nil, nil, nil
	s.mu.Unlock()
	s.closeData()
	var exception stock.Error
	known := err == nil || remote != nil || errors.As(err, &exception) || isKind(err)
	if alive && failure == nil && known {
		s.fs.giveBack(s)
	} else {
		s.drop()
	}
	switch {
	case err == nil:
		return nil
	case b.ctx.Err() != nil:
		return b.ctx.Err()
	case errors.Is(failure, context.Canceled):
		return fs.ErrClosed // by Close of the file system
	case failure != nil:
		return failure
	case remote != nil:
		return remote
	}
	return s.reason(err)
}

// reason strips what the client says to what there is to know.
func (s *session) reason(err error) error {
	s.mu.Lock()
	failure := s.failure
	s.mu.Unlock()
	if failure != nil {
		return failure
	}
	var exception stock.Error
	if errors.As(err, &exception) {
		return &hadooprpc.Exception{Class: exception.Exception(), Message: firstLine(exception.Message())}
	}
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err
}

// isKind tells an exception that the client has turned into an error of package os.
func isKind(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid)
}

// drop ends the session and its connections at once.
func (s *session) drop() {
	s.end()
	s.closeData()
	s.fs.mu.Lock()
	delete(s.fs.busy, s)
	s.fs.mu.Unlock()
	s.client.Close()
}

// fail notes why the session is of no more use.
func (s *session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = err
	}
}

func (f *fileSystem) giveBack(s *session) {
	f.mu.Lock()
	delete(f.busy, s)
	full := f.closed || len(f.idle) >= maxIdleSessions
	if !full {
		s.since = time.Now()
		f.idle = append(f.idle, s)
		if f.timer == nil {
			f.timer = time.AfterFunc(idleTime, f.expire)
		}
	}
	f.mu.Unlock()
	if full {
		s.drop()
	}
}

// expire ends sessions that were not used for a while.
func (f *fileSystem) expire() {
	f.mu.Lock()
	var old, kept []*session
	for _, s := range f.idle {
		if time.Since(s.since) >= idleTime {
			old = append(old, s)
		} else {
			kept = append(kept, s)
		}
	}
	f.idle, f.timer = kept, nil
	if len(kept) > 0 && !f.closed {
		f.timer = time.AfterFunc(idleTime/4, f.expire)
	}
	f.mu.Unlock()
	for _, s := range old {
		s.drop()
	}
}

// do runs a call of the client for ctx.
func (f *fileSystem) do(ctx context.Context, call func(s *bound) error) error {
	s, err := f.take(ctx)
	if err != nil {
		return err
	}
	return s.settle(call(s))
}

// Close implements storage.FS. Calls that are under way end with an error.
func (f *fileSystem) Close() error {
	f.mu.Lock()
	f.closed = true
	idle := f.idle
	f.idle = nil
	for s := range f.busy {
		s.end()
	}
	if f.timer != nil {
		f.timer.Stop()
	}
	f.mu.Unlock()
	for _, s := range idle {
		s.drop()
	}
	f.nn.proxy.Close()
	return nil
}
