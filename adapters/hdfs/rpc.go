package hdfs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

// Hadoop's RPC, version 9 (org.apache.hadoop.ipc.Server): a preamble, a connection context, then packets of a length
// and delimited messages.
const (
	clientProtocol = "org.apache.hadoop.hdfs.protocol.ClientProtocol"
	maxResponse    = 64 << 20 // bytes of one answer; a listing or the blocks of a file of a terabyte are far less
	contextCallID  = -3
)

// notNameNode says that the peer answered something that is not Hadoop's RPC.
type notNameNode struct{ got string }

func (e *notNameNode) Error() string {
	return "not an HDFS NameNode: " + e.got + "; give the NameNode's RPC port, often 8020 or 9000"
}

// remoteError is an exception that the NameNode answered.
type remoteError struct {
	class   string // of Java, such as org.apache.hadoop.ipc.StandbyException
	message string // first line
	fatal   bool   // the connection is closed
}

func (e *remoteError) Error() string {
	if e.message == "" {
		return e.class
	}
	return e.message
}

// rpcConn is a connection to a NameNode with one call at a time.
type rpcConn struct {
	conn net.Conn
	in   *bufio.Reader
	addr string
	used bool      // has answered a call: a failure may mean that it was closed while idle
	idle time.Time // when it was given back
}

// dialRPC connects and sends what introduces us.
func dialRPC(ctx context.Context, addr, user string, clientID []byte) (*rpcConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	hello := []byte{'h', 'r', 'p', 'c', 9, 0, 0} // version 9, service class 0, authentication "none"
	hello = appendPacket(hello,
		&wire.RpcRequestHeader{RpcKind: proto.Uint32(2), RpcOp: proto.Uint32(0), CallId: proto.Int32(contextCallID), ClientId: clientID},
		&wire.IpcConnectionContext{UserInfo: &wire.UserInformation{EffectiveUser: &user}, Protocol: proto.String(clientProtocol)})
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if _, err := conn.Write(hello); err != nil {
		conn.Close()
		return nil, err
	}
	return &rpcConn{conn: conn, in: bufio.NewReader(conn), addr: addr}, nil
}

// call sends one request and returns its answer, both as bytes. ctx must have a deadline. After an error other than
// *remoteError the connection is out of step and must be closed.
func (c *rpcConn) call(ctx context.Context, id int32, retry int32, clientID []byte, method string, request []byte) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	c.conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	packet := appendPacket(nil,
		&wire.RpcRequestHeader{RpcKind: proto.Uint32(2), RpcOp: proto.Uint32(0), CallId: &id, ClientId: clientID, RetryCount: &retry},
		&wire.RequestHeader{MethodName: &method, ProtocolName: proto.String(clientProtocol), ProtocolVersion: proto.Uint64(1)})
	packet = protowire.AppendBytes(packet, request)
	binary.BigEndian.PutUint32(packet, uint32(len(packet)-4))
	if _, err := c.conn.Write(packet); err != nil {
		return nil, err
	}
	header, body, err := readResponse(c.in)
	if err != nil {
		return nil, err
	}
	if header.GetStatus() != wire.RpcResponseHeader_SUCCESS {
		return nil, &remoteError{class: header.GetExceptionClass(), message: firstLine(header.GetErrorMessage()),
			fatal: header.GetStatus() == wire.RpcResponseHeader_FATAL}
	}
	if int32(header.GetCallId()) != id {
		return nil, &notNameNode{fmt.Sprintf("it answers call %d instead of %d", int32(header.GetCallId()), id)}
	}
	message, rest := protowire.ConsumeBytes(body)
	if rest != len(body) {
		return nil, &notNameNode{fmt.Sprintf("an answer to %s of %d bytes does not parse", method, len(body))}
	}
	c.used = true
	return message, nil
}

// appendPacket appends a length and delimited messages.
func appendPacket(b []byte, messages ...proto.Message) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, m := range messages {
		b = protowire.AppendVarint(b, uint64(proto.Size(m)))
		var err error
		if b, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(b, m); err != nil {
			panic(fmt.Sprintf("hdfs: %T is incomplete: %v", m, err)) // we filled it
		}
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// readResponse reads a length, a delimited header and what follows it.
func readResponse(r io.Reader) (*wire.RpcResponseHeader, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxResponse {
		return nil, nil, &notNameNode{fmt.Sprintf("the answer begins with %q", head[:])}
	}
	// The buffer grows as bytes arrive, so a false length costs nothing.
	var packet bytes.Buffer
	if n, err := io.CopyN(&packet, r, int64(length)); err != nil {
		if errors.Is(err, io.EOF) && n < int64(length) {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, err
	}
	head1, n := protowire.ConsumeBytes(packet.Bytes())
	if n < 0 {
		return nil, nil, &notNameNode{"an answer has no header"}
	}
	header := &wire.RpcResponseHeader{}
	if err := proto.Unmarshal(head1, header); err != nil {
		return nil, nil, &notNameNode{"an answer's header does not parse: " + err.Error()}
	}
	return header, packet.Bytes()[n:], nil
}
