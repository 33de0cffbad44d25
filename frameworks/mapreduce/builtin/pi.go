package builtin

import (
	"fmt"
	"math/big"
	"strconv"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
)

const samplesProperty = "fairway.pi.samples"

// Pi estimates Pi by a quasi-Monte Carlo method, as Hadoop's example does: points of the Halton sequence to the bases 2
// and 3 in the unit square, of which those within the inscribed circle are counted. Args: MAPS SAMPLES OUT, SAMPLES for
// each map. The output has the lines inside, outside and pi.
func Pi(args []string) (spec.Job, error) {
	if len(args) != 3 {
		return spec.Job{}, usageError("pi")
	}
	maps, err := strconv.Atoi(args[0])
	if err != nil || maps < 1 || maps > input.MaxSplits {
		return spec.Job{}, fmt.Errorf("pi: %q is no number of maps", args[0])
	}
	samples, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil || samples < 1 || samples > (1<<62)/int64(maps) {
		return spec.Job{}, fmt.Errorf("pi: %q is no number of samples", args[1])
	}
	return spec.Job{
		Name: "QuasiMonteCarlo", Output: args[2], InputFormat: input.None, Maps: maps, Reduces: 1,
		Mapper: spec.Stage{Function: "pi"}, Reducer: spec.Stage{Function: "pi"},
		Conf: map[string]string{samplesProperty: strconv.FormatInt(samples, 10)},
	}, nil
}

// halton is one coordinate of the Halton sequence.
type halton struct {
	base  int
	x     float64
	power []float64 // base^-1, base^-2, ...
	digit []int     // of the index in that base, lowest first
}

// newHalton stands at the point of an index; the next one is the first that next returns.
func newHalton(base, digits int, index int64) *halton {
	h := &halton{base: base, power: make([]float64, digits), digit: make([]int, digits)}
	q := 1.0
	for j := range digits {
		q /= float64(base)
		h.power[j] = q
		h.digit[j] = int(index % int64(base))
		index /= int64(base)
		h.x += float64(h.digit[j]) * q
	}
	return h
}

func (h *halton) next() float64 {
	before := 1.0
	for j := range h.digit {
		h.digit[j]++
		h.x += h.power[j]
		if h.digit[j] < h.base {
			break
		}
		h.digit[j] = 0
		h.x -= before
		before = h.power[j]
	}
	return h.x
}

func piMap(cx *mapreduce.Context, key, _ []byte, out mapreduce.Emitter) error {
	index, err := mapreduce.ParseInt(key)
	if err != nil {
		return err
	}
	samples := cx.ConfInt(samplesProperty, 0)
	x, y := newHalton(2, 63, index*samples), newHalton(3, 40, index*samples)
	var inside int64
	for i := range samples {
		px, py := x.next()-0.5, y.next()-0.5
		// The conversions forbid a fused multiply-add, which would round otherwise than Java does.
		if float64(px*px)+float64(py*py) <= 0.25 {
			inside++
		}
		if i&0xfffff == 0xfffff {
			if err := cx.Err(); err != nil {
				return err
			}
			cx.Reporter.Progress(float64(i) / float64(samples))
		}
	}
	if err := out.EmitInt([]byte("inside"), inside); err != nil {
		return err
	}
	return out.EmitInt([]byte("outside"), samples-inside)
}

// piReduce adds up and, at the end, divides.
type piReduce struct{ inside, total int64 }

func (p *piReduce) Reduce(_ *mapreduce.Context, key []byte, values mapreduce.Values, out mapreduce.Emitter) error {
	var sum int64
	for v := range values {
		n, err := mapreduce.ParseInt(v)
		if err != nil {
			return err
		}
		sum += n
	}
	p.total += sum
	if string(key) == "inside" {
		p.inside = sum
	}
	return out.EmitInt(key, sum)
}

func (p *piReduce) Cleanup(_ *mapreduce.Context, out mapreduce.Emitter) error {
	if p.total == 0 {
		return nil
	}
	pi := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(4), big.NewInt(p.inside)), big.NewInt(p.total))
	return out.Emit([]byte("pi"), []byte(pi.FloatString(20)))
}
