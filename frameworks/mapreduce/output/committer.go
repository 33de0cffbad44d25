package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// Success is the empty file that marks a complete output.
const Success = "_SUCCESS"

const (
	temporary = "_temporary"
	owner     = "owner" // in temporary: holds the id of the job whose output this is
	moves     = 8       // renames at once
)

// ErrIncomplete marks the commit of a job of which a part is missing.
var ErrIncomplete = errors.New("output incomplete")

// Committer makes the output of a job visible. All its methods may be repeated. It is safe for concurrent use.
type Committer struct {
	fs        storage.FS
	url       string // as the user wrote it, for errors
	path      string
	job       string
	extension string
	none      bool
}

// NewCommitter commits job's output to the folder path of fs (both as resolved from Job.Output). job.ID must be set
// for all but CheckFresh. With output format none nothing is made and every method succeeds.
func NewCommitter(fs storage.FS, path string, job *spec.Job) *Committer {
	return &Committer{
		fs: fs, url: job.Output, path: path, job: job.ID,
		extension: Extension(job.OutputFormat, job.Conf), none: job.OutputFormat == None,
	}
}

// CheckFresh fails with fs.ErrExist if the output exists. The client calls it before it submits.
func (c *Committer) CheckFresh(ctx context.Context) error {
	if c.none {
		return nil
	}
	found, err := c.exists(ctx, c.path)
	if err != nil {
		return fmt.Errorf("output %s: %w", c.url, err)
	}
	if found {
		return c.taken()
	}
	return nil
}

func (c *Committer) taken() error {
	return fmt.Errorf("output %s: %w: remove it or name another folder", c.url, fs.ErrExist)
}

func (c *Committer) exists(ctx context.Context, p string) (bool, error) {
	_, err := c.fs.Stat(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Setup makes the folder that attempts write to. It fails with fs.ErrExist if the output exists and is not this
// job's own unfinished one, as it is for the second attempt of a coordinator. Of two jobs that set up one output at the
// same time one is refused.
func (c *Committer) Setup(ctx context.Context) error {
	if c.none {
		return nil
	}
	if err := validID(c.job); err != nil {
		return err
	}
	found, err := c.exists(ctx, c.path)
	if err != nil {
		return fmt.Errorf("output %s: %w", c.url, err)
	}
	if found {
		ours, err := c.owned(ctx)
		if err != nil {
			return err
		}
		if ours {
			return c.mkdir(ctx)
		}
		// An attempt that died before it made its claim has left its folder, and no owner.
		begun, err := c.exists(ctx, c.base())
		if err != nil {
			return fmt.Errorf("output %s: %w", c.url, err)
		}
		if !begun {
			return c.taken()
		}
	}
	if err := c.mkdir(ctx); err != nil {
		return err
	}
	// The claim is written aside and renamed, so that whoever finds it finds it whole.
	claim := path.Join(c.base(), owner)
	if err := c.writeFile(ctx, claim, c.job); err != nil {
		return fmt.Errorf("output %s: %w", c.url, err)
	}
	err = c.fs.Rename(ctx, claim, c.ownerFile())
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("output %s: %w", c.url, err)
	}
	if ours, oerr := c.owned(ctx); oerr != nil || ours {
		return oerr
	}
	return errors.Join(c.taken(), c.fs.Remove(ctx, c.base()))
}

func (c *Committer) mkdir(ctx context.Context) error {
	if err := c.fs.Mkdir(ctx, c.base(), 0o755); err != nil {
		return fmt.Errorf("output %s: %w", c.url, err)
	}
	return nil
}

// validID keeps a job id from naming anything but one folder.
func validID(id string) error {
	if id == "" || len(id) > 200 || strings.ContainsAny(id, "/\x00\r\n") || id == "." || id == ".." || id == owner {
		return fmt.Errorf("job id %q cannot name a folder", id)
	}
	return nil
}

func (c *Committer) base() string      { return path.Join(c.path, temporary, c.job) }
func (c *Committer) ownerFile() string { return path.Join(c.path, temporary, owner) }

func (c *Committer) writeFile(ctx context.Context, name, content string) error {
	w, err := c.fs.Create(ctx, name, storage.CreateOptions{Overwrite: true})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, content)
	return errors.Join(err, w.Close())
}

// owned tells whether the unfinished output is this job's.
func (c *Committer) owned(ctx context.Context) (bool, error) {
	f, err := c.fs.Open(ctx, c.ownerFile())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("output %s: %w", c.url, err)
	}
	id, err := io.ReadAll(io.LimitReader(f, 1024))
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("output %s: %w", c.url, err)
	}
	return string(id) == c.job, nil
}

// Finished reports whether the output bears _SUCCESS: a second coordinator that finds it has only to report.
func (c *Committer) Finished(ctx context.Context) (bool, error) {
	if c.none {
		return false, nil
	}
	return c.exists(ctx, path.Join(c.path, Success))
}

func letter(kind string) string {
	if kind == spec.Map {
		return "m"
	}
	return "r"
}

func (c *Committer) part(kind string, index int) string {
	return fmt.Sprintf("part-%s-%05d%s", letter(kind), index, c.extension)
}

func (c *Committer) attemptDir(kind string, index, attempt int) string {
	return path.Join(c.base(), fmt.Sprintf("attempt_%s_%05d_%d", letter(kind), index, attempt))
}

func (c *Committer) taskDir(kind string, index int) string {
	return path.Join(c.base(), fmt.Sprintf("task_%s_%05d", letter(kind), index))
}

