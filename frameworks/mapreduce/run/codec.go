package run

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec compresses the blocks of a run.
type Codec byte

// The codecs. Their numbers are part of the format.
const (
	None Codec = iota
	LZ4
	S2
	Zstd
)

// ParseCodec returns the codec of a name as spec.Job.Compress has it: "", "none", "lz4", "s2" or "zstd".
func ParseCodec(name string) (Codec, error) {
	switch name {
	case "", "none":
		return None, nil
	case "lz4":
		return LZ4, nil
	case "s2":
		return S2, nil
	case "zstd":
		return Zstd, nil
	}
	return None, fmt.Errorf("unknown compression %q of map output: use none, lz4, s2 or zstd", name)
}

// zstd's encoder and decoder are safe for concurrent EncodeAll and DecodeAll and dear to make.
var (
	zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false))
	})
	zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxBlock))
	})
)

// compress appends the compressed form of src to dst. It reports false if that is no shorter.
func (c Codec) compress(dst, src []byte) ([]byte, bool, error) {
	base := len(dst)
	switch c {
	case LZ4:
		bound := lz4.CompressBlockBound(len(src))
		dst = grow(dst, bound)
		n, err := lz4.CompressBlock(src, dst[base:base+bound], nil)
		if err != nil {
			return nil, false, fmt.Errorf("lz4: %w", err)
		}
		dst = dst[:base+n]
	case S2:
		bound := s2.MaxEncodedLen(len(src))
		dst = grow(dst, bound)
		dst = dst[:base+len(s2.Encode(dst[base:base+bound], src))]
	case Zstd:
		e, err := zstdEncoder()
		if err != nil {
			return nil, false, fmt.Errorf("zstd: %w", err)
		}
		dst = e.EncodeAll(src, dst)
	default:
		return dst, false, nil
	}
	n := len(dst) - base
	return dst, n > 0 && n < len(src), nil
}

// decompress fills dst, which has the length of the raw block.
func (c Codec) decompress(dst, src []byte) error {
	var n int
	switch c {
	case LZ4:
		var err error
		if n, err = lz4.UncompressBlock(src, dst); err != nil {
			return fmt.Errorf("lz4: %w", err)
		}
	case S2:
		if l, err := s2.DecodedLen(src); err != nil || l != len(dst) {
			return fmt.Errorf("s2: decoded length %d, expected %d (%v)", l, len(dst), err)
		}
		out, err := s2.Decode(dst, src)
		if err != nil {
			return fmt.Errorf("s2: %w", err)
		}
		n = len(out)
	case Zstd:
		d, err := zstdDecoder()
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		out, err := d.DecodeAll(src, dst[:0])
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		if n = len(out); n == len(dst) && n > 0 && &out[0] != &dst[0] {
			copy(dst, out)
		}
	default:
		return fmt.Errorf("unknown codec %d", c)
	}
	if n != len(dst) {
		return fmt.Errorf("block of %d bytes decompressed to %d", len(dst), n)
	}
	return nil
}

// grow returns b with room for n more bytes.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	out := make([]byte, len(b), len(b)+n)
	copy(out, b)
	return out
}
