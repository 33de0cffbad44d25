package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/umbilical"
	"fairway/frameworks/sdk"
	"fairway/frameworks/storage"
)

// TaskMode is the first argument of a task's process.
const TaskMode = "mapreduce-task"

// shell does what the machine decides. Its methods run on the driver's goroutine, but for those that say otherwise.
type shell struct {
	o       Options
	job     *spec.Job // a copy that the shell completes: id, secret, cuts
	log     *zap.Logger
	machine *Machine
	driver  *sdk.Driver
	server  *umbilical.Server
	address string // of the umbilical
	began   time.Time

	group        *errgroup.Group // slow work beside the driver
	work         context.Context // ends with Run
	registered   chan struct{}   // closed by the first registration, which sets the job's id and the secret
	planned      chan struct{}   // closed when planning is done or was stopped
	stopPlanning context.CancelFunc
	secret       []byte
	encoded      []byte // the job for assignments
	journal      *journal
	files        fileSet

	wake         func() // cancels the machine's timer
	wakeAt       int64
	lastProgress time.Time
	progressDue  bool
	result       Result
}

// Run runs a job to its end. The error is nil only if it succeeded; the result says more, also with an error.
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Job == nil || o.Dial == nil || o.Mux == nil {
		return Result{}, errors.New("coordinator: no job, no broker or no storage")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	job := *o.Job
	s := &shell{o: o, job: &job, log: o.Logger, began: time.Now(), registered: make(chan struct{})}
	s.machine = NewMachine(&job, o.Attempt, o.Tuning)
	s.server = umbilical.NewServer(s, o.Logger)
	listener, address, err := listen(o.Host)
	if err != nil {
		return Result{}, fmt.Errorf("listen for tasks: %w", err)
	}
	s.address = address
	if s.files, err = filesOf(s.job, o.Command); err != nil {
		listener.Close()
		return Result{}, err
	}
	s.driver = sdk.New(sdk.Config{Dial: o.Dial, Scheduler: s, Logger: o.Logger, Register: &v1.RegisterFramework{
		Name: job.Name, Role: job.Role, User: job.User, JobId: job.ID, Attempt: uint32(o.Attempt), Kind: "mapreduce"}})

	// What serves the job lives until the driver has said the last word; killing by ctx is the machine's to do.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, work := errgroup.WithContext(work)
	s.group, s.work = group, work
	s.journal = newJournal(s)
	group.Go(func() error {
		if err := s.server.Serve(work, listener); err != nil {
			s.post(Broken{Message: "serve tasks: " + err.Error()})
		}
		return nil
	})
	planning, stopPlanning := context.WithCancel(work)
	defer stopPlanning()
	s.planned, s.stopPlanning = make(chan struct{}), stopPlanning
	group.Go(func() error { s.plan(planning); return nil })
	group.Go(func() error { return s.journal.run(work) })
	life := ctx
	if o.KillOnCancel {
		life = work
		defer context.AfterFunc(ctx, func() {
			s.driver.Post(func() { s.step(KillAsked{Reason: "stopped by the user"}) })
		})()
	}
	err = s.driver.Run(life)
	stop()
	if e := group.Wait(); err == nil && e != nil && !errors.Is(e, context.Canceled) {
		err = e
	}
	s.result.JobID = s.job.ID
	switch {
	case err != nil:
		return s.result, err
	case s.result.Phase == v1.JobPhase_JOB_PHASE_SUCCEEDED:
		return s.result, nil
	case s.result.Phase == v1.JobPhase_JOB_PHASE_KILLED:
		return s.result, fmt.Errorf("%w: %s", ErrKilled, s.result.Message)
	}
	return s.result, fmt.Errorf("%w: %s", ErrFailed, s.result.Message)
}

// listen opens a free port at host, or on all addresses if host is not one of this machine's own.
func listen(host string) (net.Listener, string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err == nil {
		return l, l.Addr().String(), nil
	}
	l, e := net.Listen("tcp", ":0")
	if e != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return l, net.JoinHostPort(host, port), nil
}

// step feeds the machine and does what it decides.
func (s *shell) step(e Event) {
	now := int64(time.Since(s.began))
	s.machine.Step(now, e)
	for _, a := range s.machine.Take() {
		s.do(a)
	}
	if at := s.machine.WakeAt(); at != s.wakeAt {
		if s.wake != nil {
			s.wake()
			s.wake = nil
		}
		if s.wakeAt = at; at != 0 {
			s.wake = s.driver.After(time.Duration(at-now), func() {
				s.wake, s.wakeAt = nil, 0
				s.step(Tick{})
			})
		}
	}
	s.progress()
}

// progressEvery is the shortest time between two accounts of the job.
const progressEvery = 200 * time.Millisecond

// progress tells the broker how the job fares; making the account costs a look at every task, so not at every event.
func (s *shell) progress() {
	if s.progressDue || s.machine.Ended() {
		return
	}
	show := func() {
		s.progressDue = false
		if s.machine.Ended() {
			return
		}
		s.lastProgress = time.Now()
		p := s.machine.Progress()
		p.Counters = s.machine.Counters()
		s.driver.Progress(p)
	}
	if wait := progressEvery - time.Since(s.lastProgress); wait > 0 {
		s.progressDue = true
		s.driver.After(wait, show)
		return
	}
	show()
}

// post has an event stepped on the driver's goroutine; for other goroutines.
func (s *shell) post(e Event) {
	if err := s.driver.Post(func() { s.step(e) }); err != nil {
		s.log.Debug("event after the end", zap.Error(err))
	}
}

