package submit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/coordinator"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/sdk"
	"fairway/frameworks/storage"
)

// Modes: the first argument of a process of the engine.
const (
	CoordinatorMode = "mapreduce-coordinator"
	TaskMode        = coordinator.TaskMode
)

// Kind of the jobs that this package submits.
const Kind = "mapreduce"

// Broker is what a client needs of a connection to a broker; *client.Client of broker/api is one.
type Broker interface {
	api.Broker
	Close() error
}

// Submission says how to run a job.
type Submission struct {
	Detach           bool // return once the broker has the job
	LocalCoordinator bool // run the coordinator in this process
	MaxAttempts      int  // of the coordinator; 0: 2
	// Progress is called with each change of the job, by one goroutine; may be nil.
	Progress func(*v1.Job)
	Labels   map[string]string
}

// Client submits jobs to one broker.
type Client struct {
	Broker   Broker
	Caller   api.Caller // of an in-process broker; a remote one knows its own
	Mux      *storage.Mux
	Registry *mapreduce.Registry
	// Binary is this program's file if jobs need its functions: it is shipped to the cluster and runs as coordinator
	// and task. "": the agents' own fairway.
	Binary string
	// Staging is the URL under which job folders are made; "": /tmp/fairway-staging-<user> beside the output.
	Staging string
	Tuning  coordinator.Tuning // of a local coordinator
	Logger  *zap.Logger
}

// Times of a client that was told to stop, and of one that has lost its broker.
const (
	stopWait   = 20 * time.Second
	brokerWait = 10 * time.Minute
)

// Resources of a coordinator on the cluster.
const (
	coordinatorCPU    = 100 // milli-cpu
	coordinatorMemory = 256 << 20
)

// ErrFailed and ErrKilled are wrapped by Run's error when the job ran and did not succeed; any other error means that
// it did not run, or that its end is not known.
var (
	ErrFailed = coordinator.ErrFailed
	ErrKilled = coordinator.ErrKilled
)

// Run checks, stages and submits a job, and waits for its end unless it is detached. When ctx ends first the job is
// asked to stop and its end is awaited for 20 s. The job is returned also with an error that says that it failed.
func (c *Client) Run(ctx context.Context, job *spec.Job, s Submission) (*v1.Job, error) {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if err := c.Check(ctx, job); err != nil {
		return nil, err
	}
	d, staged, err := c.stage(ctx, job)
	if err != nil {
		if staged {
			c.clean(context.WithoutCancel(ctx), job)
		}
		return nil, err
	}
	if s.LocalCoordinator {
		return c.runHere(ctx, d, s)
	}
	j, err := c.submit(ctx, d, s)
	if err != nil {
		c.clean(context.WithoutCancel(ctx), job)
		return nil, err
	}
	if s.Progress != nil {
		s.Progress(j)
	}
	if s.Detach {
		return j, nil
	}
	j, err = c.wait(ctx, j, s.Progress)
	if ended(j) && (staged || err != nil) { // the coordinator cleans up too, if it lives to do so
		c.clean(context.WithoutCancel(ctx), job)
	}
	return j, err
}

// submit hands the job to the broker.
func (c *Client) submit(ctx context.Context, d *coordinator.Description, s Submission) (*v1.Job, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	t := &v1.TaskSpec{Name: "coordinator of " + d.Job.Name,
		Resources: &v1.Resources{CpuMilli: coordinatorCPU, MemoryBytes: coordinatorMemory},
		Command: &v1.Command{Argv: []string{"{fairway}", CoordinatorMode, coordinator.JobFile},
			Files: []*v1.InlineFile{{Target: coordinator.JobFile, Content: b, Mode: 0o600}}}}
	if f := d.Binary; f != nil {
		t.Command.Argv[0] = programTarget
		t.Command.Uris = d.Command().Uris
	}
	id := make([]byte, 16)
	rand.Read(id)
	r := &v1.SubmitJobRequest{Name: d.Job.Name, Kind: Kind, Role: d.Job.Role, User: d.Job.User, Coordinator: t,
		MaxAttempts: uint32(s.MaxAttempts), RequestId: hex.EncodeToString(id), Labels: s.Labels}
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		j, err := c.Broker.SubmitJob(ctx, c.Caller, r) // the request's id makes a repetition harmless
		if err == nil || !errors.Is(err, api.ErrUnavailable) || pause > 3*time.Second {
			return j, err
		}
		if e := sleep(ctx, pause); e != nil {
			return nil, err
		}
	}
}

