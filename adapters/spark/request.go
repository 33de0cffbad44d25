package spark

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"fairway/adapters/recent"
	"fairway/adapters/spark/wire"
)

// The words of Spark's default service for what push-based shuffle asks.
var (
	errMerge       = errors.New("java.lang.UnsupportedOperationException: Cannot handle shuffle block merge")
	errRemoveMerge = errors.New("java.lang.UnsupportedOperationException: Cannot handle merged shuffle remove")
)

const (
	merger     = "shuffle-push-merger" // asked for as if it were an executor
	maxStreams = 4096                  // of a connection, opened and not fetched to their end
)

// stream is blocks that were asked for, to be fetched in order.
type stream struct {
	app, exec string
	refs      []ref
	next      int32
	cost      int64 // of the budget
}

// application finds one that this connection may ask about.
func (c *conn) application(id string) (*application, error) {
	app := c.s.apps.find(id)
	if c.client != "" && c.client != id {
		return nil, fmt.Errorf("java.lang.SecurityException: Client for %s not authorized for application %.200s.", c.client, id) //lint:ignore ST1005 Spark's own words
	}
	if app == nil {
		return nil, fmt.Errorf("java.lang.IllegalStateException: application %.200s is not known to this shuffle service: no container of it here asked for %s", id, Name)
	}
	if c.client == "" && app.head().Secret != "" {
		return nil, fmt.Errorf("java.lang.SecurityException: Client for null not authorized for application %.200s.", id) //lint:ignore ST1005 Spark's own words
	}
	return app, nil
}

func (c *conn) executor(appID, exec string) (registration, executor, error) {
	app, err := c.application(appID)
	if err != nil {
		return registration{}, executor{}, err
	}
	e, ok := app.executor(exec)
	if !ok {
		return registration{}, executor{}, fmt.Errorf("java.lang.RuntimeException: Executor is not registered (appId=%.200s, execId=%.200s)", appID, exec)
	}
	return app.head(), e, nil
}

// rpc answers one, which may be a step of authentication.
func (c *conn) rpc(id int64, body []byte) error {
	if len(body) > 0 && c.client == "" {
		switch body[0] {
		case wire.TagSASL:
			return c.sasl(id, body[1:])
		case wire.TagAuth:
			return c.auth(id, body)
		}
	}
	m, err := wire.Parse(body)
	if err != nil {
		return c.refuse(id, fmt.Errorf("java.lang.IllegalArgumentException: %w", err))
	}
	c.s.metrics.requests.WithLabelValues(strings.TrimPrefix(fmt.Sprintf("%T", m), "*wire.")).Inc()
	answer, err := c.answer(m)
	if err != nil {
		return c.refuse(id, err)
	}
	if answer == nil {
		return c.reply(id, nil)
	}
	b := wire.Append(nil, answer)
	if cost := 2 * int64(len(b)); len(b) > smallFrame { // it, and the frame around it
		if !c.s.memory.take(cost) {
			c.s.metrics.refused.WithLabelValues("memory").Inc()
			return c.refuse(id, fmt.Errorf("java.lang.IllegalStateException: an answer of %d bytes while others take the memory for requests", len(b)))
		}
		defer c.s.memory.give(cost)
	}
	return c.reply(id, b)
}

