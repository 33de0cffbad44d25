package hadooprpc

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Call ids that are no calls.
const (
	contextCallID = -3
	pingCallID    = -4
	saslCallID    = -33
	noCallID      = -1 // a server's answer to no call in particular
)

const (
	rpcVersion     = 9
	kindProtobuf   = 2
	opFinalPacket  = 0
	preambleLength = 7
	authNone       = 0
	authSASL       = 0xdf
)

var errTruncated = errors.New("shorter than it says")

// requestHeader is RpcRequestHeaderProto as far as a server needs it. Its bytes are the packet's own.
type requestHeader struct {
	kind, op int32 // -1: missing
	callID   int32
	retry    int32
	clientID []byte
}

// delimited splits a message off the front of b: a varint of its length, and it.
func delimited(b []byte) (message, rest []byte, err error) {
	size, n := protowire.ConsumeVarint(b)
	if n < 0 || size > uint64(len(b)-n) {
		return nil, nil, errTruncated
	}
	b = b[n:]
	return b[:size:size], b[size:], nil
}

// parseRequestHeader reads RpcRequestHeaderProto by hand, as every call needs it: no allocation.
func parseRequestHeader(b []byte) (requestHeader, error) {
	h := requestHeader{kind: -1, op: -1, retry: -1}
	var call, client bool
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h, protowire.ParseError(n)
		}
		b = b[n:]
		switch {
		case typ == protowire.VarintType && (num == 1 || num == 2 || num == 3 || num == 5):
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return h, protowire.ParseError(n)
			}
			b = b[n:]
			switch num {
			case 1:
				h.kind = int32(v)
			case 2:
				h.op = int32(v)
			case 3:
				h.callID, call = int32(protowire.DecodeZigZag(v&0xffffffff)), true
			case 5:
				h.retry = int32(protowire.DecodeZigZag(v & 0xffffffff))
			}
		case typ == protowire.BytesType && num == 4:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return h, protowire.ParseError(n)
			}
			h.clientID, client = v, true
			b = b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return h, protowire.ParseError(n)
			}
			b = b[n:]
		}
	}
	if !call || !client {
		return h, errors.New("no call id or client id in rpc header")
	}
	return h, nil
}

// callHeader is RequestHeaderProto; its bytes are the packet's own.
type callHeader struct {
	method, protocol []byte
	version          uint64
}

func parseCallHeader(b []byte) (callHeader, error) {
	var h callHeader
	var method, protocol, version bool
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h, protowire.ParseError(n)
		}
		b = b[n:]
		switch {
		case typ == protowire.BytesType && (num == 1 || num == 2):
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return h, protowire.ParseError(n)
			}
			b = b[n:]
			if num == 1 {
				h.method, method = v, true
			} else {
				h.protocol, protocol = v, true
			}
		case typ == protowire.VarintType && num == 3:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return h, protowire.ParseError(n)
			}
			h.version, version = v, true
			b = b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return h, protowire.ParseError(n)
			}
			b = b[n:]
		}
	}
	if !method || !protocol || !version {
		return h, errors.New("no method, protocol or version in request header")
	}
	return h, nil
}

// responseHeader is RpcResponseHeaderProto.
type responseHeader struct {
	callID    int32
	status    int32
	clientID  []byte
	retry     int32
	exception *Exception
	detail    int32
}

func (h *responseHeader) append(b []byte) []byte {
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(uint32(h.callID)))
	b = protowire.AppendTag(b, 2, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(h.status))
	b = protowire.AppendTag(b, 3, protowire.VarintType)
	b = protowire.AppendVarint(b, rpcVersion)
	if e := h.exception; e != nil {
		b = protowire.AppendTag(b, 4, protowire.BytesType)
		b = protowire.AppendString(b, e.Class)
		b = protowire.AppendTag(b, 5, protowire.BytesType)
		b = protowire.AppendString(b, e.Message)
		b = protowire.AppendTag(b, 6, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(h.detail))
	}
	b = protowire.AppendTag(b, 7, protowire.BytesType)
	b = protowire.AppendBytes(b, h.clientID)
	b = protowire.AppendTag(b, 8, protowire.VarintType)
	return protowire.AppendVarint(b, protowire.EncodeZigZag(int64(h.retry)))
}
