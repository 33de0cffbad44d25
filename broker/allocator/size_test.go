package allocator

import (
	"testing"
	"unsafe"
)

func TestAgentSize(t *testing.T) {
	if n, at := unsafe.Sizeof(agent{}), unsafe.Offsetof(agent{}.free); n != 192 || at != 64 {
		t.Errorf("an agent has %d bytes and free is at %d: keep it at 192 and 64", n, at)
	}
}