// TaskPath is the file that an attempt of a task writes. kind is spec.Map (map-only jobs) or spec.Reduce.
func (c *Committer) TaskPath(kind string, index, attempt int) string {
	return path.Join(c.attemptDir(kind, index, attempt), c.part(kind, index))
}

// CommitTask keeps the attempt's file as the task's result, instead of an earlier attempt's. The caller holds the
// coordinator's grant.
func (c *Committer) CommitTask(ctx context.Context, kind string, index, attempt int) error {
	if c.none {
		return nil
	}
	from, to := c.attemptDir(kind, index, attempt), c.taskDir(kind, index)
	err := c.replace(ctx, from, to)
	if errors.Is(err, fs.ErrNotExist) {
		// Said twice: the folder has been moved, by the first time.
		if found, serr := c.exists(ctx, to); serr == nil && found {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("commit %s %d of %s: %w", kind, index, c.url, err)
	}
	return nil
}

// replace renames from to to, and removes an older to only if from is there to take its place.
func (c *Committer) replace(ctx context.Context, from, to string) error {
	err := c.fs.Rename(ctx, from, to)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := c.fs.Stat(ctx, from); err != nil {
		return err
	}
	if err := c.fs.Remove(ctx, to); err != nil {
		return err
	}
	return c.fs.Rename(ctx, from, to)
}

// Committed lists the tasks of a kind whose results are kept, for a second attempt of a coordinator.
func (c *Committer) Committed(ctx context.Context, kind string) ([]int, error) {
	if c.none {
		return nil, nil
	}
	kept, moved, err := c.results(ctx, kind)
	if err != nil {
		return nil, err
	}
	var out []int
	for i := range kept {
		out = append(out, i)
	}
	for i := range moved {
		if !kept[i] {
			out = append(out, i)
		}
	}
	return out, nil
}

// results finds the tasks whose folder is kept and those whose part a commit of the job has moved already.
func (c *Committer) results(ctx context.Context, kind string) (kept, moved map[int]bool, err error) {
	if kept, err = c.numbered(ctx, c.base(), "task_"+letter(kind)+"_", ""); err != nil {
		return nil, nil, err
	}
	if moved, err = c.numbered(ctx, c.path, "part-"+letter(kind)+"-", c.extension); err != nil {
		return nil, nil, err
	}
	return kept, moved, nil
}

func (c *Committer) numbered(ctx context.Context, dir, prefix, suffix string) (map[int]bool, error) {
	entries, err := c.fs.List(ctx, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("output %s: %w", c.url, err)
	}
	found := make(map[int]bool)
	for _, e := range entries {
		name, ok := strings.CutPrefix(path.Base(e.Path), prefix)
		if name, ok2 := strings.CutSuffix(name, suffix); ok && ok2 {
			if i, err := strconv.Atoi(name); err == nil && i >= 0 {
				found[i] = true
			}
		}
	}
	return found, nil
}

// AbortTask removes what an attempt wrote.
func (c *Committer) AbortTask(ctx context.Context, kind string, index, attempt int) error {
	if c.none {
		return nil
	}
	if err := c.fs.Remove(ctx, c.attemptDir(kind, index, attempt)); err != nil {
		return fmt.Errorf("abort %s %d of %s: %w", kind, index, c.url, err)
	}
	return nil
}

// CommitJob moves the parts of all tasks into the output folder and writes _SUCCESS. parts is how many there must be
// (the reduces, or the maps of a map-only job): if one is missing it fails with ErrIncomplete and moves nothing.
func (c *Committer) CommitJob(ctx context.Context, kind string, parts int) error {
	if c.none {
		return nil
	}
	done, err := c.Finished(ctx)
	if err != nil {
		return fmt.Errorf("commit %s: %w", c.url, err)
	}
	if !done {
		if err := c.moveParts(ctx, kind, parts); err != nil {
			return fmt.Errorf("commit %s: %w", c.url, err)
		}
		if err := c.writeFile(ctx, path.Join(c.path, Success), ""); err != nil {
			return fmt.Errorf("commit %s: %w", c.url, err)
		}
	}
	// The output stands from here on; that its scaffold could not be removed takes nothing from it.
	if err := c.fs.Remove(ctx, path.Join(c.path, temporary)); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
}

func (c *Committer) moveParts(ctx context.Context, kind string, parts int) error {
	ours, err := c.owned(ctx)
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("%w: the folder is not this job's any more (was it removed or replaced?)", ErrIncomplete)
	}
	kept, moved, err := c.results(ctx, kind)
	if err != nil {
		return err
	}
	for i := range parts {
		if !kept[i] && !moved[i] {
			return fmt.Errorf("%w: %s %d has no committed result", ErrIncomplete, kind, i)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(moves)
	for i := range parts {
		if !kept[i] {
			continue
		}
		g.Go(func() error {
			name := c.part(kind, i)
			err := c.replace(gctx, path.Join(c.taskDir(kind, i), name), path.Join(c.path, name))
			if errors.Is(err, fs.ErrNotExist) && moved[i] {
				return nil // moved by an earlier commit that did not get to its end
			}
			return err
		})
	}
	return g.Wait()
}

// AbortJob removes the unfinished output: the whole folder if Setup of this job made it. A finished output and one of
// another job stay.
func (c *Committer) AbortJob(ctx context.Context) error {
	if c.none {
		return nil
	}
	done, err := c.Finished(ctx)
	if err != nil || done {
		return err
	}
	ours, err := c.owned(ctx)
	if err != nil {
		return err
	}
	if !ours {
		return nil
	}
	if err := c.fs.Remove(ctx, c.path); err != nil {
		return fmt.Errorf("abort %s: %w", c.url, err)
	}
	return nil
}
