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

// bodyLength is the length in bytes of what follows a message.
func bodyLength(message []byte) (int64, error) {
	t, err := rootTable(message)
	if err != nil {
		return 0, err
	}
	at, err := t.field(3)
	if err != nil || at == 0 {
		return 0, err
	}
	return t.i64(at)
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
	if dictionaries, err = t.blocks(2, limit); err != nil {
		return nil, nil, err
	}
	batches, err = t.blocks(3, limit)
	return dictionaries, batches, err
}

func (t table) blocks(field int, limit int64) ([]block, error) {
	at, err := t.field(field)
	if err != nil || at == 0 {
		return nil, err
	}
	off, err := t.u32(at)
	if err != nil {
		return nil, err
	}
	at += int(off)
	n, err := t.u32(at)
	if err != nil {
		return nil, err
	}
	at += 4
	if int64(n)*blockStruct > int64(len(t.buf)-at) {
		return nil, errFlat
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
