package columnar

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	continuation = 0xFFFFFFFF
	maxBody      = 4 << 30 // bytes of one message
)

// framed reads an IPC stream and checks the length of each message before Arrow's reader takes memory for it. It also
// makes an error of a stream that breaks off inside a message, which Arrow's reader takes for its end.
type framed struct {
	r     io.Reader
	head  []byte // of the message, not yet passed on
	space []byte
	body  int64 // bytes of the message's body not yet passed on
	begun bool
	err   error
}

func (f *framed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if f.err != nil {
		return 0, f.err
	}
	if len(f.head) == 0 && f.body == 0 {
		if f.err = f.next(); f.err != nil {
			return 0, f.err
		}
	}
	if len(f.head) > 0 {
		n := copy(p, f.head)
		f.head = f.head[n:]
		return n, nil
	}
	if int64(len(p)) > f.body {
		p = p[:f.body]
	}
	n, err := f.r.Read(p)
	f.body -= int64(n)
	if err == io.EOF && f.body > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	f.err = err
	return n, err
}

// next reads the framing and metadata of the next message. Before version 0.15 Arrow wrote no continuation mark.
func (f *framed) next() error {
	f.space = append(f.space[:0], 0, 0, 0, 0)
	if _, err := io.ReadFull(f.r, f.space); err != nil {
		return err // io.EOF between messages: an end without the mark of one is allowed
	}
	prefix := 4
	if binary.LittleEndian.Uint32(f.space) == continuation {
		prefix = 8
		f.space = append(f.space, 0, 0, 0, 0)
		if _, err := io.ReadFull(f.r, f.space[4:]); err != nil {
			return unexpected(err)
		}
	} else if !f.begun && binary.LittleEndian.Uint32(f.space) > maxMetadata {
		return fmt.Errorf("it is no Arrow IPC stream: it begins with %q", f.space)
	}
	f.begun = true
	n := binary.LittleEndian.Uint32(f.space[prefix-4:])
	if n > maxMetadata {
		return fmt.Errorf("message of %d bytes of metadata: %w", n, errTooLarge)
	}
	if n == 0 { // the mark of the end
		f.head = f.space
		return nil
	}
	f.space = append(f.space, make([]byte, n)...)
	if _, err := io.ReadFull(f.r, f.space[prefix:]); err != nil {
		return unexpected(err)
	}
	body, err := bodyLength(f.space[prefix:])
	if err != nil {
		return err
	}
	if body < 0 || body > maxBody {
		return fmt.Errorf("message of %d bytes: %w", body, errTooLarge)
	}
	f.head, f.body = f.space, body
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
