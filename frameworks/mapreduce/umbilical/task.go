package umbilical

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"fairway/broker/api/client"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/shuffle"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/stream"
	"fairway/frameworks/mapreduce/task"
	pb "fairway/frameworks/mapreduce/umbilical/umbilicalv1"
	"fairway/frameworks/storage"
)

// AddressEnv names the environment variable that tells an attempt where its coordinator listens.
const AddressEnv = "FAIRWAY_UMBILICAL"

// TaskConfig of RunTask.
type TaskConfig struct {
	Mux      *storage.Mux
	Registry *mapreduce.Registry
	Programs mapreduce.Programs  // nil: Hadoop Streaming programs
	Getenv   func(string) string // nil: os.Getenv
	Logger   *zap.Logger         // nil: none
	// Shared keeps RunTask from setting the process's memory limit, where several attempts share one process.
	Shared bool
}

// environment is what the agent tells a task.
type environment struct {
	task        string // framework/sequence
	framework   string
	sequence    uint64
	sandbox     string
	jobID       string
	jobDir      string
	secret      []byte
	host        string
	dataAddress string
	memory      int64
	umbilical   string
}

func readEnvironment(get func(string) string) (environment, error) {
	e := environment{task: get("FAIRWAY_TASK_ID"), sandbox: get("FAIRWAY_SANDBOX"), jobID: get("FAIRWAY_JOB_ID"),
		jobDir: get("FAIRWAY_JOB_DIR"), host: get("FAIRWAY_AGENT_HOST"), dataAddress: get("FAIRWAY_AGENT_DATA_ADDRESS"),
		umbilical: get(AddressEnv)}
	for _, v := range []struct{ name, value string }{{"FAIRWAY_TASK_ID", e.task}, {"FAIRWAY_SANDBOX", e.sandbox},
		{"FAIRWAY_JOB_DIR", e.jobDir}, {AddressEnv, e.umbilical}} {
		if v.value == "" {
			return e, fmt.Errorf("%s is not set: this mode is started by a Fairway agent, not by hand", v.name)
		}
	}
	var err error
	if e.framework, e.sequence, err = parseTask(e.task); err != nil {
		return e, fmt.Errorf("FAIRWAY_TASK_ID: %w", err)
	}
	if m := get("FAIRWAY_MEMORY_BYTES"); m != "" {
		if e.memory, err = strconv.ParseInt(m, 10, 64); err != nil {
			return e, fmt.Errorf("FAIRWAY_MEMORY_BYTES: %w", err)
		}
	}
	secret, err := os.ReadFile(get("FAIRWAY_SECRET_FILE"))
	if err != nil {
		return e, fmt.Errorf("the job's secret: %w", err)
	}
	e.secret = secret
	return e, nil
}

// RunTask runs the attempt that this process was started for. An error means that it did not succeed; the coordinator
// knows it already, if it could be reached.
func RunTask(ctx context.Context, c TaskConfig) error {
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	env, err := readEnvironment(c.Getenv)
	if err != nil {
		return err
	}
	if c.Programs == nil {
		c.Programs = &stream.Programs{CacheDir: env.jobDir}
	}
	conn, err := grpc.NewClient("passthrough:///"+env.umbilical,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(client.Reconnect),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}))
	if err != nil {
		return fmt.Errorf("coordinator at %s: %w", env.umbilical, err)
	}
	defer conn.Close()

	// work ends when the attempt is to stop; the umbilical lives a little longer, to say so.
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	lines, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	l := &link{conn: conn, secret: env.secret, task: env.task, reporter: newReporter(),
		hello:    &pb.Hello{Framework: env.framework, Sequence: env.sequence, DataAddress: env.dataAddress, Host: env.host},
		assigned: make(chan *pb.Assignment, 1), outputs: &outputQueue{wake: make(chan struct{}, 1)},
		commits: make(chan *pb.CommitAnswer, 1), finished: make(chan struct{}), stop: stop, wake: make(chan struct{}, 1)}
	hungUp := make(chan error, 1)
	go func() { hungUp <- l.run(lines) }() // awaited below
	defer func() {
		hangUp()
		<-hungUp
	}()

	var a *pb.Assignment
	select {
	case a = <-l.assigned:
	case <-work.Done():
		return context.Cause(work)
	}
	final, err := perform(work, stop, c, env, l, a)
	wait := lines
	if ctx.Err() != nil { // the agent wants the process to end: a short word only
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(lines, time.Second)
		defer cancel()
	}
	select { // the link may have given up
	case <-hungUp:
		hungUp <- nil
		return err
	default:
	}
	if e := l.finish(wait, final, hungUp); e != nil && err == nil {
		err = e
	}
	return err
}

// perform runs the assignment and makes its final report.
func perform(ctx context.Context, stop context.CancelCauseFunc, c TaskConfig, env environment, l *link, a *pb.Assignment) (*pb.TaskMessage, error) {
	r, err := work(ctx, stop, c, env, l, a)
	report := l.reporter.report()
	switch {
	case err != nil:
		f := &pb.Failed{Message: err.Error(), Report: report, Killed: errors.Is(err, errStopped) || errors.Is(context.Cause(ctx), errStopped) ||
			errors.Is(context.Cause(ctx), context.Canceled), Fatal: errors.Is(err, mapreduce.ErrUnknownFunction)}
		var bad *task.RecordError
		if errors.As(err, &bad) {
			f.RecordUrl, f.RecordOffset = bad.URL, bad.Offset
		}
		return &pb.TaskMessage{Message: &pb.TaskMessage_Failed{Failed: f}}, err
	case r != nil:
		d := &pb.MapDone{File: r.File, Report: report, Partitions: make([]*pb.Range, len(r.Partitions))}
		for i, p := range r.Partitions {
			d.Partitions[i] = &pb.Range{Offset: p.Offset, Length: p.Length, Records: p.Records}
		}
		return &pb.TaskMessage{Message: &pb.TaskMessage_MapDone{MapDone: d}}, nil
	}
	return &pb.TaskMessage{Message: &pb.TaskMessage_Done{Done: &pb.Done{Report: report}}}, nil
}

