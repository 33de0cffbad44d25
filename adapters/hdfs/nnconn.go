package hdfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hdfs/wire"
)

// nameConn is what a client takes for its connection to a NameNode. Each request of the client is one Write; it is carried
// to the active NameNode by a hadooprpc.Proxy, which has contexts, deadlines, retries that the NameNode recognises and
// failover, and the answer is read back. So no client ever sees a broken connection, after which it would be of no use for
// five seconds. On the way a request is completed by what the client's interface cannot say.
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
		return len(p), nil // our own connections introduce themselves
	}
	q, err := hadooprpc.ReadRequest(bytes.NewReader(p), len(p))
	if err != nil {
		c.s.fail(err)
		return 0, err
	}
	if q.ID < 0 {
		return len(p), nil
	}
	body, err := c.s.exchange(q.Method, q.Message)
	var remote *hadooprpc.Exception
	if err != nil && !errors.As(err, &remote) {
		c.s.fail(err)
		c.err = err
		return len(p), nil // the client does not repeat a failed read
	}
	c.answer.Reset(hadooprpc.AppendAnswer(nil, q, body, remote))
	return len(p), nil
}

func (c *nameConn) Read(p []byte) (int, error) {
	if c.answer.Len() == 0 && c.err != nil {
		return 0, c.err
	}
	return c.answer.Read(p)
}

// exchange carries one request of the client to the NameNode.
func (s *session) exchange(method string, request []byte) ([]byte, error) {
	answer, err := s.route(method, request)
	var remote *hadooprpc.Exception
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