// do does one action.
func (s *shell) do(a Action) {
	switch a := a.(type) {
	case Launch:
		tasks := make([]*v1.TaskSpec, len(a.Attempts))
		for i, l := range a.Attempts {
			tasks[i] = s.taskSpec(l)
		}
		s.driver.Accept(a.Offer, -1, tasks...)
	case Decline:
		filter := time.Duration(-1)
		if a.Filter {
			filter = 0
		}
		s.driver.Decline(filter, a.Offer)
	case Request:
		s.driver.Request(a.Group)
	case Kill:
		s.driver.Kill(a.Sequence, 0, a.Reason)
	case Journal:
		s.journal.add(a.Map)
	case AbortTask:
		job := *s.job // as it is now: the work is done beside the driver
		s.io("abort a task's output", func(ctx context.Context) error {
			c, err := s.committer(ctx, &job)
			if err != nil {
				return err
			}
			return c.AbortTask(ctx, a.Kind, a.Index, a.Attempt)
		}, nil)
	case CommitJob:
		job := *s.job
		s.io("commit the output", func(ctx context.Context) error {
			c, err := s.committer(ctx, &job)
			if err != nil {
				return err
			}
			return c.CommitJob(ctx, a.Kind, a.Parts)
		}, func(err error) Event { return JobCommitted{Err: err} })
	case AbortJob:
		job := *s.job
		s.io("remove the unfinished output", func(ctx context.Context) error {
			// Tasks start while the output is set up, so a job may fail before it is: there must be all of it to remove.
			s.stopPlanning()
			select {
			case <-s.planned:
			case <-ctx.Done():
				return ctx.Err()
			}
			if job.ID == "" {
				return nil // nothing was set up
			}
			c, err := s.committer(ctx, &job)
			if err != nil {
				return err
			}
			return c.AbortJob(ctx)
		}, func(err error) Event { return JobAborted{Err: err} })
	case End:
		s.end(a)
	default:
		s.tell(a)
	}
}

// ioLimit bounds one step of slow work: storage that hangs must not hang the job.
const ioLimit = 10 * time.Minute

// io does slow work beside the driver, and posts the event made of its result.
func (s *shell) io(what string, f func(context.Context) error, then func(error) Event) {
	s.group.Go(func() error {
		ctx, cancel := context.WithTimeout(s.work, ioLimit)
		defer cancel()
		err := f(ctx)
		if err != nil {
			s.log.Warn(what, zap.Error(err))
		}
		if then != nil {
			s.post(then(err))
		}
		return nil
	})
}

// stagingLimit bounds the clean-up after a job.
const stagingLimit = 5 * time.Second

// end says the last word and removes the job's folder.
func (s *shell) end(e End) {
	s.result.Phase, s.result.Message, s.result.Counters = e.Phase, e.Message, s.machine.Counters()
	s.log.Info("job ended", zap.String("job", s.job.ID), zap.Stringer("phase", e.Phase), zap.String("message", e.Message))
	s.driver.Progress(s.machine.Progress())
	s.driver.Unregister(&v1.Unregister{Phase: e.Phase, Message: e.Message, Counters: s.result.Counters})
	if s.job.Staging == "" {
		return
	}
	s.group.Go(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.work), stagingLimit)
		defer cancel()
		fs, path, err := s.o.Mux.Resolve(ctx, s.job.Staging, s.job.User)
		if err == nil {
			err = fs.Remove(ctx, path)
		}
		if err != nil {
			s.log.Warn("remove the job's folder", zap.String("url", s.job.Staging), zap.Error(err))
		}
		return nil
	})
}

// taskSpec is the container of an attempt.
func (s *shell) taskSpec(l Launched) *v1.TaskSpec {
	c := &v1.Command{Argv: []string{"{fairway}", TaskMode}, Env: map[string]string{umbilical.AddressEnv: s.address},
		Uris: s.files.uris, Files: s.files.inline}
	if o := s.o.Command; o != nil {
		if len(o.Argv) > 0 {
			c.Argv = o.Argv
		}
		for k, v := range o.Env {
			c.Env[k] = v
		}
		c.User = o.User
	}
	return &v1.TaskSpec{
		Task:      &v1.TaskID{Framework: s.driver.FrameworkID(), Sequence: l.Sequence},
		Name:      fmt.Sprintf("%s %d attempt %d", l.Kind, l.Index, l.Attempt),
		Resources: l.Shape, Command: c, KillGraceNanos: int64(2 * time.Second),
	}
}

// fileSet is what the agent puts into each task's sandbox.
type fileSet struct {
	uris   []*v1.URI
	inline []*v1.InlineFile
}

func filesOf(job *spec.Job, c *v1.Command) (fileSet, error) {
	f := fileSet{uris: c.GetUris(), inline: c.GetFiles()}
	for _, x := range job.Files {
		if !filepath.IsLocal(x.Target) || filepath.Clean(x.Target) == "." {
			return f, fmt.Errorf("file %s: its name in the sandbox, %q, is not inside it", x.URL, x.Target)
		}
		if x.URL != "" {
			f.uris = append(f.uris, &v1.URI{Value: x.URL, Target: x.Target, Extract: x.Extract, Executable: x.Executable, Sha256: x.SHA256, Cache: true})
			continue
		}
		mode := uint32(0o600)
		if x.Executable {
			mode = 0o700
		}
		f.inline = append(f.inline, &v1.InlineFile{Target: x.Target, Content: x.Content, Mode: mode})
	}
	return f, nil
}

// encode makes the job's description for assignments, once it is complete.
func (s *shell) encode() error {
	slim := *s.job
	slim.Files = nil // the agent has put them into the sandbox
	b, err := json.Marshal(&slim)
	s.encoded = b
	return err
}

// open returns the file system and path of a URL for the job's user.
func (s *shell) open(ctx context.Context, url string) (storage.FS, string, error) {
	return s.o.Mux.Resolve(ctx, url, s.job.User)
}
