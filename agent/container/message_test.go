package container

import (
	"bytes"
	"testing"

	"fairway/agent/container/supervisor"
)

// FuzzReadMessage: whatever a supervisor sends, a message is what it framed, or an error.
func FuzzReadMessage(f *testing.F) {
	f.Add(append(supervisor.Frame(supervisor.MsgStarted, supervisor.Number8(5)), supervisor.Frame(supervisor.MsgExit, []byte("x"))...))
	f.Add(supervisor.Frame(supervisor.MsgExit, nil)[:4])
	f.Add([]byte{0, 0, 0, 0, 'X'})
	f.Add([]byte{255, 255, 255, 255, 'X', 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		for {
			from := len(b) - in.Len()
			kind, body, err := readMessage(in)
			if err != nil {
				return
			}
			if to := len(b) - in.Len(); !bytes.Equal(supervisor.Frame(kind, body), b[from:to]) {
				t.Fatalf("%q was read as %q, %q", b[from:to], kind, body)
			}
		}
	})
}
