package hadooprpc

import (
	"bytes"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

func TestBadPackets(t *testing.T) {
	good := hello(t, "alice")
	strange := func(change func(*wire.RpcRequestHeaderProto)) []byte {
		h := rpcHeader(3)
		change(h)
		return append(bytes.Clone(good), framed(marshal(t, h), marshal(t, &wire.RequestHeaderProto{}), nil)...)
	}
	const (
		fatal  = fatalServerException
		header = wire.RpcResponseHeaderProto_FATAL_INVALID_RPC_HEADER
		read   = wire.RpcResponseHeaderProto_FATAL_DESERIALIZING_REQUEST
		auth   = wire.RpcResponseHeaderProto_FATAL_UNAUTHORIZED
	)
	sasl := append([]byte("hrpc\x09\x00"), 0xdf)
	saslPacket := func(m proto.Message) []byte { return packetOf(t, saslCallID, m) }
	cases := map[string]struct {
		bytes  []byte
		callID int32
		detail wire.RpcResponseHeaderProto_RpcErrorCodeProto
		class  string
	}{
		"version 8":              {[]byte("hrpc\x08\x00\x00"), -1, wire.RpcResponseHeaderProto_FATAL_VERSION_MISMATCH, VersionMismatch},
		"version 10":             {[]byte("hrpc\x0a\x00\x00"), -1, wire.RpcResponseHeaderProto_FATAL_VERSION_MISMATCH, VersionMismatch},
		"an unknown auth":        {[]byte("hrpc\x09\x00\x51"), -1, auth, IPCException},
		"2 GiB":                  {append(bytes.Clone(good), 0x7f, 0xff, 0xff, 0xff), -1, header, fatal},
		"2 GiB before greeting":  {[]byte("hrpc\x09\x00\x00\x7f\xff\xff\xff"), -1, header, fatal},
		"17 KiB before greeting": {[]byte("hrpc\x09\x00\x00\x00\x00\x44\x00"), -1, header, fatal},
		"a negative length":      {append(bytes.Clone(good), 0xff, 0xff, 0xff, 0xff), -1, header, fatal},
		"no length":              {append(bytes.Clone(good), 0, 0, 0, 0), -1, header, fatal},
		"a header cut short":     {append(bytes.Clone(good), 0, 0, 0, 2, 0x1a, 0x08), -1, read, fatal},
		"a header of noise":      {append(bytes.Clone(good), framed([]byte{0xff, 0xff})...), -1, read, fatal},
		"no call id":             {strange(func(h *wire.RpcRequestHeaderProto) { h.CallId = nil }), -1, read, fatal},
		"no client id":           {strange(func(h *wire.RpcRequestHeaderProto) { h.ClientId = nil }), -1, read, fatal},
		"no operation":           {strange(func(h *wire.RpcRequestHeaderProto) { h.RpcOp = nil }), 3, header, fatal},
		"another operation": {strange(func(h *wire.RpcRequestHeaderProto) {
			h.RpcOp = wire.RpcRequestHeaderProto_RPC_CLOSE_CONNECTION.Enum()
		}), 3, header, fatal},
		"no kind": {strange(func(h *wire.RpcRequestHeaderProto) { h.RpcKind = nil }), 3, header, fatal},
		"another kind": {strange(func(h *wire.RpcRequestHeaderProto) {
			h.RpcKind = wire.RpcKindProto_RPC_WRITABLE.Enum()
		}), 3, header, fatal},
		"an unknown special call":   {append(bytes.Clone(good), packetOf(t, -7)...), -7, header, fatal},
		"no method":                 {append(bytes.Clone(good), packetOf(t, 4, &wire.RequestHeaderProto{}, ask(""))...), 4, read, fatal},
		"no request":                {append(bytes.Clone(good), packetOf(t, 4, &wire.RequestHeaderProto{MethodName: proto.String("echo"), DeclaringClassProtocolName: proto.String(testProtocol), ClientProtocolVersion: proto.Uint64(1)})...), 4, read, fatal},
		"a call first":              {append([]byte("hrpc\x09\x00\x00"), callOf(t, 0, "echo", ask(""))...), 0, header, fatal},
		"two contexts":              {append(bytes.Clone(good), good[7:]...), contextCallID, header, fatal},
		"a context of noise":        {append([]byte("hrpc\x09\x00\x00"), framed(marshal(t, rpcHeader(contextCallID)), []byte{0xff})...), contextCallID, read, fatal},
		"no user":                   {hello(t, ""), -1, auth, AccessControlException},
		"SASL unasked":              {append([]byte("hrpc\x09\x00\x00"), saslPacket(&wire.RpcSaslProto{State: wire.RpcSaslProto_NEGOTIATE.Enum()})...), saslCallID, header, fatal},
		"a context within SASL":     {append(bytes.Clone(sasl), good[7:]...), contextCallID, header, fatal},
		"SASL of noise":             {append(bytes.Clone(sasl), framed(marshal(t, rpcHeader(saslCallID)), []byte{0xff})...), saslCallID, read, fatal},
		"wrapped":                   {append(bytes.Clone(sasl), saslPacket(&wire.RpcSaslProto{State: wire.RpcSaslProto_WRAP.Enum()})...), saslCallID, header, fatal},
		"a challenge from a client": {append(bytes.Clone(sasl), saslPacket(&wire.RpcSaslProto{State: wire.RpcSaslProto_CHALLENGE.Enum()})...), -1, auth, SaslException},
		"a response unasked":        {append(bytes.Clone(sasl), saslPacket(&wire.RpcSaslProto{State: wire.RpcSaslProto_RESPONSE.Enum()})...), -1, auth, SaslException},
		"no mechanism":              {append(bytes.Clone(sasl), saslPacket(&wire.RpcSaslProto{State: wire.RpcSaslProto_INITIATE.Enum()})...), -1, auth, SaslException},
	}
	r := tcpRig(t, func(o *Options) { o.Secrets = secrets })
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			conn := r.raw(t)
			write(t, conn, c.bytes)
			a, err := readReply(t, conn)
			if err != nil {
				t.Fatal(err)
			}
			if a.head.GetStatus() != wire.RpcResponseHeaderProto_FATAL || a.head.GetErrorDetail() != c.detail || a.head.GetExceptionClassName() != c.class || int32(a.head.GetCallId()) != c.callID || len(a.body) != 0 {
				t.Errorf("answered %v and %d bytes, want call %d, %v, %s", a.head, len(a.body), c.callID, c.detail, c.class)
			}
			if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection goes on: %d, %v", n, err)
			}
		})
	}
}

