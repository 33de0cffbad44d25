package output

import (
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// blockSize is written at once: large writes are the fast ones of HDFS.
const blockSize = 1 << 20

// buffer gathers records into blocks and writes them behind the producer's back, so that making records, compressing
// and the storage's latency overlap. Its goroutine ends in close.
type buffer struct {
	path  string
	file  io.WriteCloser
	codec io.WriteCloser // between block and file; nil: none
	block []byte         // the caller's
	full  chan []byte
	free  chan []byte
	group errgroup.Group
	// failed holds the writer's first error; whoever sees it puts it back.
	failed chan error
	// behind is what the codec writes to: the file.
	behind io.Writer
	open   bool
}

func newBuffer(file io.WriteCloser, path string) *buffer {
	b := &buffer{
		path: path, file: file, behind: file, open: true,
		block:  make([]byte, 0, blockSize+4096),
		full:   make(chan []byte, 1),
		free:   make(chan []byte, 3),
		failed: make(chan error, 1),
	}
	b.free <- nil // a second and a third block, made when they are needed
	b.free <- nil
	b.group.Go(b.run)
	return b
}

// run writes blocks until full is closed. After an error it only takes them, so that the producer never waits.
func (b *buffer) run() error {
	var err error
	for block := range b.full {
		if err == nil {
			w := io.Writer(b.file)
			if b.codec != nil {
				w = b.codec
			}
			if _, err = w.Write(block); err != nil {
				err = fmt.Errorf("write %s: %w", b.path, err)
				b.failed <- err
			}
		}
		b.free <- block[:0]
	}
	return err
}

// put takes the block with a record added, and hands it on when it is full.
func (b *buffer) put(block []byte) error {
	b.block = block
	if len(block) < blockSize {
		return nil
	}
	return b.flush()
}

func (b *buffer) flush() error {
	select {
	case err := <-b.failed:
		b.failed <- err
		b.block = b.block[:0]
		return err
	default:
	}
	b.full <- b.block
	if b.block = <-b.free; b.block == nil {
		b.block = make([]byte, 0, blockSize+4096)
	}
	return nil
}

// close writes what is left and closes the file, also after an error. A second call does nothing.
func (b *buffer) close() error {
	if !b.open {
		return nil
	}
	b.open = false
	if len(b.block) > 0 {
		b.full <- b.block
	}
	close(b.full)
	err := b.group.Wait()
	if b.codec != nil {
		if cerr := b.codec.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write %s: %w", b.path, cerr)
		}
	}
	if cerr := b.file.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close %s: %w", b.path, cerr)
	}
	b.block = nil
	return err
}
