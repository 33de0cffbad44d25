package hdfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

// nameConn is what a client takes for its connection to a NameNode. Each request of the client is one Write; it is carried
// to the active NameNode by our own pool of connections, which has contexts, deadlines, retries that the NameNode
// recognises and failover, and the answer is read back. So no client ever sees a broken connection, after which it would
// be of no use for five seconds. On the way a request is completed by what the client's interface cannot say.
type nameConn struct {
	s      *session
	answer bytes.Reader
	err    error
}

func (s *session) dialNameNode(context.Context, string, string) (net.Conn, error) {
	return &nameConn{s: s}, nil
}

// Write takes the greeting, the connection context or one request.
func (c *nameConn) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("hrpc")) {
		return len(p), nil // our own connections have introduced themselves
	}
	id, method, request, err := parseRequest(p)
	if err != nil {
		c.s.fail(err)
		return 0, err
	}
	if id == contextCallID {
		return len(p), nil
	}
	body, err := c.s.exchange(method, request)
	head := &wire.RpcResponseHeader{CallId: proto.Uint32(uint32(id)), Status: wire.RpcResponseHeader_SUCCESS.Enum()}
	var remote *remoteError
	if errors.As(err, &remote) {
		head.Status, head.ExceptionClass, head.ErrorMessage = wire.RpcResponseHeader_ERROR.Enum(), &remote.class, &remote.message
	} else if err != nil {
		c.s.fail(err)
		c.err = err
		return len(p), nil // the client does not repeat a failed read
	}
	packet := appendPacket(nil, head)
	if remote == nil {
		packet = protowire.AppendBytes(packet, body)
		binary.BigEndian.PutUint32(packet, uint32(len(packet)-4))
	}
	c.answer.Reset(packet)
	return len(p), nil
}

func (c *nameConn) Read(p []byte) (int, error) {
	if c.answer.Len() == 0 && c.err != nil {
		return 0, c.err
	}
	return c.answer.Read(p)
}

// parseRequest splits a packet of the client.
func parseRequest(p []byte) (id int32, method string, request []byte, err error) {
	var header wire.RpcRequestHeader
	rest, err := cutMessage(p[min(4, len(p)):], &header)
	if err != nil || header.GetCallId() == contextCallID {
		return header.GetCallId(), "", nil, err
	}
	var head wire.RequestHeader
	if rest, err = cutMessage(rest, &head); err != nil {
		return 0, "", nil, err
	}
	request, n := protowire.ConsumeBytes(rest)
	if n != len(rest) {
		return 0, "", nil, errors.New("a request of the HDFS client does not parse")
	}
	return header.GetCallId(), head.GetMethodName(), request, nil
}

func cutMessage(p []byte, m proto.Message) (rest []byte, err error) {
	text, n := protowire.ConsumeBytes(p)
	if n < 0 {
		return nil, errors.New("a request of the HDFS client does not parse")
	}
	return p[n:], proto.Unmarshal(text, m)
}

// exchange carries one request of the client to the NameNode.
func (s *session) exchange(method string, request []byte) ([]byte, error) {
	answer, err := s.route(method, request)
	var remote *remoteError
	if errors.As(err, &remote) && method != "renewLease" { // which the client sends on its own
		s.mu.Lock()
		s.remote = remote
		s.mu.Unlock()
	}
	return answer, err
}

func (s *session) route(method string, request []byte) ([]byte, error) {
	nn := s.fs.nn
	switch method {
	case "renewLease": // every second, needed or not
		if !s.leaseDue() {
			return nil, nil
		}
	case "getServerDefaults":
		d, err := s.fs.serverDefaults(s.life)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(&wire.GetServerDefaultsResponse{ServerDefaults: d})
	case "getBlockLocations":
		s.mu.Lock()
		located := s.located
		s.mu.Unlock()
		if located != nil {
			return proto.Marshal(located)
		}
	case "getListing":
		return s.listing(request)
	case "create", "rename2":
		var err error
		if request, err = s.amend(method, request); err != nil {
			return nil, err
		}
	case "addBlock", "updateBlockForPipeline", "complete":
		s.mu.Lock()
		w := s.writing
		s.mu.Unlock()
		if w != nil {
			return w.route(s.life, method, request)
		}
	}
	return nn.exchange(s.life, method, request)
}

// leaseDue tells whether the client's lease needs to be renewed now.
func (s *session) leaseDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing == nil || time.Since(s.renewed) < leaseTime {
		return false
	}
	s.renewed = time.Now()
	return true
}

// amend adds what the client leaves out: it would not make parents, and would rename over an existing file.
func (s *session) amend(method string, request []byte) ([]byte, error) {
	if method == "rename2" {
		q := &wire.Rename2Request{}
		if err := proto.Unmarshal(request, q); err != nil {
			return nil, err
		}
		q.OverwriteDest = proto.Bool(false)
		return proto.Marshal(q)
	}
	q := &wire.CreateRequest{}
	if err := proto.Unmarshal(request, q); err != nil {
		return nil, err
	}
	q.CreateParent = proto.Bool(true)
	if s.replace {
		q.CreateFlag = proto.Uint32(flagCreate | flagOverwrite)
	}
	return proto.Marshal(q)
}

// listing carries a request for a page of a folder. The client would ask for ever if pages were empty.
func (s *session) listing(request []byte) ([]byte, error) {
	answer, err := s.fs.nn.exchange(s.life, "getListing", request)
	if err != nil {
		return nil, err
	}
	page := &wire.GetListingResponse{}
	if err := proto.Unmarshal(answer, page); err != nil {
		return nil, fmt.Errorf("an answer to getListing does not parse: %w", err)
	}
	if page.DirList != nil && len(page.DirList.PartialListing) == 0 && page.DirList.GetRemainingEntries() > 0 {
		return nil, errors.New("the NameNode promises entries and sends none")
	}
	return answer, nil
}

// Close and the rest make it a net.Conn. Deadlines are ours.
func (c *nameConn) Close() error                     { return nil }
func (c *nameConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *nameConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *nameConn) SetDeadline(time.Time) error      { return nil }
func (c *nameConn) SetReadDeadline(time.Time) error  { return nil }
func (c *nameConn) SetWriteDeadline(time.Time) error { return nil }
