package sparktest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"fairway/adapters/spark/wire"
)

// Client is a connection.
type Client struct {
	Conn net.Conn
	in   io.Reader
	out  io.Writer
	next int64
}

// Dial connects.
func Dial(address string) (*Client, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	// Of a small buffer, so that what a chunk has beyond it goes straight to where it belongs.
	return &Client{Conn: c, in: bufio.NewReaderSize(c, 4<<10), out: c}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.Conn.Close() }

// Failure is an error that the service answered.
type Failure struct{ Why string }

func (f *Failure) Error() string { return f.Why }

// Write sends bytes as the connection sends everything.
func (c *Client) Write(b []byte) error {
	_, err := c.out.Write(b)
	return err
}

// head reads a frame's.
func (c *Client) head() (wire.Kind, int, error) {
	var h [wire.HeadSize]byte
	if _, err := io.ReadFull(c.in, h[:]); err != nil {
		return 0, 0, err
	}
	return wire.ParseHead(h, 1<<30)
}

// Read reads a frame.
func (c *Client) Read() (wire.Frame, error) {
	k, n, err := c.head()
	if err != nil {
		return wire.Frame{}, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return wire.Frame{}, err
	}
	return wire.ParseFrame(k, b)
}

// RPC sends bytes and returns those of the answer.
func (c *Client) RPC(body []byte) ([]byte, error) {
	c.next++
	if err := c.Write(wire.AppendRPC(nil, wire.RPCRequest, c.next, body)); err != nil {
		return nil, err
	}
	return c.Answer()
}

// Answer reads the answer to the last RPC.
func (c *Client) Answer() ([]byte, error) {
	f, err := c.Read()
	switch {
	case err != nil:
		return nil, err
	case f.ID != c.next:
		return nil, fmt.Errorf("answer to %d, want %d", f.ID, c.next)
	case f.Kind == wire.RPCFailure:
		return nil, &Failure{f.Why}
	case f.Kind != wire.RPCResponse:
		return nil, fmt.Errorf("answer of type %d", f.Kind)
	}
	return f.Body, nil
}

// Call sends a message and returns the answer, nil if it is empty.
func (c *Client) Call(m wire.Message) (wire.Message, error) {
	b, err := c.RPC(wire.Append(nil, m))
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return wire.Parse(b)
}

// Open sends a message that a stream answers.
func (c *Client) Open(m wire.Message) (*wire.StreamHandle, error) {
	a, err := c.Call(m)
	if err != nil {
		return nil, err
	}
	h, ok := a.(*wire.StreamHandle)
	if !ok {
		return nil, fmt.Errorf("%T answers", a)
	}
	return h, nil
}

// Ask sends a ChunkFetchRequest.
func (c *Client) Ask(stream int64, chunk int32) error {
	return c.Write(wire.AppendChunkRequest(nil, stream, chunk))
}

// Take reads a chunk that was asked for into buf, or into a new buffer if it does not fit.
func (c *Client) Take(stream int64, chunk int32, buf []byte) ([]byte, error) {
	k, n, err := c.head()
	if err != nil {
		return nil, err
	}
	if k != wire.ChunkFetchSuccess || n < 12 {
		b := make([]byte, n)
		if _, err := io.ReadFull(c.in, b); err != nil {
			return nil, err
		}
		f, err := wire.ParseFrame(k, b)
		if err == nil && f.Kind == wire.ChunkFetchFailure {
			err = &Failure{f.Why}
		}
		return nil, errors.Join(err, nilUnless(err == nil, "a frame that is no chunk"))
	}
	var h [12]byte
	if _, err := io.ReadFull(c.in, h[:]); err != nil {
		return nil, err
	}
	if s, i := int64(binary.BigEndian.Uint64(h[:])), int32(binary.BigEndian.Uint32(h[8:])); s != stream || i != chunk {
		return nil, fmt.Errorf("chunk %d of %d, want %d of %d", i, s, chunk, stream)
	}
	if n -= 12; n > cap(buf) {
		buf = make([]byte, n)
	}
	_, err = io.ReadFull(c.in, buf[:n])
	return buf[:n], err
}

func nilUnless(b bool, what string) error {
	if b {
		return errors.New(what)
	}
	return nil
}

// Chunk fetches one.
func (c *Client) Chunk(stream int64, chunk int32) ([]byte, error) {
	if err := c.Ask(stream, chunk); err != nil {
		return nil, err
	}
	return c.Take(stream, chunk, nil)
}

// Stream fetches a chunk as large ones are fetched.
func (c *Client) Stream(stream int64, chunk int32) ([]byte, error) {
	return c.StreamID(strconv.FormatInt(stream, 10) + "_" + strconv.Itoa(int(chunk)))
}

// StreamID does so by a stream's whole name.
func (c *Client) StreamID(id string) ([]byte, error) {
	if err := c.Write(wire.AppendStreamRequest(nil, id)); err != nil {
		return nil, err
	}
	f, err := c.Read()
	switch {
	case err != nil:
		return nil, err
	case f.Kind == wire.StreamFailure:
		return nil, &Failure{f.Why}
	case f.Kind != wire.StreamResponse || f.Name != id:
		return nil, fmt.Errorf("answer of type %d for %q", f.Kind, f.Name)
	}
	b := make([]byte, f.Length)
	_, err = io.ReadFull(c.in, b)
	return b, err
}
