package hdfs

import (
	"context"
	"net"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

const (
	racksFresh = 30 * time.Second // how long a report is used
	racksAgain = 2 * time.Second  // how soon an unknown host makes us ask again

	reportAll = 1 // DataNodes dead and alive: a rack outlasts its DataNode
)

// DataNode is what the NameNode knows of one.
type DataNode struct {
	Host    string // the name that it registered with, in lower case
	Address string // its IP address
	Rack    string // such as /rack1
}

// Racks tells the racks of hosts, from the NameNode's report of its DataNodes. It is safe for concurrent use.
type Racks struct {
	nn *namenode
	fs *fileSystem

	turn  chan struct{} // capacity one; its holder owns the fields below and may ask
	nodes []DataNode
	asked time.Time
}

// NewRacks returns the racks of the HDFS at authority ("" is fs.defaultFS). It contacts nobody yet.
func NewRacks(o Options, authority string) (*Racks, error) {
	c, err := o.cluster(authority, "")
	if err != nil {
		return nil, err
	}
	f := newFileSystem(c)
	return &Racks{nn: f.nn, fs: f, turn: make(chan struct{}, 1)}, nil
}

// DataNodes asks the NameNode for all DataNodes.
func (r *Racks) DataNodes(ctx context.Context) ([]DataNode, error) {
	answer := &wire.GetDatanodeReportResponse{}
	if err := r.nn.call(ctx, "getDatanodeReport", &wire.GetDatanodeReportRequest{Type: proto.Uint32(reportAll)}, answer); err != nil {
		return nil, r.fs.pathError("racks", "/", err)
	}
	nodes := make([]DataNode, 0, len(answer.GetDi()))
	for _, d := range answer.GetDi() {
		nodes = append(nodes, DataNode{
			Host: strings.ToLower(d.GetId().GetHostName()), Address: d.GetId().GetIpAddr(), Rack: d.GetLocation()})
	}
	return nodes, nil
}

// RackOf returns the rack of the DataNode that bears the host name or one of the addresses. A loopback address, or one
// that DataNodes of several racks share, says nothing. Reports are used again for half a minute.
func (r *Racks) RackOf(ctx context.Context, host string, addresses []string) (rack string, ok bool, err error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
	nodes, age := r.nodes, time.Since(r.asked)
	if age < racksFresh {
		if rack, ok = rackOf(nodes, host, addresses); ok || age < racksAgain {
			return rack, ok, nil
		}
	}
	if nodes, err = r.DataNodes(ctx); err != nil {
		return "", false, err
	}
	r.nodes, r.asked = nodes, time.Now()
	rack, ok = rackOf(nodes, host, addresses)
	return rack, ok, nil
}

func rackOf(nodes []DataNode, host string, addresses []string) (string, bool) {
	for _, n := range nodes {
		if n.Host != "" && strings.EqualFold(n.Host, host) {
			return n.Rack, true
		}
	}
	for _, a := range addresses {
		ip := net.ParseIP(a)
		if ip == nil || ip.IsLoopback() || ip.IsUnspecified() {
			continue
		}
		rack := ""
		for _, n := range nodes {
			if !ip.Equal(net.ParseIP(n.Address)) {
				continue
			}
			if rack != "" && rack != n.Rack {
				rack = ""
				break
			}
			rack = n.Rack
		}
		if rack != "" {
			return rack, true
		}
	}
	return "", false
}

// Close frees connections.
func (r *Racks) Close() error { return r.fs.Close() }
