package submit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path"
	"strings"

	"fairway/frameworks/mapreduce/coordinator"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// inlineLimit is how many bytes of files travel inside of each task's description; more are staged.
const inlineLimit = 64 << 10

// programTarget is the name of the user's own binary in the sandbox.
const programTarget = "fairway-job"

// stage puts the job's files where the cluster finds them, and fills in the job's folder, its qualified URLs and what
// its coordinator needs to know. made tells that the folder was made, also with an error.
func (c *Client) stage(ctx context.Context, job *spec.Job) (d *coordinator.Description, made bool, err error) {
	if err := c.qualify(job); err != nil {
		return nil, false, err
	}
	s := &stager{c: c, job: job}
	if err := s.choose(); err != nil {
		return nil, false, err
	}
	d, err = s.stage(ctx)
	return d, s.made, err
}

func (s *stager) stage(ctx context.Context) (*coordinator.Description, error) {
	c, job := s.c, s.job
	d := &coordinator.Description{Job: job}
	job.Staging = s.url
	var local int64
	for _, f := range job.Files {
		if p, ok := strings.CutPrefix(f.URL, "file://"); ok {
			i, err := os.Stat(p)
			if err != nil {
				return nil, err
			}
			local += i.Size()
		}
	}
	for i := range job.Files {
		f := &job.Files[i]
		p, ok := strings.CutPrefix(f.URL, "file://")
		if !ok {
			continue
		}
		if local <= inlineLimit && !f.Extract {
			b, err := os.ReadFile(p)
			if err != nil {
				return nil, err
			}
			f.URL, f.Content = "", b
			continue
		}
		up, err := s.upload(ctx, p, f.Target)
		if err != nil {
			return nil, err
		}
		f.URL, f.SHA256 = up.URL, up.SHA256
	}
	if c.Binary != "" {
		up, err := s.upload(ctx, c.Binary, programTarget)
		if err != nil {
			return nil, err
		}
		up.Target, up.Executable = programTarget, true
		d.Binary, d.Argv = &up, []string{programTarget, TaskMode}
	}
	return d, nil
}

// qualify names the file system in every URL of the job, as the default of this machine is not that of others.
func (c *Client) qualify(job *spec.Job) error {
	full := func(url *string) error {
		if *url == "" {
			return nil
		}
		l, err := c.Mux.Locate(*url)
		*url = l.String()
		return err
	}
	for i := range job.Inputs {
		if err := full(&job.Inputs[i]); err != nil {
			return fmt.Errorf("input: %w", err)
		}
	}
	if err := full(&job.Output); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// stager uploads into one job's folder, which it makes when there is something to put there.
type stager struct {
	c    *Client
	job  *spec.Job
	root string // URL of the user's folder of jobs
	url  string // of the job's folder
	perm fs.FileMode
	made bool
}

// choose names the job's folder: beside the output, with a name that nobody guesses.
func (s *stager) choose() error {
	s.perm = 0o700
	s.root = s.c.Staging
	if s.root == "" {
		base := s.job.Output
		if base == "" {
			base = "/"
		}
		l, err := s.c.Mux.Locate(base)
		if err != nil {
			return err
		}
		name := s.job.User
		if name == "" {
			name = account()
		}
		// Each account has a folder of its own right in /tmp: in a shared one somebody had to be trusted with it.
		l.Path = "/tmp/fairway-staging-" + sanitize(name)
		s.root = l.String()
		if l.Scheme == "file" && s.job.User != "" && s.job.User != account() {
			s.perm = 0o755 // an operator's files for another account, which is to read them
		}
	}
	b := make([]byte, 12)
	rand.Read(b)
	s.url = strings.TrimSuffix(s.root, "/") + "/" + hex.EncodeToString(b)
	return nil
}

// make makes the job's folder, in one that belongs to the account.
func (s *stager) make(ctx context.Context) error {
	if s.made {
		return nil
	}
	files, p, err := s.c.Mux.Resolve(ctx, s.root, s.job.User)
	if err != nil {
		return fmt.Errorf("staging folder: %w", err)
	}
	if err := files.Mkdir(ctx, p, s.perm); err != nil {
		return fmt.Errorf("staging folder: %w", err)
	}
	if i, err := files.Stat(ctx, p); err == nil && i.Owner != "" && i.Owner != account() && i.Owner != s.job.User && s.c.Staging == "" {
		return fmt.Errorf("staging folder %s belongs to %s: have it removed", s.root, i.Owner)
	}
	files, p, err = s.c.Mux.Resolve(ctx, s.url, s.job.User)
	if err != nil {
		return err
	}
	if err := files.Mkdir(ctx, p, s.perm); err != nil {
		return fmt.Errorf("staging folder: %w", err)
	}
	s.made = true
	return nil
}

// upload copies a local file into the job's folder.
func (s *stager) upload(ctx context.Context, local, target string) (f spec.File, err error) {
	if err := s.make(ctx); err != nil {
		return f, err
	}
	in, err := os.Open(local)
	if err != nil {
		return f, err
	}
	defer in.Close()
	f.URL, f.Target = s.url+"/"+strings.ReplaceAll(target, "/", "_"), target
	files, p, err := s.c.Mux.Resolve(ctx, f.URL, s.job.User)
	if err != nil {
		return f, err
	}
	perm := s.perm &^ 0o111
	out, err := files.Create(ctx, p, storage.CreateOptions{Perm: perm})
	if err != nil {
		return f, fmt.Errorf("ship %s: %w", local, err)
	}
	sum := sha256.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(out, sum)}, in, make([]byte, 1<<20))
	if err = errors.Join(err, out.Close()); err != nil {
		return f, fmt.Errorf("ship %s: %w", local, err)
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return f, nil
}

// clean removes the job's folder after a submission that failed.
func (c *Client) clean(ctx context.Context, job *spec.Job) {
	if job.Staging == "" {
		return
	}
	if files, p, err := c.Mux.Resolve(ctx, job.Staging, job.User); err == nil && path.Dir(p) != "/" {
		files.Remove(ctx, p)
	}
}

// account is the OS account of this process.
func account() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Geteuid())
}

// sanitize makes a name fit for a folder.
func sanitize(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, s)
}
