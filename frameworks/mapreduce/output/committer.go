package output

import (
	"context"
	"errors"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// Committer makes the output of a job visible. All its methods may be repeated. It is safe for concurrent use.
type Committer struct {
	fs   storage.FS
	path string
	job  *spec.Job
}

// NewCommitter commits job's output to the folder path of fs (both as resolved from Job.Output). job.ID must be set
// for all but CheckFresh. With output format none nothing is made and every method succeeds.
func NewCommitter(fs storage.FS, path string, job *spec.Job) *Committer {
	return &Committer{fs: fs, path: path, job: job}
}

// CheckFresh fails with fs.ErrExist if the output exists. The client calls it before it submits.
func (c *Committer) CheckFresh(ctx context.Context) error { return errors.ErrUnsupported }

// Setup makes the folder that attempts write to. It fails with fs.ErrExist if the output exists and is not this
// job's own unfinished one, as it is for the second attempt of a coordinator.
func (c *Committer) Setup(ctx context.Context) error { return errors.ErrUnsupported }

// Finished reports whether the output bears _SUCCESS: a second coordinator that finds it has only to report.
func (c *Committer) Finished(ctx context.Context) (bool, error) { return false, errors.ErrUnsupported }

// TaskPath is the file that an attempt of a task writes. kind is spec.Map (map-only jobs) or spec.Reduce.
func (c *Committer) TaskPath(kind string, index, attempt int) string { return "" }

// CommitTask keeps the attempt's file as the task's result, instead of an earlier attempt's. The caller holds the
// coordinator's grant.
func (c *Committer) CommitTask(ctx context.Context, kind string, index, attempt int) error {
	return errors.ErrUnsupported
}

// Committed lists the tasks of a kind whose results are kept, for a second attempt of a coordinator.
func (c *Committer) Committed(ctx context.Context, kind string) ([]int, error) {
	return nil, errors.ErrUnsupported
}

// AbortTask removes what an attempt wrote.
func (c *Committer) AbortTask(ctx context.Context, kind string, index, attempt int) error {
	return errors.ErrUnsupported
}

// CommitJob moves the parts of all tasks into the output folder and writes _SUCCESS. parts is how many there must be
// (the reduces, or the maps of a map-only job): if one is missing it fails and moves nothing.
func (c *Committer) CommitJob(ctx context.Context, kind string, parts int) error {
	return errors.ErrUnsupported
}

// AbortJob removes the unfinished output: the whole folder if Setup of this job made it.
func (c *Committer) AbortJob(ctx context.Context) error { return errors.ErrUnsupported }
