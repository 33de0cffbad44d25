package hdfstest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	rpcwire "fairway/adapters/hadooprpc/wire"
)

// method is one of ClientProtocol; it runs with the cluster's lock held.
type method struct {
	request func() proto.Message
	run     func(c *Cluster, user string, request proto.Message) (proto.Message, *hadooprpc.Exception)
	once    bool // a repeated call gets the first answer
}

func call[Q any, PQ interface {
	*Q
	proto.Message
}](once bool, run func(c *Cluster, user string, q PQ) (proto.Message, *hadooprpc.Exception)) method {
	return method{func() proto.Message { return PQ(new(Q)) },
		func(c *Cluster, user string, q proto.Message) (proto.Message, *hadooprpc.Exception) {
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

const (
	greeting   = "hrpc\x09\x00\x00" // version 9, service class 0, authentication "none"
	maxRequest = 64 << 20
)

// caller is a connection to the NameNode. Its calls run at once, and are answered as they end.
type caller struct {
	net.Conn
	user    string
	writing sync.Mutex
}

func (c *Cluster) serveNameNode(conn net.Conn) {
	from := &caller{Conn: conn}
	in := bufio.NewReader(conn)
	hello := make([]byte, len(greeting))
	if _, err := io.ReadFull(in, hello); err != nil || string(hello) != greeting {
		return
	}
	for {
		q, err := hadooprpc.ReadRequest(in, maxRequest)
		if err != nil {
			return
		}
		if q.ID >= 0 {
			c.wg.Go(func() {
				if !c.answer(from, q) {
					conn.Close()
				}
			})
			continue
		}
		var introduction rpcwire.IpcConnectionContextProto
		if proto.Unmarshal(q.Message, &introduction) != nil {
			return
		}
		from.user = introduction.GetUserInfo().GetEffectiveUser()
	}
}

// answer does one call; false ends the connection.
func (c *Cluster) answer(from *caller, q *hadooprpc.Request) bool {
	m, known := methods[q.Method]
	if !known {
		return from.send(q, nil, hadooprpc.Errorf(hadooprpc.NoSuchMethod, "no method %s", q.Method))
	}
	request := m.request()
	if proto.Unmarshal(q.Message, request) != nil {
		return false
	}
	c.mu.Lock()
	fault := Fault{}
	if c.fault != nil {
		fault = c.fault(q.Method, c.calls[q.Method])
	}
	c.calls[q.Method]++
	c.mu.Unlock()
	switch fault.Action {
	case Drop:
		return false
	case Hang:
		<-c.ctx.Done()
		return false
	case Error:
		return from.send(q, nil, hadooprpc.Errorf(fault.Class, "%s", fault.Message))
	case Junk:
		io.WriteString(from, "HTTP/1.1 400 Bad Request\r\n\r\n")
		return false
	}
	answer, thrown := c.run(m, from.user, q, request)
	return fault.Action != Lose && from.send(q, answer, thrown)
}

func (c *Cluster) run(m method, user string, q *hadooprpc.Request, request proto.Message) ([]byte, *hadooprpc.Exception) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := fmt.Sprintf("%x/%d", q.ClientID, q.ID)
	if text, done := c.retries[key]; done && m.once {
		return text, nil
	}
	answer, thrown := m.run(c, user, request)
	if thrown != nil {
		return nil, thrown
	}
	text, err := proto.Marshal(answer)
	if err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.IOException, "%v", err)
	}
	if m.once {
		c.retries[key] = text
	}
	return text, nil
}

func (c *caller) send(q *hadooprpc.Request, answer []byte, thrown *hadooprpc.Exception) bool {
	if thrown != nil { // a real one sends its stack
		thrown = hadooprpc.Errorf(thrown.Class, "%s\n\tat org.apache.hadoop.Fake.fake(Fake.java:1)", thrown.Message)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.Write(hadooprpc.AppendAnswer(nil, q, answer, thrown))
	return err == nil
}
