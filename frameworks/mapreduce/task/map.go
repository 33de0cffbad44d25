package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"go.uber.org/zap"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/run"
	"fairway/frameworks/mapreduce/sorter"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// RunMap runs one map attempt to its end. Of a job without reduces the attempt's output is then committed, of others
// it lies in the job's folder. Errors about a record are *RecordError.
func RunMap(ctx context.Context, a MapArgs) (MapResult, error) {
	if a.Reporter == nil {
		a.Reporter = &noReporter{}
	}
	if a.Log == nil {
		a.Log = zap.NewNop()
	}
	if a.Commit == nil {
		a.Commit = func(context.Context) error { return nil }
	}
	before := measure()
	m := &mapTask{MapArgs: a, cx: &mapreduce.Context{
		Context: ctx, Job: a.Job, Kind: spec.Map, Index: a.Split.Index, Attempt: a.Attempt, Split: &a.Split,
		Sandbox: a.Sandbox, Reporter: a.Reporter,
	}}
	res, err := m.run(ctx)
	before.report(a.Reporter)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // whatever else failed did so because of it
		}
		return MapResult{}, fmt.Errorf("map %d: %w", a.Split.Index, err)
	}
	a.Reporter.Progress(1)
	return res, nil
}

type mapTask struct {
	MapArgs
	cx     *mapreduce.Context
	reader input.Reader
}

func (m *mapTask) run(ctx context.Context) (MapResult, error) {
	var fs storage.FS
	var path string
	if m.Split.URL != "" {
		var err error
		if fs, path, err = openFS(ctx, m.Mux, m.Split.URL, m.Job.User, m.Reporter); err != nil {
			return MapResult{}, err
		}
	}
	var err error
	m.reader, err = input.Open(ctx, m.Job.InputFormat, fs, path, m.Split, m.Job.Conf)
	if err != nil {
		return MapResult{}, err
	}
	var res MapResult
	if m.Job.Reduces == 0 {
		err = m.direct(ctx)
	} else {
		res, err = m.sorted()
	}
	return res, errors.Join(err, m.reader.Close())
}

// sorted runs the mapper into a collector.
func (m *mapTask) sorted() (MapResult, error) {
	o := sorter.Options{
		Partitions: m.Job.Reduces, Memory: sortBudget(m.Job, m.Memory), Dir: m.Sandbox, Counts: sorterCounts(m.Reporter),
	}
	var err error
	if o.Codec, err = run.ParseCodec(m.Job.Compress); err != nil {
		return MapResult{}, err
	}
	if o.InPlace, o.Combine, err = combiner(m.cx, m.Registry, m.Programs); err != nil {
		return MapResult{}, err
	}
	if m.Job.Partitioner == "total" {
		if len(m.Job.Cuts) != m.Job.Reduces-1 {
			return MapResult{}, fmt.Errorf("total order over %d reduces needs %d cuts, the job has %d", m.Job.Reduces,
				m.Job.Reduces-1, len(m.Job.Cuts))
		}
		if o.Cuts = m.Job.Cuts; o.Cuts == nil {
			o.Cuts = [][]byte{}
		}
	} else if o.Partition, err = m.Registry.FindPartitioner(m.Job.Partitioner); err != nil {
		return MapResult{}, err
	}
	c, err := sorter.New(o)
	if err != nil {
		return MapResult{}, err
	}
	name := fmt.Sprintf("map-%05d-%d.run", m.Split.Index, m.Attempt)
	var ix run.Index
	if err = m.mapAll(c); err == nil {
		m.Reporter.Progress(0.95)
		err = safely(func() (err error) {
			ix, err = c.Finish(filepath.Join(m.Dir, name))
			return err
		})
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return MapResult{}, err
	}
	res := MapResult{File: name, Partitions: make([]spec.MapOutput, len(ix))}
	var total int64
	for i, r := range ix {
		res.Partitions[i] = spec.MapOutput{
			Map: m.Split.Index, Attempt: m.Attempt, File: name, Offset: r.Offset, Length: r.Length, Records: r.Records,
		}
		total += r.Length
	}
	taskCounter(m.Reporter, "MAP_OUTPUT_MATERIALIZED_BYTES").Add(total)
	return res, nil
}

// direct runs the mapper of a map-only job into the job's output.
func (m *mapTask) direct(ctx context.Context) error {
	records := taskCounter(m.Reporter, "MAP_OUTPUT_RECORDS")
	return writeOutput(ctx, outputArgs{
		job: m.Job, kind: spec.Map, index: m.Split.Index, attempt: m.Attempt, mux: m.Mux, reporter: m.Reporter,
		commit: m.Commit, records: records,
	}, func(out mapreduce.Emitter) error { return m.mapAll(out) })
}

