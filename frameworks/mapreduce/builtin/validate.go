package builtin

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math"
	"path"
	"strings"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
)

// TeraValidate checks that the files of a folder are in total order and adds the CRC32 of all rows up, as Hadoop's
// does: a good result is the one line "checksum", and each line "error" tells of a fault. Args: IN OUT.
func TeraValidate(args []string) (spec.Job, error) {
	if len(args) != 2 {
		return spec.Job{}, usageError("teravalidate")
	}
	return spec.Job{
		Name: "TeraValidate", Inputs: args[:1], Output: args[1], InputFormat: input.Tera, Reduces: 1,
		Mapper: spec.Stage{Function: "teravalidate"}, Reducer: spec.Stage{Function: "teravalidate"},
		SplitSize: math.MaxInt64 / 2, // a file is one split, or the order across a cut would go unchecked
	}, nil
}

var (
	errorKey    = []byte("error")
	checksumKey = []byte("checksum")
)

// validateMap checks the order within a file and passes its first and last key on.
type validateMap struct {
	name string
	any  bool
	last []byte
	sum  uint128
}

func (v *validateMap) Map(cx *mapreduce.Context, key, value []byte, out mapreduce.Emitter) error {
	if !v.any {
		v.any = true
		v.name = path.Base(cx.Split.URL)
		if err := out.Emit([]byte(v.name+":begin"), key); err != nil {
			return err
		}
	} else if bytes.Compare(key, v.last) < 0 {
		text := fmt.Sprintf("misorder in %s between %s and %s", v.name, spacedHex(v.last), spacedHex(key))
		if err := out.Emit(errorKey, []byte(text)); err != nil {
			return err
		}
	}
	v.last = append(v.last[:0], key...)
	crc := crc32.Update(crc32.ChecksumIEEE(key), crc32.IEEETable, value)
	v.sum = v.sum.add(uint128{lo: uint64(crc)})
	return nil
}

func (v *validateMap) Cleanup(_ *mapreduce.Context, out mapreduce.Emitter) error {
	if !v.any {
		return nil
	}
	if err := out.Emit([]byte(v.name+":end"), v.last); err != nil {
		return err
	}
	return out.Emit(checksumKey, []byte(v.sum.hex()))
}

// validateReduce checks the order across files and adds the checksums up.
type validateReduce struct {
	any                bool
	lastName, lastSeen []byte
}

func (v *validateReduce) Reduce(_ *mapreduce.Context, key []byte, values mapreduce.Values, out mapreduce.Emitter) error {
	switch {
	case bytes.Equal(key, errorKey):
		for text := range values {
			if err := out.Emit(key, text); err != nil {
				return err
			}
		}
	case bytes.Equal(key, checksumKey):
		var sum uint128
		for text := range values {
			x, err := parseHex(text)
			if err != nil {
				return err
			}
			sum = sum.add(x)
		}
		return out.Emit(key, []byte(sum.hex()))
	default:
		for value := range values {
			if v.any && bytes.Compare(value, v.lastSeen) < 0 {
				text := fmt.Sprintf("bad key partitioning:\n  file %s key %s\n  file %s key %s", v.lastName,
					spacedHex(v.lastSeen), key, spacedHex(value))
				if err := out.Emit(errorKey, []byte(text)); err != nil {
					return err
				}
			}
			v.any = true
			v.lastName, v.lastSeen = append(v.lastName[:0], key...), append(v.lastSeen[:0], value...)
		}
	}
	return nil
}

// spacedHex prints bytes as Hadoop's BytesWritable does.
func spacedHex(b []byte) string {
	return strings.TrimSpace(fmt.Sprintf("% x", b))
}