// work runs the map or reduce. The result is that of a map with reduces.
func work(ctx context.Context, stop context.CancelCauseFunc, c TaskConfig, env environment, l *link, a *pb.Assignment) (result *task.MapResult, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, fmt.Errorf("the program panicked: %v\n%s", p, stackOf(debug.Stack()))
		}
	}()
	job := new(spec.Job)
	if err := json.Unmarshal(a.Job, job); err != nil {
		return nil, fmt.Errorf("the job's description: %w", err)
	}
	job.ID, job.Secret = a.JobId, env.secret
	if !c.Shared {
		limitMemory(env.memory, job, a.Kind)
	}
	commit := func(ctx context.Context) error {
		if err := l.commit(ctx); err != nil {
			return err
		}
		t := time.AfterFunc(CommitLimit, func() {
			stop(fmt.Errorf("the commit of the output took longer than %s", CommitLimit))
		})
		context.AfterFunc(ctx, func() { t.Stop() })
		return nil
	}
	log := c.Logger.With(zap.String("task", env.task), zap.String("kind", a.Kind), zap.Uint32("index", a.Index), zap.Uint32("attempt", a.Attempt))
	if a.Kind == spec.Reduce {
		l.reporter.maps = int64(a.Maps)
	}
	if !runsProgram(job, a.Kind) { // of a program others say when it is silent for too long
		ctx, end := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() { // ends with ctx
			defer close(watched)
			watchStill(ctx, l.reporter, log)
		}()
		defer func() {
			end()
			<-watched
		}()
	}
	if a.Kind == spec.Map {
		var split spec.Split
		if err := json.Unmarshal(a.Split, &split); err != nil {
			return nil, fmt.Errorf("the map's split: %w", err)
		}
		r, err := task.RunMap(ctx, task.MapArgs{Job: job, Split: split, Attempt: int(a.Attempt), Mux: c.Mux,
			Dir: env.jobDir, Sandbox: env.sandbox, Memory: env.memory, Registry: c.Registry, Programs: c.Programs,
			Reporter: l.reporter, Commit: commit, Log: log})
		if err != nil {
			return nil, err
		}
		if job.Reduces == 0 {
			return nil, nil
		}
		return &r, nil
	}
	outputs := make(chan spec.MapOutput)
	pumped := make(chan struct{})
	ctx, end := context.WithCancel(ctx)
	defer func() {
		end()
		<-pumped
	}()
	go func() { // ends with ctx
		defer close(pumped)
		pump(ctx, l.outputs, outputs)
	}()
	return nil, task.RunReduce(ctx, task.ReduceArgs{Job: job, Partition: int(a.Index), Attempt: int(a.Attempt),
		Maps: int(a.Maps), Mux: c.Mux, Dir: env.jobDir, Sandbox: env.sandbox, Memory: env.memory,
		Registry: c.Registry, Programs: c.Programs, Reporter: l.reporter, Outputs: outputs,
		Fetch: shuffle.New(shuffle.Config{Job: a.JobId, Secret: env.secret, Local: env.dataAddress, Dir: env.jobDir}),
		FetchFailed: func(o spec.MapOutput, err error) {
			l.fetchFailed(&pb.FetchFailure{Map: uint32(o.Map), Attempt: uint32(o.Attempt), Address: o.Address, Message: err.Error()})
		},
		Commit: commit, Log: log})
}

// pump hands map outputs from the umbilical to the reduce.
func pump(ctx context.Context, q *outputQueue, to chan<- spec.MapOutput) {
	for {
		for _, o := range q.take() {
			out := spec.MapOutput{Map: int(o.Map), Attempt: int(o.Attempt), Address: o.Address, File: o.File,
				Offset: o.Offset, Length: o.Length, Records: o.Records}
			select {
			case to <- out:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
	}
}

// limitMemory keeps the Go heap within the container; a program that the task runs needs its part too.
func limitMemory(bytes int64, job *spec.Job, kind string) {
	if bytes <= 0 || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := bytes / 10 * 9
	if runsProgram(job, kind) {
		limit = bytes / 2
	}
	debug.SetMemoryLimit(limit)
}

// runsProgram tells whether a task of a kind runs a program of the user's beside this process.
func runsProgram(job *spec.Job, kind string) bool {
	if kind == spec.Reduce {
		return len(job.Reducer.Program) > 0
	}
	return len(job.Mapper.Program) > 0 || len(job.Combiner.Program) > 0
}

// stackOf shortens a stack for a message.
func stackOf(stack []byte) string {
	lines := strings.Split(strings.TrimSpace(string(stack)), "\n")
	if len(lines) > 30 {
		lines = lines[:30]
	}
	return strings.Join(lines, "\n")
}
