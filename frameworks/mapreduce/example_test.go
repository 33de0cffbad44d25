package mapreduce_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"

	"fairway/frameworks/mapreduce"
)

// printer shows what a function emits.
type printer struct{}

func (printer) Emit(key, value []byte) error {
	fmt.Printf("%s\t%s\n", key, value)
	return nil
}

func (p printer) EmitInt(key []byte, n int64) error {
	return p.Emit(key, strconv.AppendInt(nil, n, 10))
}

// A mapper is a function on one record.
func ExampleMap() {
	newMapper := mapreduce.Map(func(_ *mapreduce.Context, _, line []byte, out mapreduce.Emitter) error {
		user, url, _ := bytes.Cut(line, []byte{' '})
		return out.Emit(url, user)
	})
	cx := &mapreduce.Context{Context: context.Background()}
	if err := newMapper().Map(cx, []byte("0"), []byte("ann /index.html"), printer{}); err != nil {
		fmt.Println(err)
	}
	// Output: /index.html	ann
}

// A mapper of whole lines is several times faster where the work for one line is small.
func ExampleMapLines() {
	newMapper := mapreduce.MapLines(func(_ *mapreduce.Context, lines []byte, out mapreduce.Emitter) error {
		for line := range bytes.Lines(lines) {
			if err := out.EmitInt(bytes.TrimSpace(line), 1); err != nil {
				return err
			}
		}
		return nil
	})
	m := newMapper().(mapreduce.ChunkMapper)
	if err := m.MapChunk(&mapreduce.Context{}, []byte("GET\nPUT\n"), printer{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// GET	1
	// PUT	1
}

// A reducer gets each key with all of its values.
func ExampleReduce() {
	newReducer := mapreduce.Reduce(func(_ *mapreduce.Context, key []byte, values mapreduce.Values, out mapreduce.Emitter) error {
		var longest []byte
		for v := range values {
			if len(v) > len(longest) {
				longest = bytes.Clone(v) // a value is valid until the next one only
			}
		}
		return out.Emit(key, longest)
	})
	values := slices.Values([][]byte{[]byte("ann"), []byte("barbara"), []byte("eve")})
	if err := newReducer().Reduce(&mapreduce.Context{}, []byte("/index.html"), values, printer{}); err != nil {
		fmt.Println(err)
	}
	// Output: /index.html	barbara
}

// A program registers its functions; jobs name them. Sums, minima, maxima and counts are there.
func ExampleRegistry() {
	r := mapreduce.NewRegistry()
	r.Mapper("lengths", mapreduce.Map(func(_ *mapreduce.Context, _, line []byte, out mapreduce.Emitter) error {
		return out.EmitInt([]byte("bytes"), int64(len(line)))
	}))
	r.Partitioner("first byte", func(key []byte, n int) int { return int(key[0]) % n })
	newMapper, err := r.FindMapper("lengths")
	if err == nil {
		err = newMapper().Map(&mapreduce.Context{}, nil, []byte("twelve bytes"), printer{})
	}
	fmt.Println(err)
	_, err = r.FindReducer("median")
	fmt.Println(err)
	// Output:
	// bytes	12
	// <nil>
	// unknown function: no reducer "median" in this binary; it knows ["count" "identity" "max" "min" "sum"]
}
