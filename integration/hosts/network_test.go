package hosts

import (
	"errors"
	"testing"

	"fairway/integration/network"
)

// lay makes a network of n hosts and takes it down with the test.
func lay(t *testing.T, n int) *network.Network {
	t.Helper()
	w, err := network.Lay(n)
	if errors.Is(err, network.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}
