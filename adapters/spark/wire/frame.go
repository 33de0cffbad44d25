package wire

import (
	"encoding/binary"
	"fmt"
)

// Kind is the type of a frame.
type Kind byte

const (
	ChunkFetchRequest      Kind = 0
	ChunkFetchSuccess      Kind = 1
	ChunkFetchFailure      Kind = 2
	RPCRequest             Kind = 3
	RPCResponse            Kind = 4
	RPCFailure             Kind = 5
	StreamRequest          Kind = 6
	StreamResponse         Kind = 7
	StreamFailure          Kind = 8
	OneWayMessage          Kind = 9
	UploadStream           Kind = 10
	MergedBlockMetaRequest Kind = 11
	MergedBlockMetaSuccess Kind = 12
)

// HeadSize is the bytes of a frame before its payload: the int64 length, which counts itself, and the kind.
const HeadSize = 9

// ParseHead reads a frame's head and says how long its payload is, at most limit bytes.
func ParseHead(b [HeadSize]byte, limit int) (Kind, int, error) {
	n := int64(binary.BigEndian.Uint64(b[:]))
	if n < HeadSize || n-HeadSize > int64(limit) {
		return 0, 0, fmt.Errorf("a frame of %d bytes, %d to %d are read", n, HeadSize, HeadSize+limit)
	}
	return Kind(b[8]), int(n - HeadSize), nil
}

func appendHead(b []byte, k Kind, payload int64) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(HeadSize+payload))
	return append(b, byte(k))
}

// AppendChunkSuccess appends all of a ChunkFetchSuccess but its body of n bytes.
func AppendChunkSuccess(b []byte, stream int64, chunk int32, n int64) []byte {
	b = appendHead(b, ChunkFetchSuccess, 12+n)
	return appendInt32(appendInt64(b, stream), chunk)
}

// AppendChunkFailure appends a ChunkFetchFailure.
func AppendChunkFailure(b []byte, stream int64, chunk int32, why string) []byte {
	b = appendHead(b, ChunkFetchFailure, 12+4+int64(len(why)))
	return appendString(appendInt32(appendInt64(b, stream), chunk), why)
}

// AppendChunkRequest appends a ChunkFetchRequest.
func AppendChunkRequest(b []byte, stream int64, chunk int32) []byte {
	return appendInt32(appendInt64(appendHead(b, ChunkFetchRequest, 12), stream), chunk)
}

// AppendRPC appends an RpcRequest or RpcResponse.
func AppendRPC(b []byte, k Kind, id int64, body []byte) []byte {
	b = appendHead(b, k, 12+int64(len(body)))
	return append(appendInt32(appendInt64(b, id), int32(len(body))), body...)
}

// AppendRPCFailure appends an RpcFailure.
func AppendRPCFailure(b []byte, id int64, why string) []byte {
	b = appendHead(b, RPCFailure, 12+int64(len(why)))
	return appendString(appendInt64(b, id), why)
}

// AppendOneWay appends a OneWayMessage.
func AppendOneWay(b []byte, body []byte) []byte {
	b = appendHead(b, OneWayMessage, 4+int64(len(body)))
	return append(appendInt32(b, int32(len(body))), body...)
}

// AppendStreamRequest appends a StreamRequest.
func AppendStreamRequest(b []byte, id string) []byte {
	return appendString(appendHead(b, StreamRequest, 4+int64(len(id))), id)
}

// AppendStreamResponse appends a StreamResponse; its body of n bytes follows outside the frame.
func AppendStreamResponse(b []byte, id string, n int64) []byte {
	b = appendHead(b, StreamResponse, 12+int64(len(id)))
	return appendInt64(appendString(b, id), n)
}

// AppendStreamFailure appends a StreamFailure.
func AppendStreamFailure(b []byte, id, why string) []byte {
	b = appendHead(b, StreamFailure, 8+int64(len(id))+int64(len(why)))
	return appendString(appendString(b, id), why)
}

// AppendUpload appends an UploadStream; its body of n bytes follows outside the frame.
func AppendUpload(b []byte, id int64, meta []byte, n int64) []byte {
	b = appendHead(b, UploadStream, 20+int64(len(meta)))
	b = append(appendInt32(appendInt64(b, id), int32(len(meta))), meta...)
	return appendInt64(b, n)
}

// AppendMergedMeta appends a MergedBlockMetaRequest.
func AppendMergedMeta(b []byte, id int64, app string, shuffle, merge, reduce int32) []byte {
	b = appendHead(b, MergedBlockMetaRequest, 24+int64(len(app)))
	b = appendString(appendInt64(b, id), app)
	return appendInt32(appendInt32(appendInt32(b, shuffle), merge), reduce)
}

// Frame is what a frame's payload says; which fields count depends on its kind.
type Frame struct {
	Kind   Kind
	ID     int64  // of the request, or the stream
	Chunk  int32  // ChunkFetch*
	Name   string // Stream*: the id; MergedBlockMetaRequest: the application
	Why    string // *Failure
	Body   []byte // RPC*, OneWayMessage, UploadStream (its meta), ChunkFetchSuccess; part of the payload
	Length int64  // StreamResponse, UploadStream: of what follows outside the frame
}

// ParseFrame reads a payload. Frame.Body shares its memory.
func ParseFrame(k Kind, payload []byte) (Frame, error) {
	f := Frame{Kind: k}
	r := reader{b: payload}
	switch k {
	case ChunkFetchRequest:
		f.ID, f.Chunk = r.int64(), r.int32()
	case ChunkFetchSuccess:
		f.ID, f.Chunk = r.int64(), r.int32()
		f.Body, r.b = r.b, nil
	case ChunkFetchFailure:
		f.ID, f.Chunk, f.Why = r.int64(), r.int32(), r.string()
	case RPCRequest, RPCResponse:
		f.ID = r.int64()
		r.int32() // the body's size, which Spark itself does not look at: the body is the rest
		f.Body, r.b = r.b, nil
	case RPCFailure:
		f.ID, f.Why = r.int64(), r.string()
	case StreamRequest:
		f.Name = r.string()
	case StreamResponse:
		f.Name, f.Length = r.string(), r.int64()
	case StreamFailure:
		f.Name, f.Why = r.string(), r.string()
	case OneWayMessage:
		r.int32()
		f.Body, r.b = r.b, nil
	case UploadStream:
		f.ID, f.Body, f.Length = r.int64(), r.bytes(), r.int64()
	case MergedBlockMetaRequest:
		f.ID, f.Name = r.int64(), r.string()
		r.int32()
		r.int32()
		r.int32()
	default:
		return f, fmt.Errorf("a frame of type %d", k)
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes too many", len(r.b))
	}
	if r.err == nil && f.Length < 0 {
		r.err = fmt.Errorf("a body of %d bytes", f.Length)
	}
	if r.err != nil {
		return f, fmt.Errorf("frame of type %d: %w", k, r.err)
	}
	return f, nil
}
