package mapreduce_test

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
)

// The partition of a key is part of what maps of one job agree on: it never changes.
func TestHashPartitionGolden(t *testing.T) {
	for key, want := range map[string]int{"": 32, "a": 660, "fairway": 431, "a key of more than sixteen bytes": 478} {
		if got := mapreduce.HashPartition([]byte(key), 1000); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
}

func TestHashPartitionSpreads(t *testing.T) {
	const keys, parts = 100_000, 7
	var counts [parts]int
	for i := range keys {
		counts[mapreduce.HashPartition(strconv.AppendInt([]byte("key-"), int64(i), 10), parts)]++
	}
	for p, n := range counts {
		if math.Abs(float64(n)-keys/parts) > keys/parts/20 {
			t.Errorf("partition %d has %d of %d keys", p, n, keys)
		}
	}
}

// Words loads a key as two little-endian words, without bytes that follow it.
func TestWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "key")
		var padded [16]byte
		copy(padded[:], key)
		k0, k1 := mapreduce.Words(key)
		if k0 != binary.LittleEndian.Uint64(padded[:]) || k1 != binary.LittleEndian.Uint64(padded[8:]) {
			t.Fatalf("%x: %x %x", key, k0, k1)
		}
		if mapreduce.Hash(key) != mapreduce.HashWords(k0, k1, uint64(len(key))) {
			t.Fatal("Hash and HashWords differ")
		}
	})
}

func TestParseInt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		if got, err := mapreduce.ParseInt(strconv.AppendInt(nil, n, 10)); err != nil || got != n {
			t.Fatalf("%d: %d, %v", n, got, err)
		}
	})
	for _, s := range []string{"", "x", "1x", "9223372036854775808", "1.5", "--1"} {
		if n, err := mapreduce.ParseInt([]byte(s)); err == nil {
			t.Errorf("%q is %d", s, n)
		}
	}
	if n, err := mapreduce.ParseInt([]byte(" 12\r")); err != nil || n != 12 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestRegistry(t *testing.T) {
	r := mapreduce.NewRegistry()
	if _, err := r.FindMapper("nope"); !errors.Is(err, mapreduce.ErrUnknownFunction) {
		t.Errorf("error %v", err)
	}
	if c, err := r.FindCombiner("sum"); err != nil || c.InPlace == nil {
		t.Errorf("sum: %v, %v", c, err)
	}
	r.Reducer("own", mapreduce.Reduce(mapreduce.Identity{}.Reduce))
	if c, err := r.FindCombiner("own"); err != nil || c.New == nil || c.None() {
		t.Errorf("a reducer as combiner: %v, %v", c, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a name can be taken twice")
		}
	}()
	r.Mapper("identity", nil)
}

// emitted keeps what was emitted.
type emitted []string

func (e *emitted) Emit(key, value []byte) error {
	*e = append(*e, string(key)+"="+string(value))
	return nil
}

func (e *emitted) EmitInt(key []byte, n int64) error {
	return e.Emit(key, strconv.AppendInt(nil, n, 10))
}

func TestInPlaceReducers(t *testing.T) {
	values := slices.Values([][]byte{[]byte("3"), []byte("-4"), []byte("12")})
	for name, want := range map[string]string{"sum": "k=11", "min": "k=-4", "max": "k=12", "count": "k=3"} {
		f, err := mapreduce.NewRegistry().FindReducer(name)
		if err != nil {
			t.Fatal(err)
		}
		var out emitted
		if err := f().Reduce(&mapreduce.Context{}, []byte("k"), values, &out); err != nil || !slices.Equal(out, emitted{want}) {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	var out emitted
	bad := slices.Values([][]byte{[]byte("x")})
	if err := mapreduce.Sum.InPlace.Reducer().Reduce(&mapreduce.Context{}, []byte("k"), bad, &out); err == nil {
		t.Error("a sum of no number")
	}
}

func TestContext(t *testing.T) {
	cx := &mapreduce.Context{Job: &spec.Job{Conf: map[string]string{"n": "5", "s": "text"}}}
	if cx.Conf("s", "") != "text" || cx.Conf("none", "default") != "default" || cx.ConfInt("n", 1) != 5 || cx.ConfInt("s", 1) != 1 {
		t.Error("properties")
	}
}