func TestNegotiationRepeated(t *testing.T) {
	r := tcpRig(t, func(o *Options) { o.Secrets, o.Simple = secrets, false })
	negotiate := packetOf(t, saslCallID, &wire.RpcSaslProto{State: wire.RpcSaslProto_NEGOTIATE.Enum()})
	initiate := func(a *wire.RpcSaslProto_SaslAuth) []byte {
		return packetOf(t, saslCallID, &wire.RpcSaslProto{State: wire.RpcSaslProto_INITIATE.Enum(), Auths: []*wire.RpcSaslProto_SaslAuth{a}})
	}
	kerberos := &wire.RpcSaslProto_SaslAuth{Method: proto.String("KERBEROS"), Mechanism: proto.String("GSSAPI"), Protocol: proto.String("rm"), ServerId: proto.String("host")}
	for name, c := range map[string]struct {
		then  []byte
		class string
	}{
		"twice":    {negotiate, AccessControlException},
		"kerberos": {initiate(kerberos), AccessControlException},
		"simple":   {initiate(simpleAuth()), AccessControlException},
	} {
		conn := r.raw(t)
		write(t, conn, append([]byte("hrpc\x09\x00\xdf"), negotiate...))
		a, err := readReply(t, conn)
		var m wire.RpcSaslProto
		body, _, _ := delimited(a.body)
		if err != nil || proto.Unmarshal(body, &m) != nil || m.GetState() != wire.RpcSaslProto_NEGOTIATE || len(m.GetAuths()) != 1 || !sameAuth(m.GetAuths()[0], tokenAuth()) || len(m.GetAuths()[0].GetChallenge()) == 0 {
			t.Fatalf("%v, %v", &m, err)
		}
		write(t, conn, c.then)
		if a, err := readReply(t, conn); err != nil || a.head.GetExceptionClassName() != c.class || a.head.GetErrorDetail() != wire.RpcResponseHeaderProto_FATAL_UNAUTHORIZED {
			t.Errorf("%s: %v, %v", name, a.head, err)
		}
	}
	// A client that chooses what was never offered is told once what is; one that chooses TOKEN without our challenge gets it.
	conn := r.raw(t)
	write(t, conn, append([]byte("hrpc\x09\x00\xdf"), initiate(kerberos)...))
	if _, err := readReply(t, conn); err != nil {
		t.Fatal(err)
	}
	write(t, conn, initiate(tokenAuth()))
	a, err := readReply(t, conn)
	if err != nil {
		t.Fatal(err)
	}
	var m wire.RpcSaslProto
	body, _, _ := delimited(a.body)
	if proto.Unmarshal(body, &m) != nil || m.GetState() != wire.RpcSaslProto_CHALLENGE {
		t.Fatal(&m)
	}
	reply, proof, err := answerDigest(m.GetToken(), []byte("good"), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, conn, packetOf(t, saslCallID, &wire.RpcSaslProto{State: wire.RpcSaslProto_RESPONSE.Enum(), Token: reply}))
	if a, err = readReply(t, conn); err != nil {
		t.Fatal(err)
	}
	body, _, _ = delimited(a.body)
	if proto.Unmarshal(body, &m) != nil || m.GetState() != wire.RpcSaslProto_SUCCESS || !bytes.Equal(m.GetToken(), proof) {
		t.Fatal(&m)
	}
	write(t, conn, negotiate)
	if a, err := readReply(t, conn); err != nil || a.head.GetErrorMsg() != "Negotiation is already complete" {
		t.Errorf("%v, %v", a.head, err)
	}
}
