package columnar

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"fairway/frameworks/storage"
)

const (
	maxBuffer   = 1 << 30 // bytes of one column in one batch
	maxMetadata = 64 << 20
	maxRows     = 1 << 26 // of one batch: columns without buffers may claim any number
)

var errTooLarge = errors.New("a length in it is beyond all bounds")

// bounded refuses allocations that only a damaged length can ask for.
type bounded struct{ memory.Allocator }

func (b bounded) Allocate(size int) []byte {
	if size < 0 || size > maxBuffer {
		panic(errTooLarge)
	}
	return b.Allocator.Allocate(size)
}

func (b bounded) Reallocate(size int, p []byte) []byte {
	if size < 0 || size > maxBuffer {
		panic(errTooLarge)
	}
	return b.Allocator.Reallocate(size, p)
}

// guarded runs f and makes an error of a panic: Arrow panics on much that is wrong in foreign bytes.
func guarded(name string, f func() error) error {
	panicked, err := caught(f)
	if panicked {
		return corrupt(name, err)
	}
	return err
}

// caught runs f and returns a panic of it as an error.
func caught(f func() error) (panicked bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			panicked = true
			if e, ok := r.(error); ok {
				err = e
			} else {
				err = fmt.Errorf("%v", r)
			}
		}
	}()
	return false, f()
}

func corrupt(name string, err error) error {
	return fmt.Errorf("%s: %w: %w", name, storage.ErrCorrupt, err)
}
