package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"fairway/broker/state"
)

// An entry is: version (1 byte), CRC-32C of the rest (4 bytes, little endian), term and number (uvarints), facts. The term
// is raft's when the facts were decided and the number counts the term's entries from 1: an entry that does not continue
// the one before it, because an earlier one was lost on the way, is refused by every copy of the state alike. The WAL
// checks sums of its newest segment only, hence our own.
const (
	entryVersion = 1
	entryBytes   = 4 << 20 // facts are split into entries of about this size; one fact may be larger
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeEntry encodes as many facts as an entry takes and returns the others.
func encodeEntry(term, number uint64, facts []state.Fact) ([]byte, []state.Fact) {
	b := make([]byte, 5, 32+64*min(len(facts), 4096))
	b[0] = entryVersion
	b = binary.AppendUvarint(b, term)
	b = binary.AppendUvarint(b, number)
	i := 0
	for ; i < len(facts) && len(b) < entryBytes; i++ {
		b = state.AppendFact(b, &facts[i])
	}
	seal(b)
	return b, facts[i:]
}

func seal(b []byte) { binary.LittleEndian.PutUint32(b[1:], crc32.Checksum(b[5:], castagnoli)) }

func decodeEntry(b []byte) (term, number uint64, facts []byte, err error) {
	if len(b) < 5 {
		return 0, 0, nil, fmt.Errorf("%w: entry of %d bytes", state.ErrCorrupt, len(b))
	}
	if b[0] != entryVersion {
		if b[0] == 0 {
			return 0, 0, nil, fmt.Errorf("%w: entry of version 0", state.ErrCorrupt)
		}
		return 0, 0, nil, fmt.Errorf("entry of version %d: %w", b[0], state.ErrNewer)
	}
	if crc32.Checksum(b[5:], castagnoli) != binary.LittleEndian.Uint32(b[1:]) {
		return 0, 0, nil, fmt.Errorf("%w: wrong checksum of an entry", state.ErrCorrupt)
	}
	rest := b[5:]
	term, n := binary.Uvarint(rest)
	if n <= 0 {
		return 0, 0, nil, fmt.Errorf("%w: term of an entry", state.ErrCorrupt)
	}
	rest = rest[n:]
	number, n = binary.Uvarint(rest)
	if n <= 0 {
		return 0, 0, nil, fmt.Errorf("%w: number of an entry", state.ErrCorrupt)
	}
	return term, number, rest[n:], nil
}
