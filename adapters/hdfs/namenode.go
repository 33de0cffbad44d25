package hdfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

const (
	maxConnections = 8                // to the NameNode at once, for one file system
	idleTime       = 10 * time.Second // after which an unused connection is closed
	firstBackoff   = 50 * time.Millisecond
	lastBackoff    = 2 * time.Second
)

// namenode calls the active NameNode of a cluster over a small pool of connections.
type namenode struct {
	c        *cluster
	clientID []byte // with the call id it lets the NameNode recognise a repeated call
	calls    atomic.Int32
	slots    chan struct{}

	mu     sync.Mutex
	active int // index of the NameNode that answered last
	idle   []*rpcConn
	timer  *time.Timer // closes idle connections; nil when there are none
	closed bool
}

func newNamenode(c *cluster) *namenode {
	id := make([]byte, 16)
	rand.Read(id)
	return &namenode{c: c, clientID: id, slots: make(chan struct{}, maxConnections)}
}

// call runs one method of ClientProtocol; see exchange.
func (n *namenode) call(ctx context.Context, method string, request, answer proto.Message) error {
	text, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	if text, err = n.exchange(ctx, method, text); err != nil {
		return err
	}
	if err := proto.Unmarshal(text, answer); err != nil {
		return n.explain(ctx, n.c.namenodes[0], &notNameNode{fmt.Sprintf("an answer to %s does not parse: %v", method, err)})
	}
	return nil
}

// exchange runs one method of ClientProtocol. It retries over broken connections and NameNodes on standby until the
// timeout; the NameNode recognises a repeated call and does it once. Errors are *remoteError, ctx.Err() or one that
// names the NameNode.
func (n *namenode) exchange(ctx context.Context, method string, request []byte) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, n.c.timeout)
	defer cancel()
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-limited.Done():
		return nil, n.explain(ctx, n.c.namenodes[0], limited.Err())
	}
	id := n.calls.Add(1) & 0x7fffffff
	backoff := firstBackoff
	broken := 0 // new connections that broke
	for attempt := int32(0); ; attempt++ {
		answer, addr, fresh, err := n.try(limited, id, attempt, method, request)
		if err == nil {
			return answer, nil
		}
		if fresh {
			broken++
		}
		again, wait := n.judge(limited, addr, broken, fresh, attempt, err)
		if !again {
			return nil, n.explain(ctx, addr, err)
		}
		n.c.log.Debug("calling a NameNode again", zap.String("method", method), zap.String("failed", addr), zap.Error(err))
		if !wait {
			continue
		}
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-limited.Done():
			timer.Stop()
			return nil, n.explain(ctx, addr, err)
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// try makes one attempt at the active NameNode; fresh tells that the connection was new.
func (n *namenode) try(ctx context.Context, id, retry int32, method string, request []byte) (answer []byte, addr string, fresh bool, err error) {
	conn, addr, err := n.take()
	if err != nil {
		return nil, addr, true, err
	}
	if conn == nil {
		if conn, err = dialRPC(ctx, addr, n.c.user, n.clientID); err != nil {
			return nil, addr, true, err
		}
	}
	fresh = !conn.used
	answer, err = conn.call(ctx, id, retry, n.clientID, method, request)
	var remote *remoteError
	if err == nil || errors.As(err, &remote) && !remote.fatal {
		conn.used = true
		n.give(conn)
	} else {
		conn.conn.Close()
	}
	return answer, addr, fresh, err
}

// judge decides whether to try again, and whether to wait before.
func (n *namenode) judge(ctx context.Context, addr string, broken int, fresh bool, attempt int32, err error) (again, wait bool) {
	if ctx.Err() != nil || errors.Is(err, fs.ErrClosed) {
		return false, false
	}
	many := int32(len(n.c.namenodes))
	var remote *remoteError
	var wrong *notNameNode
	switch {
	case errors.As(err, &remote):
		switch remote.class {
		case "org.apache.hadoop.ipc.StandbyException", "org.apache.hadoop.ipc.ObserverRetryOnActiveException":
			n.next(addr)
			return many > 1, (attempt+1)%many == 0 // once round without a pause
		case "org.apache.hadoop.ipc.RetriableException":
			return true, true // it is starting
		}
		return false, false
	case errors.As(err, &wrong):
		return false, false
	case !fresh:
		return true, false // it was closed while idle
	case many > 1:
		n.next(addr)
		return true, (attempt+1)%many == 0
	default:
		// A single NameNode that cannot be reached fails at once; one that breaks off is asked once more.
		return broken == 1 && !isDialError(err), true
	}
}

func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// next turns to the NameNode after the one at addr, unless somebody already has.
func (n *namenode) next(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.c.namenodes[n.active] == addr {
		n.active = (n.active + 1) % len(n.c.namenodes)
	}
}

// take returns an idle connection to the active NameNode, or none, and its address.
func (n *namenode) take() (*rpcConn, string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr := n.c.namenodes[n.active]
	if n.closed {
		return nil, addr, fs.ErrClosed
	}
	for i := len(n.idle) - 1; i >= 0; i-- {
		if conn := n.idle[i]; conn.addr == addr {
			n.idle = append(n.idle[:i], n.idle[i+1:]...)
			return conn, addr, nil
		}
	}
	return nil, addr, nil
}

func (n *namenode) give(conn *rpcConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		conn.conn.Close()
		return
	}
	conn.idle = time.Now()
	n.idle = append(n.idle, conn)
	if n.timer == nil {
		n.timer = time.AfterFunc(idleTime, n.expire)
	}
}

// expire closes connections that were not used for idleTime.
func (n *namenode) expire() {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := n.idle[:0]
	for _, conn := range n.idle {
		if time.Since(conn.idle) >= idleTime {
			conn.conn.Close()
		} else {
			kept = append(kept, conn)
		}
	}
	clear(n.idle[len(kept):])
	n.idle = kept
	n.timer = nil
	if len(kept) > 0 && !n.closed {
		n.timer = time.AfterFunc(idleTime/4, n.expire)
	}
}

func (n *namenode) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, conn := range n.idle {
		conn.conn.Close()
	}
	n.idle = nil
	if n.timer != nil {
		n.timer.Stop()
	}
}

// explain makes a transport failure one line that tells what to do. Exceptions of the NameNode pass.
func (n *namenode) explain(ctx context.Context, addr string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var remote *remoteError
	if errors.As(err, &remote) {
		if remote.class == "org.apache.hadoop.ipc.StandbyException" {
			return fmt.Errorf("NameNode %s is on standby: name the active one, or the nameservice", addr)
		}
		return err
	}
	if errors.Is(err, fs.ErrClosed) {
		return err
	}
	where := fmt.Sprintf("NameNode %s (from %s)", addr, n.c.origin)
	var dns *net.DNSError
	var wrong *notNameNode
	switch {
	case errors.As(err, &dns):
		return &unreachable{where + " cannot be resolved: check the host name", err}
	case errors.As(err, &wrong):
		return &unreachable{fmt.Sprintf("%s is %v", where, wrong), err}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &unreachable{where + " refuses connections: check that it runs and listens there", err}
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		// The cause is left out: it would look like an end of the caller's context.
		return &unreachable{fmt.Sprintf("%s did not answer within %v: check the address and the NameNode's health", where, n.c.timeout), os.ErrDeadlineExceeded}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return &unreachable{where + " closed the connection without an answer: check that it is a NameNode's RPC port, often 8020 or 9000", err}
	}
	return &unreachable{fmt.Sprintf("%s: connection failed: %v", where, err), err}
}
