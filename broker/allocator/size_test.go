package allocator

import (
	"testing"
	"unsafe"
)

func TestNodeSize(t *testing.T) {
	if n, at := unsafe.Sizeof(node{}), unsafe.Offsetof(node{}.busy); n != 384 || at+24 > 192 {
		t.Errorf("a node has %d bytes and busy is at %d: keep it at 384 and before 168", n, at)
	}
}

func TestAgentSize(t *testing.T) {
	if n, at := unsafe.Sizeof(agent{}), unsafe.Offsetof(agent{}.free); n != 192 || at != 64 {
		t.Errorf("an agent has %d bytes and free is at %d: keep it at 192 and 64", n, at)
	}
}
