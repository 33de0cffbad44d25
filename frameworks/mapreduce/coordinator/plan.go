package coordinator

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"fairway/frameworks/mapreduce/builtin"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/output"
	"fairway/frameworks/mapreduce/spec"
)

// totalPartitioner is the partitioner that needs cuts.
const totalPartitioner = "total"

// plan finds the splits while the framework registers, so that places are asked for at once; the output and the cuts
// are made ready while tasks start. It runs beside the driver, until ctx ends or it is done.
func (s *shell) plan(ctx context.Context) {
	defer close(s.planned)
	if err := s.prepare(ctx); err != nil && ctx.Err() == nil {
		s.post(Broken{Message: err.Error()})
	}
}

func (s *shell) prepare(ctx context.Context) error {
	job := *s.o.Job // the planner's own: the shell's gets its id meanwhile
	splits, err := input.Splits(ctx, s.o.Mux, &job)
	if err != nil {
		return err
	}
	for i := range splits {
		splits[i].Index = i
	}
	p := Planned{Splits: splits}
	var cuts [][]byte
	if s.o.Attempt > 1 {
		done, err := s.recover(ctx, &p, &cuts)
		if done || err != nil {
			return err
		}
	}
	s.post(p)
	if job.Partitioner == totalPartitioner && job.Reduces > 1 && len(job.Cuts) == 0 && cuts == nil {
		if cuts, err = builtin.SampleCuts(ctx, &job, splits, s.o.Mux, s.o.Registry); err != nil {
			return fmt.Errorf("sample the input for a total order: %w", err)
		}
	}
	select {
	case <-s.registered:
	case <-ctx.Done():
		return ctx.Err()
	}
	if job.Output != "" {
		c, err := s.committer(ctx, s.job)
		if err != nil {
			return err
		}
		// Once begun it goes on when planning is stopped: half of it would be a folder that says not whose it is.
		if err := c.Setup(s.work); err != nil {
			return err
		}
	}
	return s.driver.Post(func() {
		if cuts != nil {
			s.job.Cuts = cuts
			s.journal.setCuts(cuts)
		}
		if err := s.encode(); err != nil {
			s.step(Broken{Message: "the job cannot be described: " + err.Error()})
			return
		}
		s.step(Ready{})
	})
}

// recover finds what an earlier attempt of the coordinator has left. done tells that the output is complete already.
func (s *shell) recover(ctx context.Context, p *Planned, cuts *[][]byte) (done bool, err error) {
	select {
	case <-s.registered: // the output bears the job's id
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if s.job.Output != "" {
		c, err := s.committer(ctx, s.job)
		if err != nil {
			return false, err
		}
		finished, err := c.Finished(ctx)
		if err != nil {
			return false, err
		}
		if finished {
			s.driver.Post(func() { s.step(AlreadyDone{}) })
			return true, nil
		}
		kind := spec.Reduce
		if s.job.Reduces == 0 {
			kind = spec.Map
		}
		if p.Committed, err = c.Committed(ctx, kind); err != nil {
			s.log.Info("no committed tasks of an earlier attempt", zap.Error(err))
			p.Committed = nil
		}
	}
	saved, err := s.journal.read(ctx)
	if err != nil {
		s.log.Warn("the journal of finished maps cannot be read; they run again", zap.Error(err))
		return false, nil
	}
	*cuts = saved.cuts
	p.Maps = s.journal.usable(ctx, saved, p.Splits)
	s.log.Info("recovered", zap.Int("maps", len(p.Maps)), zap.Int("committed", len(p.Committed)))
	return false, nil
}

// committer commits the job's output. With none, a job writes nothing.
func (s *shell) committer(ctx context.Context, job *spec.Job) (*output.Committer, error) {
	if job.Output == "" {
		none := *job
		none.OutputFormat = output.None
		return output.NewCommitter(nil, "", &none), nil
	}
	fs, path, err := s.open(ctx, job.Output)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("output %s", job.Output), err)
	}
	return output.NewCommitter(fs, path, job), nil
}
