package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/mapreduce/output"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/stream"
	"fairway/frameworks/storage"
)

// Check refuses a job that cannot run, with one line that says what to do. It asks in this order: do the stages exist,
// are the formats known, is the input there and readable, is the output new.
func (c *Client) Check(ctx context.Context, job *spec.Job) error {
	if err := c.checkStages(job); err != nil {
		return err
	}
	if err := stream.Check(job); err != nil {
		return err
	}
	if err := output.Check(job.OutputFormat, job.Conf); err != nil {
		return err
	}
	if job.Reduces < 0 || job.Maps < 0 || job.SplitSize < 0 {
		return errors.New("the numbers of reduces and maps and the split size cannot be negative")
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	if job.InputFormat != "none" {
		for _, url := range job.Inputs {
			g.Go(func() error { return c.checkInput(ctx, job, url) })
		}
	}
	if job.Output != "" && job.OutputFormat != output.None {
		g.Go(func() error {
			files, p, err := c.Mux.Resolve(ctx, job.Output, job.User)
			if err != nil {
				return fmt.Errorf("output %s: %w", job.Output, err)
			}
			return output.NewCommitter(files, p, job).CheckFresh(ctx)
		})
	}
	return g.Wait()
}

// checkInput looks whether there is something to read.
func (c *Client) checkInput(ctx context.Context, job *spec.Job, url string) error {
	files, p, err := c.Mux.Resolve(ctx, url, job.User)
	if err != nil {
		return fmt.Errorf("input %s: %w", url, err)
	}
	found, err := storage.Glob(ctx, files, p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("input %s: %w: check its path", url, fs.ErrNotExist)
	case err != nil:
		return fmt.Errorf("input %s: %w", url, err)
	case len(found) == 0:
		return fmt.Errorf("input %s: no file matches: %w", url, fs.ErrNotExist)
	}
	for _, i := range found {
		if i.IsDir {
			_, err = files.List(ctx, i.Path)
		} else if len(found) <= 8 { // opening asks for permission; of many files the maps find out
			var f storage.File
			if f, err = files.Open(ctx, i.Path); err == nil {
				err = f.Close()
			}
		}
		if err != nil {
			return fmt.Errorf("input %s cannot be read: %w", url, err)
		}
	}
	return nil
}

// checkStages finds the functions and programs.
func (c *Client) checkStages(job *spec.Job) error {
	if job.Mapper.None() {
		return errors.New("the job has no mapper")
	}
	if job.Reduces > 0 && job.Reducer.None() {
		return errors.New("the job has reduces and no reducer")
	}
	if c.Registry != nil {
		for _, s := range []struct {
			name string
			find func(string) error
		}{
			{job.Mapper.Function, func(n string) error { _, err := c.Registry.FindMapper(n); return err }},
			{job.Combiner.Function, func(n string) error { _, err := c.Registry.FindCombiner(n); return err }},
			{job.Reducer.Function, func(n string) error { _, err := c.Registry.FindReducer(n); return err }},
		} {
			if s.name != "" {
				if err := s.find(s.name); err != nil {
					return err
				}
			}
		}
		if job.Partitioner != "total" {
			if _, err := c.Registry.FindPartitioner(job.Partitioner); err != nil {
				return err
			}
		}
	}
	for _, s := range []struct {
		what string
		argv []string
	}{{"mapper", job.Mapper.Program}, {"combiner", job.Combiner.Program}, {"reducer", job.Reducer.Program}} {
		if len(s.argv) == 0 {
			continue
		}
		if err := checkProgram(job, s.argv[0]); err != nil {
			return fmt.Errorf("%s %s: %w", s.what, s.argv[0], err)
		}
	}
	return nil
}

// checkProgram looks for a program where its tasks will: among the shipped files, then on the machine. A shipped one is
// made executable.
func checkProgram(job *spec.Job, name string) error {
	target := path.Clean(name)
	for i := range job.Files {
		f := &job.Files[i]
		if path.Clean(f.Target) != target || f.Extract {
			continue
		}
		f.Executable = true
		local, ok := strings.CutPrefix(f.URL, "file://")
		if !ok {
			return nil // elsewhere, or made by us
		}
		return isProgram(local, name)
	}
	if slices.ContainsFunc(job.Files, func(f spec.File) bool { return f.Extract && strings.HasPrefix(target, path.Clean(f.Target)+"/") }) {
		return nil // in an archive
	}
	switch {
	case path.IsAbs(name): // the agents may have what this machine lacks
		if info, err := os.Stat(name); err == nil && (info.IsDir() || info.Mode()&0o111 == 0) {
			return errors.New("is no program: it is not executable")
		}
		return nil
	case strings.Contains(name, "/"):
		return errors.New("no such program: ship it with -file, or give an absolute path that the agents have")
	}
	if _, err := exec.LookPath(name); err != nil {
		return errors.New("no such program among the shipped files nor in PATH: ship it with -file, or give its absolute path on the agents")
	}
	return nil
}

// isProgram tells whether the system can start a file: a binary, or a script that names its interpreter.
func isProgram(file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 4)
	n, _ := f.Read(head)
	head = head[:n]
	if bytes.HasPrefix(head, []byte("#!")) || bytes.Equal(head, []byte("\x7fELF")) {
		return nil
	}
	return fmt.Errorf("is no program: it is no binary and its first line is not #!INTERPRETER; start it by its interpreter, as in 'python3 %s'", name)
}
