package spark

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/adler32"
	"hash/crc32"
	"io"
	"strconv"

	"fairway/adapters/spark/wire"
)

// Causes of a damaged block, as Spark numbers them.
const (
	causeDisk        = 0
	causeNetwork     = 1
	causeUnknown     = 2
	causeNone        = 3
	causeUnsupported = 4
)

// checksum of an algorithm; Spark 3.5 writes ADLER32 (its default) and CRC32, 4.x also CRC32C.
func checksum(algorithm string) hash.Hash32 {
	switch algorithm {
	case "ADLER32":
		return adler32.New()
	case "CRC32":
		return crc32.NewIEEE()
	case "CRC32C":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	}
	return nil
}

// diagnose compares what the writer, the disk and the reader have for a block.
func (s *Server) diagnose(reg registration, e executor, m *wire.Diagnose) (byte, error) {
	h := checksum(m.Algorithm)
	if h == nil {
		return causeUnsupported, nil
	}
	base := "shuffle_" + strconv.Itoa(int(m.Shuffle)) + "_" + strconv.FormatInt(m.Map, 10) + "_0"
	f, size, err := openOwned(reg.Dirs, e.path(base+".checksum."+m.Algorithm), reg.UID)
	if err != nil {
		return causeUnknown, err
	}
	defer f.Close()
	var b [8]byte
	if m.Reduce < 0 || int64(m.Reduce)*8+8 > size {
		return causeUnknown, fmt.Errorf("no checksum of partition %d", m.Reduce)
	}
	if err := readAt(f, b[:], int64(m.Reduce)*8); err != nil {
		return causeUnknown, err
	}
	writer := int64(binary.BigEndian.Uint64(b[:]))
	g, err := s.open(reg, e, ref{kind: refShuffle, shuffle: m.Shuffle, mapID: m.Map, from: m.Reduce, to: m.Reduce + 1})
	if err != nil {
		return causeUnknown, err
	}
	defer g.close()
	if g.file != nil {
		if _, err := io.Copy(h, io.NewSectionReader(g.file, g.start, g.length)); err != nil {
			return causeUnknown, err
		}
	}
	switch {
	case writer != int64(h.Sum32()):
		return causeDisk, nil
	case writer != m.Checksum:
		return causeNetwork, nil
	}
	return causeNone, nil
}
