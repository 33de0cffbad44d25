//go:build faultpoints

package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"strings"
	"syscall"

	"fairway/broker/core"
	"fairway/broker/state"
)

// A broker that kills itself at a submission by YARN's protocol. Nothing of this is in the ordinary binary, nor does
// anything in it call what is here: integration/yarnjobs builds with the tag, and with an overlay that puts these between.
//
// FAIRWAY_FAULTPOINT names a file. While there is none nothing happens; if there is one, its text says where the next
// submission ends the process: one of the points below. The file is removed first, so that the broker that is started
// next lives.
const (
	beforeWrite = "before-write" // the journal was not given what the submission comes to
	afterWrite  = "after-write"  // it is durable, and nobody was told
	afterReply  = "after-reply"  // the client has been sent its answer
)

// dieAt ends the process if this is where it is to end.
func dieAt(point string) {
	file := os.Getenv("FAIRWAY_FAULTPOINT")
	if file == "" {
		return
	}
	b, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(b)) != point || os.Remove(file) != nil {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}

// dyingJournal dies around the entry with which a submission becomes durable: the first state that a framework saves.
type dyingJournal struct{ core.Journal }

func (j dyingJournal) Append(facts []state.Fact, done func(error)) {
	submits := false
	for i := range facts {
		submits = submits || facts[i].Kind == state.FrameworkSaved && facts[i].Version == 1
	}
	if !submits {
		j.Journal.Append(facts, done)
		return
	}
	dieAt(beforeWrite)
	j.Journal.Append(facts, func(err error) {
		if err == nil {
			dieAt(afterWrite)
		}
		done(err)
	})
}

// dyingListener dies after the reply to a submission.
type dyingListener struct{ net.Listener }

func dyingListen(l net.Listener, err error) (net.Listener, error) {
	if err != nil {
		return nil, err
	}
	return dyingListener{l}, nil
}

func (l dyingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &dyingConn{Conn: c, submitted: make(chan struct{}, 1)}, nil
}

// dyingConn is read by one goroutine and written by another. A client's submissions wait for their answers.
type dyingConn struct {
	net.Conn
	tail      []byte
	submitted chan struct{} // holds one from the request until its reply
	left      int           // bytes of the reply that are not written
}

func (c *dyingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	name := []byte("submitApplication")
	seen := append(c.tail, p[:n]...)
	at := bytes.LastIndex(seen, name)
	if at >= 0 {
		select {
		case c.submitted <- struct{}{}:
		default:
		}
		seen = seen[at+len(name):]
	}
	c.tail = bytes.Clone(seen[max(0, len(seen)-len(name)+1):])
	return n, err
}

func (c *dyingConn) Write(p []byte) (int, error) {
	if c.left == 0 && len(p) >= 4 {
		select {
		case <-c.submitted:
			c.left = 4 + int(binary.BigEndian.Uint32(p))
		default:
		}
	}
	n, err := c.Conn.Write(p)
	if c.left > 0 {
		if c.left = max(0, c.left-n); c.left == 0 {
			dieAt(afterReply)
		}
	}
	return n, err
}
