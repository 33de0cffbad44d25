package hadooprpc

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// fatalServerException is the class of what breaks the protocol itself.
const fatalServerException = "org.apache.hadoop.ipc.Server$FatalRpcServerException"

// entry is a method with what is measured about it.
type entry struct {
	run     Method
	name    string
	seconds prometheus.Observer
}

// service is a protocol, ready to be called.
type service struct {
	version uint64
	methods map[string]*entry
}

// find is the method of a call; no allocation unless there is none.
func (s *Server) find(to callHeader) (*entry, *Exception) {
	p := s.services[string(to.protocol)]
	if p == nil {
		return nil, Errorf(NoSuchProtocol, "Unknown protocol: %.255s", to.protocol)
	}
	if to.version != p.version {
		return nil, Errorf(VersionMismatch, "Protocol %.255s version mismatch. (client = %d, server = %d)", to.protocol, to.version, p.version)
	}
	m := p.methods[string(to.method)]
	if m == nil {
		return nil, Errorf(NoSuchMethod, "Unknown method %.255s called on %.255s protocol.", to.method, to.protocol)
	}
	return m, nil
}

// call is a packet, and the call in it. Its buffer is used again.
type call struct {
	c        *conn
	buf      []byte
	reserved int // bytes of the server's budget
	isLarge  bool
	head     requestHeader
	to       callHeader
	request  []byte
	method   *entry
}

var calls = sync.Pool{New: func() any { return new(call) }}

func newCall(c *conn) *call {
	k := calls.Get().(*call)
	k.c = c
	return k
}

// grow makes room for size bytes in all, within the server's budget.
func (k *call) grow(size int) bool {
	if size <= cap(k.buf) && k.reserved > 0 {
		return true
	}
	if !k.c.s.reserve(size) {
		return false
	}
	if size > cap(k.buf) {
		b := make([]byte, len(k.buf), max(size, 256))
		copy(b, k.buf)
		k.buf = b
	}
	k.c.s.release(k.reserved)
	k.reserved = size
	return true
}

// release gives the buffer back.
func (k *call) release() {
	k.c.s.release(k.reserved)
	if k.isLarge {
		<-k.c.large
	}
	b := k.buf[:0]
	if cap(b) > pooledBytes {
		b = nil
	}
	*k = call{buf: b}
	calls.Put(k)
}

// run answers the call.
func (k *call) run() {
	c, s := k.c, k.c.s
	begin := time.Now()
	m, err := k.method.run(c.ctx, c.user, k.request)
	k.method.seconds.Observe(time.Since(begin).Seconds())
	if err == nil {
		c.sendReply(&k.head, m)
	} else {
		var e *Exception
		if !errors.As(err, &e) {
			e = &Exception{Class: YarnException, Message: err.Error()}
			if c.ctx.Err() == nil {
				s.o.Log.Warn("call failed", zap.String("method", k.method.name), zap.String("user", c.user.User), zap.Stringer("peer", c), zap.Error(err))
			}
		}
		c.sendException(&k.head, e)
	}
	k.release()
	c.lastCall.Store(c.d.now.Load())
	c.active.Add(-1)
	<-c.slots
	c.calls.Done()
}

// register makes the services that find looks in.
func (s *Server) register(protocols []Protocol) error {
	s.services = make(map[string]*service, len(protocols)+1)
	for _, p := range append(protocols[:len(protocols):len(protocols)], metaProtocol(protocols)) {
		if p.Name == "" || s.services[p.Name] != nil {
			return fmt.Errorf("hadooprpc: protocol %q is given twice or has no name", p.Name)
		}
		v := &service{version: p.Version, methods: make(map[string]*entry, len(p.Methods))}
		if v.version == 0 {
			v.version = 1
		}
		for name, m := range p.Methods {
			v.methods[name] = &entry{run: m, name: name, seconds: s.metrics.calls.WithLabelValues(p.Name, name)}
		}
		s.services[p.Name] = v
	}
	return nil
}
