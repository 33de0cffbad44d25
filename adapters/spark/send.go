package spark

import (
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fairway/adapters/digest"
)

const (
	// A chunk up to this many bytes is copied behind its head; a larger one goes by sendfile.
	smallChunk = 16 << 10
	// So much must have gone out within Options.Patience, or the reader has stopped.
	sendStep = 4 << 20
	// So much at once is read to be sealed; Spark's clients take sealed messages of 64 KiB.
	sealStep = 32 << 10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, sealStep+digest.Overhead+8); return &b }}

// send writes a head and a segment behind it. After an error the connection is of no use.
func (c *conn) send(head []byte, g segment) error {
	if g.length == 0 {
		return c.write(head)
	}
	if c.seal == nil && g.length > smallChunk {
		return c.sendFile(head, g)
	}
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	b := append((*pooled)[:0], head...)
	for at := int64(0); at < g.length; b = b[:0] {
		n := len(b) + int(min(g.length-at, int64(sealStep-len(b))))
		part := b[len(b):n]
		if _, err := g.file.ReadAt(part, g.start+at); err != nil {
			return fmt.Errorf("%s: %w", g.file.Name(), unexpected(err))
		}
		at += int64(len(part))
		if err := c.write(b[:n]); err != nil {
			return err
		}
	}
	return nil
}

// sendFile has the kernel copy a segment. The head waits in the kernel for what comes behind it.
func (c *conn) sendFile(head []byte, g segment) error {
	c.tcp.SetWriteDeadline(time.Now().Add(c.s.options.Patience))
	var err error
	if problem := c.raw.Write(func(fd uintptr) bool {
		for len(head) > 0 {
			var n int
			if n, err = unix.SendmsgN(int(fd), head, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL); err != nil {
				return err != syscall.EAGAIN
			}
			head = head[n:]
		}
		return true
	}); problem != nil {
		return problem
	}
	if err != nil {
		return err
	}
	if _, err := g.file.Seek(g.start, io.SeekStart); err != nil {
		return err
	}
	for left := g.length; left > 0; {
		c.tcp.SetWriteDeadline(time.Now().Add(c.s.options.Patience))
		n, err := c.tcp.ReadFrom(&io.LimitedReader{R: g.file, N: min(left, sendStep)})
		left -= n
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%s became shorter: %w", g.file.Name(), io.ErrUnexpectedEOF)
		}
	}
	return nil
}
