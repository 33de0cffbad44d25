package mapreduce

import (
	"encoding/binary"
	"math/bits"
)

const (
	mul0 = 0x9e3779b97f4a7c15
	mul1 = 0xe7037ed1a0b428db
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// Hash is a fast 64-bit hash of a key, the same on every machine. It resists no attacker.
func Hash(key []byte) uint64 {
	var k0, k1 uint64
	n := uint64(len(key))
	h := n
	for len(key) > 16 {
		h = mix(binary.LittleEndian.Uint64(key)^mul0^h, binary.LittleEndian.Uint64(key[8:])^mul1)
		key = key[16:]
	}
	k0, k1 = Words(key)
	return HashWords(k0, k1, h)
}

// Words returns the bytes of a key of at most 16 bytes as two little-endian words, padded with zeros.
func Words(key []byte) (k0, k1 uint64) {
	switch n := len(key); {
	case n > 8:
		k0 = binary.LittleEndian.Uint64(key)
		k1 = binary.LittleEndian.Uint64(key[n-8:]) >> (8 * (16 - uint(n)))
	case n == 8:
		k0 = binary.LittleEndian.Uint64(key)
	case n >= 4:
		lo := uint64(binary.LittleEndian.Uint32(key))
		hi := uint64(binary.LittleEndian.Uint32(key[n-4:]))
		k0 = lo | hi<<(8*uint(n-4))
	case n > 0:
		k0 = uint64(key[0])
		k0 |= uint64(key[n>>1]) << (8 * uint(n>>1))
		k0 |= uint64(key[n-1]) << (8 * uint(n-1))
	}
	return k0, k1
}

// HashWords is Hash for a key of at most 16 bytes whose Words are k0 and k1 and whose length is n.
func HashWords(k0, k1, n uint64) uint64 {
	return mix(k0^mul0^n, k1^mul1)
}
