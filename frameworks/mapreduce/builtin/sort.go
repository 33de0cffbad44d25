package builtin

import (
	"bytes"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
)

// Sort sorts lines of text by their bytes. With more than one reduce the parts follow each other in order.
// Args: IN... OUT.
func Sort(args []string) (spec.Job, error) {
	in, out, err := inOut("sort", args)
	if err != nil {
		return spec.Job{}, err
	}
	return spec.Job{
		Name: "sort", Inputs: in, Output: out, Reduces: 1, Partitioner: "total",
		Mapper: spec.Stage{Function: "lines"}, Reducer: spec.Stage{Function: "lines"},
	}, nil
}

// lineMap makes each line a key.
type lineMap struct{}

func (lineMap) Map(_ *mapreduce.Context, _, line []byte, out mapreduce.Emitter) error {
	return out.Emit(line, nil)
}

func (lineMap) MapChunk(_ *mapreduce.Context, lines []byte, out mapreduce.Emitter) error {
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte{'\n'})
		if err := out.Emit(line, nil); err != nil {
			return err
		}
		lines = rest
	}
	return nil
}

// lineReduce writes each line as often as it came, without a value.
type lineReduce struct{}

func (lineReduce) Reduce(_ *mapreduce.Context, line []byte, values mapreduce.Values, out mapreduce.Emitter) error {
	for range values {
		if err := out.Emit(line, nil); err != nil {
			return err
		}
	}
	return nil
}