// answer is nil, without an error, for an empty one.
func (c *conn) answer(m wire.Message) (wire.Message, error) {
	switch m := m.(type) {
	case *wire.RegisterExecutor:
		app, err := c.application(m.App)
		if err != nil {
			return nil, err
		}
		if err := c.s.apps.register(app, m.Exec, executor{Dirs: m.Dirs, SubDirs: int(m.SubDirs)}); err != nil {
			return nil, fmt.Errorf("java.lang.IllegalArgumentException: executor %.200s: %w", m.Exec, err)
		}
		return nil, nil
	case *wire.OpenBlocks:
		if _, err := c.application(m.App); err != nil {
			return nil, err
		}
		return c.openBlocks(m)
	case *wire.FetchBlocks:
		if _, err := c.application(m.App); err != nil {
			return nil, err
		}
		return c.fetchBlocks(m)
	case *wire.FetchChunks:
		if _, err := c.application(m.App); err != nil {
			return nil, err
		}
		// As in Spark's default service it is the fetch that fails.
		n := 0
		for _, l := range m.Chunks {
			n += len(l)
		}
		return c.register(m.App, m.Exec, n, func(int) ref { return ref{kind: refMerged} })
	case *wire.RemoveBlocks:
		return c.removeBlocks(m)
	case *wire.GetLocalDirs:
		return c.localDirs(m)
	case *wire.Diagnose:
		reg, e, err := c.executor(m.App, m.Exec)
		if err != nil {
			return nil, err
		}
		cause, err := c.s.diagnose(reg, e, m)
		if err != nil {
			c.s.warn("a damaged block cannot be diagnosed", c.tcp.RemoteAddr(), err)
		}
		return &wire.Cause{Cause: cause}, nil
	case *wire.Merge:
		if _, err := c.application(m.App); err != nil {
			return nil, err
		}
		if m.Tag == wire.TagRemoveMerge {
			return nil, errRemoveMerge
		}
		if m.Tag == wire.TagFinalizeMerge {
			return nil, errMerge
		}
	}
	return nil, fmt.Errorf("java.lang.UnsupportedOperationException: Unexpected message: %T", m)
}

func (c *conn) openBlocks(m *wire.OpenBlocks) (wire.Message, error) {
	refs := make([]ref, len(m.Blocks))
	for i, name := range m.Blocks {
		r, err := parseRef(name)
		if err == nil && (r.kind != refs[0].kind && i > 0) {
			err = fmt.Errorf("Unexpected block id format: %.200s", name) //lint:ignore ST1005 Spark's own words
		}
		if err == nil && r.kind == refShuffle && i > 0 && r.shuffle != refs[0].shuffle {
			err = fmt.Errorf("Expected shuffleId=%d, got:%.200s", refs[0].shuffle, name) //lint:ignore ST1005 Spark's own words
		}
		if err != nil {
			return nil, fmt.Errorf("java.lang.IllegalArgumentException: %w", err)
		}
		refs[i] = r
	}
	return c.register(m.App, m.Exec, len(refs), func(i int) ref { return refs[i] })
}

func (c *conn) fetchBlocks(m *wire.FetchBlocks) (wire.Message, error) {
	if len(m.Maps) != len(m.Reduces) {
		return nil, fmt.Errorf("java.lang.IllegalArgumentException: %d maps with %d lists of partitions", len(m.Maps), len(m.Reduces))
	}
	n := 0
	for i, l := range m.Reduces {
		switch {
		case m.Maps[i] < 0:
			return nil, fmt.Errorf("java.lang.IllegalArgumentException: map %d", m.Maps[i])
		case m.Batch && len(l) != 2:
			return nil, fmt.Errorf("java.lang.IllegalArgumentException: a batch with %d bounds of partitions", len(l))
		case m.Batch:
			n++
		default:
			n += len(l)
		}
	}
	at, within := 0, 0
	return c.register(m.App, m.Exec, n, func(int) ref {
		for !m.Batch && within == len(m.Reduces[at]) {
			at, within = at+1, 0
		}
		r := ref{kind: refShuffle, shuffle: m.Shuffle, mapID: m.Maps[at]}
		if m.Batch {
			r.from, r.to = m.Reduces[at][0], m.Reduces[at][1]
			at++
			return r
		}
		r.from = m.Reduces[at][within]
		r.to = r.from + 1 // of a partition 2^31-1, less than from: refused when it is looked up
		within++
		return r
	})
}

// register keeps a stream of n blocks until it was fetched to its end.
func (c *conn) register(app, exec string, n int, at func(i int) ref) (wire.Message, error) {
	if n == 0 || n > math.MaxInt32 {
		return nil, fmt.Errorf("java.lang.IllegalArgumentException: %d blocks asked for", n)
	}
	cost := int64(n)*int64(unsafe.Sizeof(ref{})) + 256
	if len(c.streams) >= maxStreams || !c.s.memory.take(cost) {
		c.s.metrics.refused.WithLabelValues("memory").Inc()
		return nil, fmt.Errorf("java.lang.IllegalStateException: %d more blocks asked for while too many others are open here", n)
	}
	st := &stream{app: app, exec: exec, refs: make([]ref, n), cost: cost}
	for i := range st.refs {
		st.refs[i] = at(i)
	}
	id := c.s.nextStream.Add(1)
	c.streams[id] = st
	return &wire.StreamHandle{Stream: id, Chunks: int32(n)}, nil
}

