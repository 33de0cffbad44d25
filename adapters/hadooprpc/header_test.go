package hadooprpc

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

// The headers of a real 3.4.1 client (reference yarn-wire.md, section 1.3).
const (
	contextHeader = "0802 1000 1805 2210 5e8e8272c7b6495c838d9d2f5a0c4436 2801"
	callHeaderHex = "0802 1000 1800 2210 5e8e8272c7b6495c838d9d2f5a0c4436 2800"
	saslHeader    = "0802 1000 1841 2200 2801"
)

func TestRequestHeaderVectors(t *testing.T) {
	for in, want := range map[string]requestHeader{
		contextHeader: {kind: 2, op: 0, callID: -3, retry: -1, clientID: unhex(t, "5e8e8272c7b6495c838d9d2f5a0c4436")},
		callHeaderHex: {kind: 2, op: 0, callID: 0, retry: 0, clientID: unhex(t, "5e8e8272c7b6495c838d9d2f5a0c4436")},
		saslHeader:    {kind: 2, op: 0, callID: -33, retry: -1},
	} {
		got, err := parseRequestHeader(unhex(t, in))
		if err != nil || got.kind != want.kind || got.op != want.op || got.callID != want.callID || got.retry != want.retry || !bytes.Equal(got.clientID, want.clientID) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

// A SASL answer's call id is -33 as uint32: five bytes (reference yarn-wire.md, section 1.2).
func TestResponseHeader(t *testing.T) {
	h := responseHeader{callID: -33, retry: -1}
	b := h.append(nil)
	if !bytes.HasPrefix(b, unhex(t, "08 dfffffff0f 1000 1809")) {
		t.Errorf("%x", b)
	}
	h = responseHeader{callID: 7, status: 2, clientID: []byte("id"), retry: 3, exception: &Exception{Class: "c", Message: string(make([]byte, 300))}, detail: 15}
	var p wire.RpcResponseHeaderProto
	framed := appendReply(nil, &h)
	head, rest, err := delimited(framed[4:])
	if err != nil || len(rest) != 0 {
		t.Fatal(err, len(rest))
	}
	if err := proto.Unmarshal(head, &p); err != nil {
		t.Fatal(err)
	}
	if p.GetCallId() != 7 || p.GetStatus() != wire.RpcResponseHeaderProto_FATAL || p.GetServerIpcVersionNum() != 9 || string(p.GetClientId()) != "id" || p.GetRetryCount() != 3 ||
		p.GetExceptionClassName() != "c" || len(p.GetErrorMsg()) != 300 || p.GetErrorDetail() != wire.RpcResponseHeaderProto_FATAL_UNAUTHORIZED {
		t.Errorf("%+v", &p)
	}
}

// The parser by hand agrees with the generated one wherever that reads.
func FuzzRequestHeader(f *testing.F) {
	for _, s := range []string{contextHeader, callHeaderHex, saslHeader, "", "18"} {
		f.Add(unhex(f, s))
	}
	f.Add(marshal(f, &wire.RpcRequestHeaderProto{CallId: proto.Int32(-1 << 31), ClientId: nil, RetryCount: proto.Int32(1<<31 - 1), StateId: proto.Int64(-1),
		CallerContext: &wire.RPCCallerContextProto{Context: proto.String("c"), Signature: []byte("s")}, TraceInfo: &wire.RPCTraceInfoProto{TraceId: proto.Int64(1)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseRequestHeader(b)
		var p wire.RpcRequestHeaderProto
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		if err != nil {
			t.Fatalf("%x: %v, but it is %v", b, err, &p)
		}
		if h.callID != p.GetCallId() || h.retry != p.GetRetryCount() || !bytes.Equal(h.clientID, p.GetClientId()) ||
			p.RpcKind != nil && h.kind >= 0 && h.kind <= 2 && h.kind != int32(p.GetRpcKind()) || p.RpcOp != nil && h.op >= 0 && h.op <= 2 && h.op != int32(p.GetRpcOp()) {
			t.Fatalf("%x: %+v, but it is %v", b, h, &p)
		}
	})
}

func FuzzCallHeader(f *testing.F) {
	f.Add(marshal(f, &wire.RequestHeaderProto{MethodName: proto.String("m"), DeclaringClassProtocolName: proto.String("p"), ClientProtocolVersion: proto.Uint64(1)}))
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseCallHeader(b)
		var p wire.RequestHeaderProto
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		if err != nil || string(h.method) != p.GetMethodName() || string(h.protocol) != p.GetDeclaringClassProtocolName() || h.version != p.GetClientProtocolVersion() {
			t.Fatalf("%x: %+v, %v, but it is %v", b, h, err, &p)
		}
	})
}