// wait watches a job to its end.
func (c *Client) wait(ctx context.Context, j *v1.Job, progress func(*v1.Job)) (*v1.Job, error) {
	last, err := c.watch(ctx, j, progress)
	if err == nil {
		return last, outcome(last)
	}
	if ctx.Err() == nil {
		return last, fmt.Errorf("job %s goes on, but the broker was lost: %w", j.Id, err)
	}
	// Stopped by the user: so is the job.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if _, err := c.Broker.KillJob(late, c.Caller, j.Id, "stopped by the user"); err != nil {
		return last, fmt.Errorf("job %s could not be asked to stop: %w", j.Id, err)
	}
	if l, err := c.watch(late, last, progress); err == nil {
		return l, outcome(l)
	}
	return last, fmt.Errorf("job %s was asked to stop and has not ended within %s", j.Id, stopWait)
}

// watch follows a job until it has ended; a broker that restarts is awaited.
func (c *Client) watch(ctx context.Context, j *v1.Job, progress func(*v1.Job)) (*v1.Job, error) {
	lost := time.Now()
	for pause := 50 * time.Millisecond; ; {
		err := c.Broker.WatchJob(ctx, c.Caller, j.Id, func(n *v1.Job) error {
			j, lost, pause = n, time.Now(), 50*time.Millisecond
			if progress != nil {
				progress(n)
			}
			return nil
		})
		switch {
		case ended(j):
			return j, nil
		case ctx.Err() != nil:
			return j, ctx.Err()
		case err != nil && !transient(err) || time.Since(lost) > brokerWait:
			return j, err
		}
		if e := sleep(ctx, pause); e != nil {
			return j, e
		}
		pause = min(2*pause, 2*time.Second)
	}
}

func transient(err error) bool {
	return errors.Is(err, api.ErrUnavailable) || errors.Is(err, api.ErrSessionEnded)
}

func ended(j *v1.Job) bool {
	switch j.GetPhase() {
	case v1.JobPhase_JOB_PHASE_SUCCEEDED, v1.JobPhase_JOB_PHASE_FAILED, v1.JobPhase_JOB_PHASE_KILLED:
		return true
	}
	return false
}

// outcome is the error of a job that has ended.
func outcome(j *v1.Job) error {
	switch j.Phase {
	case v1.JobPhase_JOB_PHASE_SUCCEEDED:
		return nil
	case v1.JobPhase_JOB_PHASE_KILLED:
		return fmt.Errorf("%w: %s: %s", ErrKilled, j.Id, j.Message)
	}
	return fmt.Errorf("%w: %s: %s", ErrFailed, j.Id, j.Message)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runHere runs the coordinator in this process.
func (c *Client) runHere(ctx context.Context, d *coordinator.Description, s Submission) (*v1.Job, error) {
	d.Job.ID = ""
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	started := make(chan string, 1)
	watched := make(chan *v1.Job, 1)
	go func() { // awaited below
		select {
		case id := <-started:
			last, _ := c.watch(watching, &v1.Job{Id: id, Name: d.Job.Name}, s.Progress)
			watched <- last
		case <-watching.Done():
			watched <- nil
		}
	}()
	r, err := coordinator.Run(ctx, coordinator.Options{Job: d.Job, Attempt: 1, Mux: c.Mux, Registry: c.Registry, Command: d.Command(),
		Dial: sdk.Opener(c.Broker, c.Caller), Host: c.localHost(), KillOnCancel: true, Tuning: c.Tuning, Logger: c.Logger,
		Started: func(id string) { started <- id }})
	if r.Phase == v1.JobPhase_JOB_PHASE_UNSPECIFIED { // it never came to an end that the broker knows
		stop()
		<-watched
		c.clean(context.WithoutCancel(ctx), d.Job)
		return nil, err
	}
	j := &v1.Job{Id: r.JobID, Name: d.Job.Name, Kind: Kind}
	select {
	case last := <-watched:
		if last != nil {
			j = last
		}
	case <-time.After(stopWait):
		stop()
		<-watched
	}
	j = proto.Clone(j).(*v1.Job)
	j.Phase, j.Message, j.Counters = r.Phase, r.Message, r.Counters
	return j, outcome(j)
}

// localHost is the address of this machine by which the cluster reaches it: the one that reaches the broker.
func (c *Client) localHost() string {
	b, ok := c.Broker.(interface{ Address() string })
	if !ok || strings.HasPrefix(b.Address(), "unix:") || strings.HasPrefix(b.Address(), "/") {
		return "127.0.0.1"
	}
	conn, err := net.Dial("udp", b.Address()) // sends nothing
	if err != nil {
		return "127.0.0.1"
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return "127.0.0.1"
	}
	return host
}
