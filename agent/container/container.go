package container

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"fairway/agent/container/supervisor"
)

// Exit tells how a container ended.
type Exit = supervisor.Exit

// Container is one process tree. Kill may be called from any goroutine, the other methods from one at a time.
type Container struct {
	r       *Runtime
	id      string
	dir     string
	groups  supervisor.Spec
	conn    *net.UnixConn // nil: the supervisor was gone when it was attached
	process *os.Process   // the supervisor, if it is a child of this process
	exit    *Exit
	pid     int // of the task's first process; 0: unknown

	writing sync.Mutex
}

// ID is the id that it was started with.
func (c *Container) ID() string { return c.id }

// startTime bounds how long a supervisor may take to execute the task's program: much on a host that swaps.
const startTime = 30 * time.Second

// awaitStart reads until the task's program runs.
func (c *Container) awaitStart() error {
	c.conn.SetReadDeadline(time.Now().Add(c.r.start))
	defer c.conn.SetReadDeadline(time.Time{})
	kind, body, err := readMessage(c.conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Where it stands says what the host is short of. It is not waited for: it does not listen.
		err = fmt.Errorf("%w after %s%s", err, c.r.start, standing(c.process.Pid))
		c.process.Kill()
	}
	if err != nil {
		return fmt.Errorf("supervisor did not start: %w%s", err, c.complaint())
	}
	switch kind {
	case supervisor.MsgStarted:
		c.keepPID(body)
		return nil
	case supervisor.MsgExit:
		x, ok := supervisor.DecodeExit(body)
		if ok && x.StartFailure != "" {
			return errors.New(x.StartFailure)
		}
	}
	return fmt.Errorf("supervisor sent an unexpected message %q", kind)
}

// complaint is what the supervisor wrote on its stderr.
func (c *Container) complaint() string {
	f, err := os.Open(filepath.Join(c.dir, supervisor.LogFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 512))
	if len(b) == 0 {
		return ""
	}
	return ": " + string(b)
}

// Ended returns how the container ended if that was known when it was attached, else nil.
func (c *Container) Ended() *Exit { return c.exit }

// Wait returns how the container ended, once all of its processes have and the record is durable. ErrGone: the
// supervisor was killed; its processes are dead by then.
func (c *Container) Wait(ctx context.Context) (*Exit, error) {
	if c.exit != nil {
		return c.exit, nil
	}
	stop := context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			c.conn.SetReadDeadline(time.Time{})
		}
	}()
	for {
		kind, body, err := readMessage(c.conn)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			break // the supervisor has ended
		}
		if kind == supervisor.MsgExit {
			if x, ok := supervisor.DecodeExit(body); ok {
				c.exit = x
				return x, nil
			}
		}
	}
	if c.exit = c.record(); c.exit != nil {
		return c.exit, nil
	}
	return nil, errors.Join(fmt.Errorf("%w: its supervisor has died%s", ErrGone, c.complaint()), c.r.groups.remove(&c.groups))
}

// record reads the exit record; nil: there is none.
func (c *Container) record() *Exit {
	f, err := os.Open(filepath.Join(c.dir, supervisor.ExitFile))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, supervisor.MaxRecord+1))
	if err != nil {
		return nil
	}
	x, ok := supervisor.DecodeExit(b)
	if !ok {
		return nil
	}
	return x
}

// Resize changes the limits of memory and cpu of a running container; a limit of 0 stays as it is. Memory below what is in
// use may be refused by the kernel, or end the container. It may be called beside Wait.
func (c *Container) Resize(r Resources) error { return c.r.groups.resize(r, &c.groups) }

// Kill asks the task's process group to end (SIGTERM), and ends every process of the container (SIGKILL) after grace. With
// no grace it does so at once. It returns before they have ended, and does nothing if they had.
func (c *Container) Kill(grace time.Duration) error {
	if c.conn == nil {
		return nil
	}
	millis := int64(grace / time.Millisecond)
	if grace > 0 && millis == 0 {
		millis = 1
	}
	err := c.tell(supervisor.MsgKill, supervisor.Number8(millis))
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

func (c *Container) tell(kind byte, body []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := c.conn.Write(supervisor.Frame(kind, body))
	return err
}

// Release gives up what is kept of an ended container.
func (c *Container) Release() error {
	c.end()
	return errors.Join(c.r.groups.remove(&c.groups), os.RemoveAll(c.dir))
}

// end lets the supervisor go and waits until it has.
func (c *Container) end() {
	if c.conn != nil {
		if err := c.tell(supervisor.MsgAck, nil); err == nil {
			c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			io.Copy(io.Discard, c.conn)
		}
		c.conn.Close()
	}
	if c.process != nil {
		c.process.Kill() // no harm to one that has ended: it is not reaped yet
		c.process.Wait()
		c.process = nil
	}
}

// Detach lets go of the container without ending it; another Attach finds it.
func (c *Container) Detach() {
	if c.conn != nil {
		c.conn.Close()
	}
	if c.process != nil {
		c.process.Release()
	}
}

func readMessage(r io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[:4])
	if n < 1 || n > supervisor.MaxMessage {
		return 0, nil, fmt.Errorf("message of %d bytes", n)
	}
	body = make([]byte, n-1)
	_, err = io.ReadFull(r, body)
	return head[4], body, err
}
