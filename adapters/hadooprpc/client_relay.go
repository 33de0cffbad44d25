package hadooprpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"fairway/adapters/hadooprpc/wire"
)

// Request is a packet of a client as it stands, for who carries the calls of a foreign client to where they go, or plays
// a server. A Server needs none of this.
type Request struct {
	ID       int32 // of the call; below 0: no call, but what introduces the client
	Retry    int32 // how often the call was made before
	ClientID []byte
	Method   string // of a call
	Message  []byte // the request, or an introduction's first message
}

// ReadRequest reads a packet that follows the seven bytes of a greeting. Its buffer grows as bytes arrive, to limit.
func ReadRequest(r io.Reader, limit int) (*Request, error) {
	packet, err := readPacket(r, nil, limit)
	if err != nil {
		return nil, err
	}
	q, err := parseRequest(packet)
	if err != nil {
		return nil, fmt.Errorf("hadooprpc: a request does not parse: %w", err)
	}
	return q, nil
}

func parseRequest(packet []byte) (*Request, error) {
	head, rest, err := delimited(packet)
	if err != nil {
		return nil, err
	}
	h, err := parseRequestHeader(head)
	if err != nil {
		return nil, err
	}
	q := &Request{ID: h.callID, Retry: h.retry, ClientID: h.clientID}
	if q.ID >= 0 {
		if head, rest, err = delimited(rest); err != nil {
			return nil, err
		}
		to, err := parseCallHeader(head)
		if err != nil {
			return nil, err
		}
		q.Method = string(to.method)
	}
	if q.Message, rest, err = delimited(rest); err == nil && len(rest) > 0 {
		err = errors.New("longer than it says")
	}
	return q, err
}

// AppendAnswer appends the packet that answers q: with a message, or with e if it is not nil.
func AppendAnswer(b []byte, q *Request, message []byte, e *Exception) []byte {
	from := len(b)
	h := &responseHeader{callID: q.ID, clientID: q.ClientID, status: int32(wire.RpcResponseHeaderProto_SUCCESS)}
	if e != nil {
		h.status, h.exception, h.detail = int32(wire.RpcResponseHeaderProto_ERROR), e, detailOf(e.Class)
	}
	if b = appendReply(b, h); e == nil {
		b = protowire.AppendBytes(b, message)
	}
	binary.BigEndian.PutUint32(b[from:], uint32(len(b)-from-4))
	return b
}