func (c *conn) removeBlocks(m *wire.RemoveBlocks) (wire.Message, error) {
	reg, e, err := c.executor(m.App, m.Exec)
	if err != nil {
		return nil, err
	}
	n := int32(0)
	for _, name := range m.Blocks {
		if !removable(name) {
			return nil, fmt.Errorf("java.lang.IllegalArgumentException: Unexpected block id format: %.200s", name)
		}
		path := e.path(name)
		if err := remove(reg.Dirs, path, reg.UID); err != nil {
			c.s.warn("a block cannot be removed", c.tcp.RemoteAddr(), err)
			continue
		}
		if strings.HasSuffix(name, ".index") {
			c.s.indexes.Drop(recent.Key{Job: reg.Application, Name: path})
		}
		n++
	}
	return &wire.BlocksRemoved{N: n}, nil
}

func (c *conn) localDirs(m *wire.GetLocalDirs) (wire.Message, error) {
	if _, err := c.application(m.App); err != nil {
		return nil, err
	}
	out := &wire.LocalDirs{}
	seen := map[string]bool{}
	for _, exec := range m.Execs {
		if exec == merger {
			return nil, errMerge
		}
		if seen[exec] {
			continue
		}
		seen[exec] = true
		_, e, err := c.executor(m.App, exec)
		if err != nil {
			return nil, err
		}
		out.Execs, out.Dirs = append(out.Execs, exec), append(out.Dirs, e.Dirs)
	}
	return out, nil
}

// take opens the next chunk of a stream, which must be the one asked for.
func (c *conn) take(id int64, chunk int32) (segment, error) {
	st := c.streams[id]
	if st == nil {
		return segment{}, fmt.Errorf("java.lang.IllegalStateException: Requested chunk not available since streamId %d is closed", id)
	}
	if chunk != st.next {
		return segment{}, fmt.Errorf("java.lang.IllegalStateException: Received out-of-order chunk index %d (expected %d)", chunk, st.next)
	}
	b := st.refs[chunk]
	st.next++
	if int(st.next) == len(st.refs) {
		delete(c.streams, id)
		c.s.memory.give(st.cost)
	}
	reg, e, err := c.executor(st.app, st.exec) // again: it may have ended meanwhile
	if err != nil {
		return segment{}, err
	}
	g, err := c.s.open(reg, e, b)
	if err != nil && !errors.Is(err, errMerge) {
		err = fmt.Errorf("java.lang.RuntimeException: %w", err)
	}
	return g, err
}

func (c *conn) chunk(id int64, chunk int32) error {
	g, err := c.take(id, chunk)
	if err != nil {
		c.failed(err)
		c.out = wire.AppendChunkFailure(c.out[:0], id, chunk, err.Error())
		return c.write(c.out)
	}
	defer g.close()
	c.out = wire.AppendChunkSuccess(c.out[:0], id, chunk, g.length)
	return c.sent(c.send(c.out, g), g)
}

// stream answers a StreamRequest, by which clients fetch a large chunk straight into a file.
func (c *conn) stream(name string) error {
	var g segment
	left, right, ok := strings.Cut(name, "_")
	id, err := strconv.ParseInt(left, 10, 64)
	chunk, err2 := strconv.ParseInt(right, 10, 32)
	if !ok || err != nil || err2 != nil {
		err = errors.New("java.lang.IllegalArgumentException: Stream id and chunk index should be specified.") //lint:ignore ST1005 Spark's own words
	} else {
		g, err = c.take(id, int32(chunk))
	}
	if err != nil {
		c.failed(err)
		c.out = wire.AppendStreamFailure(c.out[:0], name, err.Error())
		return c.write(c.out)
	}
	defer g.close()
	c.out = wire.AppendStreamResponse(c.out[:0], name, g.length)
	return c.sent(c.send(c.out, g), g)
}

func (c *conn) failed(err error) {
	c.s.metrics.failed.Inc()
	c.s.warn("spark shuffle block cannot be served", c.tcp.RemoteAddr(), err)
}

func (c *conn) sent(err error, g segment) error {
	if err != nil {
		c.s.metrics.failed.Inc()
		return err
	}
	c.s.metrics.blocks.Inc()
	c.s.metrics.bytes.Add(float64(g.length))
	return nil
}
