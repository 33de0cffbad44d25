package mapreduce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// errNoOutput says that no local folder has the map's output.
var errNoOutput = errors.New("no output of this map")

// errReduce says that the map has no partition of this number.
var errReduce = errors.New("no such partition")

const (
	recordSize = 24       // three int64: start, raw length, length in the file
	footerSize = 8        // CRC-32 of the records, as an int64
	maxIndex   = 32 << 20 // bytes: more than a million partitions
)

// span is where a partition is in file.out.
type span struct {
	start, raw, length int64
}

// index is a map output's file.out.index, checked, and the local folder it was found in. It keeps the records as they are.
type index struct {
	records []byte
	dir     string
}

// parseIndex checks a whole index file (IndexRecord and SpillRecord in Hadoop). It keeps b.
func parseIndex(b []byte) (*index, error) {
	if len(b) < footerSize || (len(b)-footerSize)%recordSize != 0 {
		return nil, fmt.Errorf("index file of %d bytes", len(b))
	}
	records, footer := b[:len(b)-footerSize:len(b)-footerSize], b[len(b)-footerSize:]
	if want, got := binary.BigEndian.Uint64(footer), uint64(crc32.ChecksumIEEE(records)); want != got {
		return nil, fmt.Errorf("index file has checksum %x, says %x", got, want)
	}
	return &index{records: records}, nil
}

// partition of a reduce. Its numbers are not negative and its end does not overflow.
func (x *index) partition(reduce int) (span, error) {
	if reduce < 0 || reduce >= len(x.records)/recordSize {
		return span{}, fmt.Errorf("%w: %d of %d", errReduce, reduce, len(x.records)/recordSize)
	}
	r := x.records[reduce*recordSize:]
	s := span{
		start:  int64(binary.BigEndian.Uint64(r)),
		raw:    int64(binary.BigEndian.Uint64(r[8:])),
		length: int64(binary.BigEndian.Uint64(r[16:])),
	}
	if s.start < 0 || s.raw < 0 || s.length < 0 || s.start+s.length < 0 {
		return span{}, fmt.Errorf("partition %d is said to be %d bytes at %d", reduce, s.length, s.start)
	}
	return s, nil
}

// openOwned opens a regular file of an account below dir. No symbolic link leads out of dir, and a link within it is of no
// use as the file must belong to uid (-1: anyone). size is the file's.
func openOwned(dir, name string, uid int) (f *os.File, size int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	// Without O_NONBLOCK a fifo would hold the request for as long as its writer likes.
	f, err = root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err == nil && uid >= 0 {
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != uid {
			err = &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("does not belong to uid %d: %w", uid, fs.ErrPermission)}
		}
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// readIndex finds a map's index in the job's folders. A folder where it cannot be had is passed over; the last such reason
// is part of the error if none has it.
func readIndex(reg *registration, attempt string) (*index, error) {
	var reason error
	for _, dir := range reg.Dirs {
		f, size, err := openOwned(dir, "output/"+attempt+"/file.out.index", reg.UID)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			reason = err
			continue
		}
		x, err := readIndexFile(f, size)
		f.Close()
		if err != nil {
			return nil, err // it exists, and it is damaged: another folder has no better one
		}
		x.dir = dir
		return x, nil
	}
	if reason != nil {
		return nil, reason
	}
	return nil, errNoOutput
}

func readIndexFile(f *os.File, size int64) (*index, error) {
	if size > maxIndex {
		return nil, fmt.Errorf("index file of %d bytes, at most %d are read", size, maxIndex)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read index file: %w", err)
	}
	return parseIndex(b)
}
