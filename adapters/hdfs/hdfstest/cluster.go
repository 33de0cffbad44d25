package hdfstest

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"testing"
	"time"
)

// Node is a DataNode's place.
type Node struct{ Host, Rack string }

// Options of Start. Zero values: node1 and node2 on /rack1, node3 on /rack2, replication 1, blocks of 1 MiB, pages of
// 1,000 entries.
type Options struct {
	Nodes       []Node
	Replication int
	BlockSize   int64
	PageSize    int
}

// Action of a fault.
type Action int

// What a fault makes of a call.
const (
	Pass  Action = iota
	Drop         // close the connection without an answer
	Lose         // do it, then close the connection without an answer
	Hang         // never answer
	Error        // answer Fault.Class and Fault.Message
	Junk         // answer bytes that are no answer
)

// Fault is what happens to a call.
type Fault struct {
	Action         Action
	Class, Message string
}

// Cluster is a running fake.
type Cluster struct {
	// Authority is "127.0.0.1:port" of the NameNode.
	Authority string

	o     Options
	ctx   context.Context // ends with the test
	wg    sync.WaitGroup
	nodes []*dataNode

	mu        sync.Mutex
	tree      map[string]*inode
	blocks    map[uint64]*block
	nextBlock uint64
	nextInode uint64
	turn      int
	calls     map[string]int
	retries   map[string][]byte // answers to calls that must not be done twice
	fault     func(method string, n int) Fault
	conns     map[net.Conn]bool
	unheard   int // completions that find the block before the last unreported
}

// Start starts a fake that ends with the test. The user "root" may do all.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if len(o.Nodes) == 0 {
		o.Nodes = []Node{{"node1", "/rack1"}, {"node2", "/rack1"}, {"node3", "/rack2"}}
	}
	if o.Replication == 0 {
		o.Replication = 1
	}
	if o.BlockSize == 0 {
		o.BlockSize = 1 << 20
	}
	if o.PageSize == 0 {
		o.PageSize = 1000
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Cluster{o: o, ctx: ctx, nextBlock: 1 << 30, nextInode: 16385,
		tree:   map[string]*inode{"/": {dir: true, perm: 0o777, owner: "root", changed: time.Now()}},
		blocks: make(map[uint64]*block), calls: make(map[string]int), retries: make(map[string][]byte), conns: make(map[net.Conn]bool)}
	l := listen(t)
	c.Authority = l.Addr().String()
	c.serve(l, c.serveNameNode)
	for _, n := range o.Nodes {
		d := &dataNode{cluster: c, node: n}
		c.nodes = append(c.nodes, d)
		d.start(listen(t))
	}
	t.Cleanup(func() {
		cancel()
		l.Close()
		for _, d := range c.nodes {
			d.stop()
		}
		c.CutAll()
		c.wg.Wait()
	})
	return c
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve accepts until l is closed.
func (c *Cluster) serve(l net.Listener, handle func(net.Conn)) {
	c.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conns[conn] = true
			c.mu.Unlock()
			c.wg.Go(func() {
				defer c.forget(conn)
				handle(conn)
			})
		}
	})
}

func (c *Cluster) forget(conn net.Conn) {
	conn.Close()
	c.mu.Lock()
	delete(c.conns, conn)
	c.mu.Unlock()
}

// CutAll breaks every open connection, to the NameNode and to DataNodes.
func (c *Cluster) CutAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
}

// Connections returns how many connections are open.
func (c *Cluster) Connections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

// OnCall sets what happens to NameNode calls: f gets the method and how many calls of it came before.
func (c *Cluster) OnCall(f func(method string, n int) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

// Calls returns how often a method was called.
func (c *Cluster) Calls(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[method]
}

// StopDataNode ends a DataNode; the NameNode still names it.
func (c *Cluster) StopDataNode(host string) { c.node(host).stop() }

// HangDataNode makes a DataNode accept connections and answer nothing.
func (c *Cluster) HangDataNode(host string) { c.HangNext(host, math.MaxInt) }

// HangNext makes a DataNode not answer the next n operations, nor anything else on their connections.
func (c *Cluster) HangNext(host string, n int) { c.node(host).set(func(d *dataNode) { d.hang = n }) }

// HearLate makes the NameNode find, the next n times that it is to complete a file of several blocks, that no DataNode has
// reported the block before the last yet.
func (c *Cluster) HearLate(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unheard = n
}

// CutDataNode makes a DataNode break each connection after n bytes of data read or written; 0 ends that.
func (c *Cluster) CutDataNode(host string, n int64) {
	c.node(host).set(func(d *dataNode) { d.cutAfter = n })
}

// RefuseWrites makes a DataNode answer writes with an error.
func (c *Cluster) RefuseWrites(host string) { c.node(host).set(func(d *dataNode) { d.refuse = true }) }

func (c *Cluster) node(host string) *dataNode {
	for _, d := range c.nodes {
		if d.node.Host == host {
			return d
		}
	}
	panic(fmt.Sprintf("hdfstest: no DataNode %s", host))
}

// Corrupt flips a bit in the replicas of the file's blocks on the given hosts, or on all.
func (c *Cluster) Corrupt(path string, hosts ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.tree[path].blocks {
		for _, r := range b.replicas {
			wanted := len(hosts) == 0
			for _, h := range hosts {
				wanted = wanted || r.node.node.Host == h
			}
			if wanted && len(r.data) > 0 {
				r.data = append([]byte(nil), r.data...)
				r.data[len(r.data)/2] ^= 1
			}
		}
	}
}

// MarkEncrypted and MarkErasureCoded make a file what Fairway must refuse.
func (c *Cluster) MarkEncrypted(path string) { c.mark(path, func(n *inode) { n.encrypted = true }) }

// MarkErasureCoded makes a file an erasure-coded one.
func (c *Cluster) MarkErasureCoded(path string) { c.mark(path, func(n *inode) { n.erasure = true }) }

// Chmod sets owner and mode.
func (c *Cluster) Chmod(path, owner string, perm uint32) {
	c.mark(path, func(n *inode) { n.owner, n.perm = owner, perm })
}

func (c *Cluster) mark(path string, f func(*inode)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.tree[path])
}

// ReportedBad returns how many replicas were reported as corrupt.
func (c *Cluster) ReportedBad() int { return c.Calls("reportBadBlocks") }