// mapAll runs the mapper over all of the split.
func (m *mapTask) mapAll(out mapreduce.Emitter) (err error) {
	stage := m.Job.Mapper
	if len(stage.Program) > 0 {
		if m.Programs == nil {
			return ErrNoPrograms
		}
		in := &countedReader{Reader: m.reader, records: taskCounter(m.Reporter, "MAP_INPUT_RECORDS")}
		if c, ok := m.reader.(input.ChunkReader); ok && m.lines() {
			return m.Programs.Map(m.cx, stage, &countedChunks{countedReader: in, chunks: c, tera: m.tera()}, out)
		}
		return m.Programs.Map(m.cx, stage, in, out)
	}
	var mapper mapreduce.Mapper = mapreduce.Identity{}
	if stage.Function != "" {
		f, err := m.Registry.FindMapper(stage.Function)
		if err != nil {
			return err
		}
		mapper = f()
	}
	defer closeAfter(mapper, &err)
	if s, ok := mapper.(mapreduce.Setup); ok {
		if err := safely(func() error { return s.Setup(m.cx) }); err != nil {
			return err
		}
	}
	chunks, byChunk := m.reader.(input.ChunkReader)
	chunkMapper, ok := mapper.(mapreduce.ChunkMapper)
	if byChunk && ok && m.text() {
		err = m.mapChunks(chunkMapper, chunks, out)
	} else {
		err = m.mapRecords(mapper, out)
	}
	if err != nil {
		return err
	}
	if c, ok := mapper.(mapreduce.Cleanup); ok {
		return safely(func() error { return c.Cleanup(m.cx, out) })
	}
	return nil
}

func (m *mapTask) text() bool  { return m.Job.InputFormat == "" || m.Job.InputFormat == input.Text }
func (m *mapTask) tera() bool  { return m.Job.InputFormat == input.Tera }
func (m *mapTask) lines() bool { return m.text() || m.tera() }

func (m *mapTask) mapChunks(mapper mapreduce.ChunkMapper, in input.ChunkReader, out mapreduce.Emitter) error {
	records := taskCounter(m.Reporter, "MAP_INPUT_RECORDS")
	for {
		if err := m.cx.Err(); err != nil {
			return err
		}
		lines, offset, err := in.NextChunk()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		records.Add(countLines(lines))
		if err := safely(func() error { return mapper.MapChunk(m.cx, lines, out) }); err != nil {
			return m.blame(offset, err)
		}
		m.progress()
	}
}

func (m *mapTask) mapRecords(mapper mapreduce.Mapper, out mapreduce.Emitter) error {
	var n int64
	records := taskCounter(m.Reporter, "MAP_INPUT_RECORDS")
	defer func() { records.Add(n) }()
	err := safely(func() error {
		for {
			if n == 4096 {
				if err := m.cx.Err(); err != nil {
					return err
				}
				records.Add(n)
				n = 0
				m.progress()
			}
			k, v, err := m.reader.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return readError{err}
			}
			n++
			if err := mapper.Map(m.cx, k, v, out); err != nil {
				return err
			}
		}
	})
	var reading readError
	if errors.As(err, &reading) {
		return reading.error
	}
	if err == nil {
		return nil
	}
	var offset int64
	if p, ok := m.reader.(input.Positioned); ok {
		offset = p.Offset()
	}
	return m.blame(offset, err)
}

// readError keeps failures of the reader, which names file and offset itself, apart from the mapper's.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// blame names the record that the mapper failed on, unless it was not the record's fault.
func (m *mapTask) blame(offset int64, err error) error {
	var disk *sorter.DiskError
	if errors.As(err, &disk) || m.cx.Err() != nil {
		return err
	}
	return &RecordError{URL: m.Split.URL, Offset: offset, Err: err}
}

// progress reports how much of the split has been read; sorting takes the last twentieth.
func (m *mapTask) progress() {
	if m.Split.Length > 0 {
		m.Reporter.Progress(0.95 * min(1, float64(m.reader.Pos())/float64(m.Split.Length)))
	}
}

// countLines counts lines, of which the last may have no end.
func countLines(p []byte) int64 {
	n := int64(bytes.Count(p, []byte{'\n'}))
	if len(p) > 0 && p[len(p)-1] != '\n' {
		n++
	}
	return n
}
