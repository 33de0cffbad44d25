package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
)

const (
	clientProtocol = "org.apache.hadoop.hdfs.protocol.ClientProtocol"
	maxResponse    = 64 << 20 // bytes of one answer; a listing or the blocks of a file of a terabyte are far less
)

// namenode calls the active NameNode of a cluster.
type namenode struct {
	c     *cluster
	proxy *hadooprpc.Proxy
}

func newNamenode(c *cluster) *namenode {
	return &namenode{c, hadooprpc.NewProxy(hadooprpc.ProxyOptions{
		ClientOptions: hadooprpc.ClientOptions{Protocol: clientProtocol, User: c.user, MaxReply: maxResponse},
		Servers:       c.namenodes, Timeout: c.timeout, Idle: idleTime, Log: c.log,
	})}
}

// call runs one method of ClientProtocol. Errors are *hadooprpc.Exception, ctx.Err() or one that names the NameNode.
func (n *namenode) call(ctx context.Context, method string, request, answer proto.Message) error {
	return n.explain(n.proxy.Call(ctx, method, request, answer))
}

// exchange is call with bytes.
func (n *namenode) exchange(ctx context.Context, method string, request []byte) ([]byte, error) {
	answer, err := n.proxy.Exchange(ctx, method, request)
	return answer, n.explain(err)
}

// explain makes a transport failure one line that tells what to do, and an exception its first line.
func (n *namenode) explain(err error) error {
	var failed *hadooprpc.CallError
	if !errors.As(err, &failed) {
		return err // the context's
	}
	var remote *hadooprpc.Exception
	if errors.As(err, &remote) {
		if remote.Class == hadooprpc.StandbyException {
			return fmt.Errorf("NameNode %s is on standby: name the active one, or the nameservice", failed.Addr)
		}
		return &hadooprpc.Exception{Class: remote.Class, Message: firstLine(remote.Message), Fatal: remote.Fatal}
	}
	if errors.Is(err, hadooprpc.ErrClosed) {
		return fs.ErrClosed
	}
	err = failed.Err
	where := fmt.Sprintf("NameNode %s (from %s)", failed.Addr, n.c.origin)
	var dns *net.DNSError
	var wrong *hadooprpc.PeerError
	switch {
	case errors.As(err, &dns):
		return &unreachable{where + " cannot be resolved: check the host name", err}
	case errors.As(err, &wrong):
		return &unreachable{fmt.Sprintf("%s is not an HDFS NameNode: %s; give the NameNode's RPC port, often 8020 or 9000", where, wrong.Got), err}
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
