package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

const (
	sampledSplits   = 10
	samplesPerPart  = 5_000
	leastSamples    = 20_000
	mostSamples     = 200_000
	sampledParallel = 4
)

// SampleCuts returns the borders of a total-order job: job.Reduces-1 keys, ascending, so that each partition gets
// about as many records of the sample. It runs the job's mapper (a Go function) over the first records of up to ten
// splits, spread over the input.
func SampleCuts(ctx context.Context, job *spec.Job, splits []spec.Split, mux *storage.Mux,
	reg *mapreduce.Registry) ([][]byte, error) {
	if job.Reduces <= 1 {
		return nil, nil
	}
	if len(job.Mapper.Program) > 0 {
		return nil, errors.New("a total order is sampled through the mapper, which must be a Go function, not a program")
	}
	newMapper := mapreduce.NewMapper(func() mapreduce.Mapper { return mapreduce.Identity{} })
	if job.Mapper.Function != "" {
		var err error
		if newMapper, err = reg.FindMapper(job.Mapper.Function); err != nil {
			return nil, err
		}
	}
	n := min(len(splits), sampledSplits)
	want := max(leastSamples, min(mostSamples, samplesPerPart*job.Reduces))
	samples := make([]sample, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sampledParallel)
	for i := range samples {
		s := &samples[i]
		s.limit = (want + n - 1) / n
		split := &splits[i*len(splits)/n]
		g.Go(func() error {
			if err := s.take(ctx, job, split, mux, newMapper()); err != nil {
				return fmt.Errorf("sample split %d: %w", split.Index, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var keys [][]byte
	for i := range samples {
		keys = append(keys, samples[i].keys...)
	}
	return cuts(keys, job.Reduces), nil
}

// cuts returns n-1 borders that part the keys evenly.
func cuts(keys [][]byte, n int) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	out := make([][]byte, n-1)
	for i := range out {
		out[i] = []byte{}
		if len(keys) > 0 {
			out[i] = keys[(i+1)*len(keys)/n]
		}
	}
	return out
}

// sample is an Emitter that keeps the first keys.
type sample struct {
	keys  [][]byte
	limit int
}

var errEnough = errors.New("enough samples")

func (s *sample) Emit(key, _ []byte) error {
	if len(s.keys) == s.limit {
		return errEnough
	}
	s.keys = append(s.keys, bytes.Clone(key))
	return nil
}

func (s *sample) EmitInt(key []byte, _ int64) error { return s.Emit(key, nil) }

// take runs the mapper until there are enough samples.
func (s *sample) take(ctx context.Context, job *spec.Job, split *spec.Split, mux *storage.Mux, m mapreduce.Mapper) error {
	fs, path, err := mux.Resolve(ctx, split.URL, job.User)
	if err != nil {
		return err
	}
	r, err := input.Open(ctx, job.InputFormat, fs, path, *split, job.Conf)
	if err != nil {
		return err
	}
	cx := &mapreduce.Context{
		Context: ctx, Job: job, Kind: spec.Map, Index: split.Index, Split: split, Reporter: &silent{},
	}
	err = s.run(cx, r, m)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return errors.Join(err, r.Close())
}

func (s *sample) run(cx *mapreduce.Context, r input.Reader, m mapreduce.Mapper) error {
	if setup, ok := m.(mapreduce.Setup); ok {
		if err := setup.Setup(cx); err != nil {
			return err
		}
	}
	for {
		k, v, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := m.Map(cx, k, v, s); err != nil {
			return err
		}
	}
}

// silent is the Reporter of a sample.
type silent struct{ counters spec.Counters }

func (*silent) Progress(float64)           {}
func (*silent) Status(string)              {}
func (s *silent) Counters() *spec.Counters { return &s.counters }
