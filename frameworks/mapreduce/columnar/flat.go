package columnar

import (
	"encoding/binary"
	"errors"
)

// Arrow's metadata are flatbuffers (https://flatbuffers.dev/internals). The few fields that tell of lengths are read
// here, with every offset checked, before Arrow's own reader, which checks none, believes them.

var errFlat = errors.New("its metadata are damaged")

// table is a flatbuffer table.
type table struct {
	buf []byte
	pos int
}

// rootTable is the table that a buffer begins with.
func rootTable(buf []byte) (table, error) {
	t := table{buf: buf}
	off, err := t.u32(0)
	t.pos = int(off)
	if err != nil || t.pos+4 > len(buf) {
		return t, errFlat
	}
	return t, nil
}

func (t table) u32(at int) (uint32, error) {
	if at < 0 || at > len(t.buf)-4 {
		return 0, errFlat
	}
	return binary.LittleEndian.Uint32(t.buf[at:]), nil
}

func (t table) i64(at int) (int64, error) {
	if at < 0 || at > len(t.buf)-8 {
		return 0, errFlat
	}
	return int64(binary.LittleEndian.Uint64(t.buf[at:])), nil
}

// field returns where field i lies; 0 if it is absent.
func (t table) field(i int) (int, error) {
	back, err := t.u32(t.pos)
	if err != nil {
		return 0, err
	}
	vtable := t.pos - int(int32(back))
	if vtable < 0 || vtable > len(t.buf)-4 {
		return 0, errFlat
	}
	size := int(binary.LittleEndian.Uint16(t.buf[vtable:]))
	slot := 4 + 2*i
	if slot+2 > size {
		return 0, nil
	}
	if vtable+slot+2 > len(t.buf) {
		return 0, errFlat
	}
	off := int(binary.LittleEndian.Uint16(t.buf[vtable+slot:]))
	if off == 0 {
		return 0, nil
	}
	return t.pos + off, nil
}

// bodyLength checks a message's metadata as far as its reader trusts them, and returns the length in bytes of what
// follows it.
func bodyLength(message []byte) (int64, error) {
	t, err := rootTable(message)
	if err != nil {
		return 0, err
	}
	if err := t.checkHeader(); err != nil {
		return 0, err
	}
	at, err := t.field(3)
	if err != nil || at == 0 {
		return 0, err
	}
	return t.i64(at)
}

// Kinds of messages.
const (
	schemaMessage     = 1
	dictionaryMessage = 2
	batchMessage      = 3
)

// checkHeader checks the lengths of vectors, for which Arrow's reader takes memory before it looks at their elements.
func (t table) checkHeader() error {
	kindAt, err := t.field(1)
	if err != nil || kindAt == 0 || kindAt >= len(t.buf) {
		return errFlat
	}
	header, err := t.table(2)
	if err != nil {
		return err
	}
	switch t.buf[kindAt] {
	case schemaMessage:
		return header.checkSchema()
	case dictionaryMessage:
		if header, err = header.table(1); err != nil {
			return err
		}
		return header.checkBatch()
	case batchMessage:
		return header.checkBatch()
	}
	return nil
}

// table returns the table that a field refers to.
func (t table) table(field int) (table, error) {
	at, err := t.field(field)
	if err != nil || at == 0 {
		return t, errFlat
	}
	return t.at(at)
}

// at returns the table that the offset at a place refers to.
func (t table) at(place int) (table, error) {
	off, err := t.u32(place)
	if err != nil || int64(place)+int64(off) > int64(len(t.buf)-4) {
		return t, errFlat
	}
	return table{t.buf, place + int(off)}, nil
}

// vector returns where the elements of a vector lie and how many there are; an absent one is empty.
func (t table) vector(field, size int) (start, n int, err error) {
	at, err := t.field(field)
	if err != nil || at == 0 {
		return 0, 0, err
	}
	v, err := t.at(at)
	if err != nil {
		return 0, 0, err
	}
	count, err := v.u32(v.pos)
	if err != nil || int64(count)*int64(size) > int64(len(t.buf)-v.pos-4) {
		return 0, 0, errFlat
	}
	return v.pos + 4, int(count), nil
}

func (t table) checkBatch() error {
	for field, size := range map[int]int{1: 16, 2: 16, 4: 8} {
		if _, _, err := t.vector(field, size); err != nil {
			return err
		}
	}
	return nil
}

const (
	maxFields = 1 << 16 // of a schema, nested ones too
	maxNested = 64
)

func (t table) checkSchema() error {
	budget := maxFields
	if _, _, err := t.vector(2, 4); err != nil {
		return err
	}
	return t.checkFields(1, maxNested, &budget)
}

// checkFields walks the fields in a vector of fields. Offsets may form loops: depth and budget end them.
func (t table) checkFields(field, depth int, budget *int) error {
	start, n, err := t.vector(field, 4)
	if err != nil {
		return err
	}
	if *budget -= n; *budget < 0 || depth == 0 {
		return errFlat
	}
	for i := range n {
		f, err := t.at(start + 4*i)
		if err != nil {
			return err
		}
		if _, _, err := f.vector(6, 4); err != nil {
			return err
		}
		if err := f.checkFields(5, depth-1, budget); err != nil {
			return err
		}
	}
	return nil
}

// block is where a message of an Arrow file lies.
type block struct {
	offset, body int64
	meta         int32
}

func (b block) end() int64 { return b.offset + int64(b.meta) + b.body }

const blockStruct = 24 // bytes: int64 offset, int32 metadata length, padding, int64 body length

// footerBlocks returns the dictionaries' and record batches' places in a file whose messages end at limit.
func footerBlocks(footer []byte, limit int64) (dictionaries, batches []block, err error) {
	t, err := rootTable(footer)
	if err != nil {
		return nil, nil, err
	}
	schema, err := t.table(1)
	if err == nil {
		err = schema.checkSchema()
	}
	if err != nil {
		return nil, nil, err
	}
	if dictionaries, err = t.blocks(2, limit); err != nil {
		return nil, nil, err
	}
	batches, err = t.blocks(3, limit)
	return dictionaries, batches, err
}

func (t table) blocks(field int, limit int64) ([]block, error) {
	at, n, err := t.vector(field, blockStruct)
	if err != nil {
		return nil, err
	}
	out := make([]block, n)
	for i := range out {
		p := t.buf[at+i*blockStruct:]
		b := block{
			offset: int64(binary.LittleEndian.Uint64(p)),
			meta:   int32(binary.LittleEndian.Uint32(p[8:])),
			body:   int64(binary.LittleEndian.Uint64(p[16:])),
		}
		if b.offset < 8 || b.offset > limit || b.meta < 8 || b.meta > maxMetadata || b.body < 0 || b.body > limit || b.end() > limit {
			return nil, errFlat
		}
		out[i] = b
	}
	return out, nil
}
