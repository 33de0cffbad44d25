package hdfstest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hdfs/wire"
)

// exception is what the NameNode throws.
type exception struct{ class, message string }

func throw(class, format string, args ...any) *exception {
	return &exception{class, fmt.Sprintf(format, args...)}
}

// method is one of ClientProtocol; it runs with the cluster's lock held.
type method struct {
	request func() proto.Message
	run     func(c *Cluster, user string, request proto.Message) (proto.Message, *exception)
	once    bool // a repeated call gets the first answer
}

func call[Q any, PQ interface {
	*Q
	proto.Message
}](once bool, run func(c *Cluster, user string, q PQ) (proto.Message, *exception)) method {
	return method{func() proto.Message { return PQ(new(Q)) },
		func(c *Cluster, user string, q proto.Message) (proto.Message, *exception) {
			return run(c, user, q.(PQ))
		}, once}
}

var methods = map[string]method{
	"getFileInfo":       call(false, (*Cluster).getFileInfo),
	"getListing":        call(false, (*Cluster).getListing),
	"getBlockLocations": call(false, (*Cluster).getBlockLocations),
	"getServerDefaults": call(false, (*Cluster).getServerDefaults),
	"getDatanodeReport": call(false, (*Cluster).getDatanodeReport),
	"mkdirs":            call(false, (*Cluster).mkdirs),
	"create":            call(true, (*Cluster).create),
	"addBlock":          call(false, (*Cluster).addBlock),
	"abandonBlock":      call(false, (*Cluster).abandonBlock),
	// Fairway does not call it; other clients do before they end a block.
	"updateBlockForPipeline": call(false, (*Cluster).updateBlockForPipeline),
	"complete":               call(false, (*Cluster).complete),
	"rename2":                call(true, (*Cluster).rename2),
	"delete":                 call(true, (*Cluster).remove),
	"renewLease":             call(false, (*Cluster).renewLease),
	"reportBadBlocks":        call(false, (*Cluster).reportBadBlocks),
}

const connectionContext = -3 // call id

func (c *Cluster) serveNameNode(conn net.Conn) {
	in := bufio.NewReader(conn)
	var hello [7]byte
	if _, err := io.ReadFull(in, hello[:]); err != nil || string(hello[:5]) != "hrpc\x09" {
		return
	}
	user := ""
	for {
		header, rest, err := readRequest(in)
		if err != nil {
			return
		}
		if header.GetCallId() == connectionContext {
			var context wire.IpcConnectionContext
			if protodelim.UnmarshalFrom(rest, &context) != nil {
				return
			}
			user = context.GetUserInfo().GetEffectiveUser()
			continue
		}
		var head wire.RequestHeader
		if protodelim.UnmarshalFrom(rest, &head) != nil {
			return
		}
		if !c.answer(conn, user, header, head.GetMethodName(), rest) {
			return
		}
	}
}

func readRequest(in *bufio.Reader) (*wire.RpcRequestHeader, *bufio.Reader, error) {
	var length uint32
	if err := binary.Read(in, binary.BigEndian, &length); err != nil || length > 64<<20 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	rest := bufio.NewReader(io.LimitReader(in, int64(length)))
	header := &wire.RpcRequestHeader{}
	return header, rest, protodelim.UnmarshalFrom(rest, header)
}

// answer does one call; false ends the connection.
func (c *Cluster) answer(conn net.Conn, user string, header *wire.RpcRequestHeader, name string, rest *bufio.Reader) bool {
	m, known := methods[name]
	if !known {
		return c.send(conn, header, nil, throw("org.apache.hadoop.ipc.RpcNoSuchMethodException", "no method %s", name))
	}
	request := m.request()
	if protodelim.UnmarshalFrom(rest, request) != nil {
		return false
	}
	c.mu.Lock()
	fault := Fault{}
	if c.fault != nil {
		fault = c.fault(name, c.calls[name])
	}
	c.calls[name]++
	c.mu.Unlock()
	switch fault.Action {
	case Drop:
		return false
	case Hang:
		<-c.ctx.Done()
		return false
	case Error:
		return c.send(conn, header, nil, throw(fault.Class, "%s", fault.Message))
	case Junk:
		io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		return false
	}
	answer, thrown := c.run(m, user, header, request)
	return fault.Action != Lose && c.send(conn, header, answer, thrown)
}

func (c *Cluster) run(m method, user string, header *wire.RpcRequestHeader, request proto.Message) ([]byte, *exception) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := fmt.Sprintf("%x/%d", header.GetClientId(), header.GetCallId())
	if text, done := c.retries[key]; done && m.once {
		return text, nil
	}
	answer, thrown := m.run(c, user, request)
	if thrown != nil {
		return nil, thrown
	}
	text, err := proto.Marshal(answer)
	if err != nil {
		return nil, throw("java.io.IOException", "%v", err)
	}
	if m.once {
		c.retries[key] = text
	}
	return text, nil
}

func (c *Cluster) send(conn net.Conn, header *wire.RpcRequestHeader, answer []byte, thrown *exception) bool {
	id := uint32(header.GetCallId())
	head := &wire.RpcResponseHeader{CallId: &id, Status: wire.RpcResponseHeader_SUCCESS.Enum(), ServerIpcVersion: proto.Uint32(9), ClientId: header.GetClientId()}
	if thrown != nil {
		head.Status = wire.RpcResponseHeader_ERROR.Enum()
		head.ExceptionClass = &thrown.class
		text := thrown.message + "\n\tat org.apache.hadoop.Fake.fake(Fake.java:1)"
		head.ErrorMessage = &text
	}
	packet := make([]byte, 4)
	text, _ := proto.Marshal(head)
	packet = protowire.AppendBytes(packet, text)
	if thrown == nil {
		packet = protowire.AppendBytes(packet, answer)
	}
	binary.BigEndian.PutUint32(packet, uint32(len(packet)-4))
	_, err := conn.Write(packet)
	return err == nil
}
