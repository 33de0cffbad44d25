package sorter

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arena is memory outside the Go heap: it takes pages only as they are touched, the garbage collector neither scans
// nor counts it, and it goes back to the system at once. So a sorter may reserve its whole budget and a small map
// still stays small.
type arena struct{ mem []byte }

// newArena reserves size bytes of zeros.
func newArena(size int64) (*arena, error) {
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes for sorting: %w", size, err)
	}
	// Large pages spare most of the page faults; a kernel without them refuses, which is no harm.
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	return &arena{mem: mem}, nil
}

// free returns the memory. No slice of it may be used after that.
func (a *arena) free() error {
	if a == nil || a.mem == nil {
		return nil
	}
	err := unix.Munmap(a.mem)
	a.mem = nil
	return err
}

// sliceOf views the arena as values of a type without pointers.
func sliceOf[T any](a *arena) []T {
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(a.mem))), len(a.mem)/int(unsafe.Sizeof(t)))
}
