package coordinator

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/sdk"
	"fairway/frameworks/storage"
)

// Connect reaches a broker: address is unix:///path or host:port, tokenFile may be empty. client.Dial of broker/api
// does it.
type Connect func(ctx context.Context, address, tokenFile string) (Broker, error)

// Broker is the part of a connection that a coordinator needs.
type Broker interface {
	OpenFramework(ctx context.Context, caller api.Caller) (api.FrameworkSession, error)
	Close() error
}

// JobFile is the name of the job's description in the coordinator's sandbox.
const JobFile = "job.json"

// Config of Main.
type Config struct {
	Args     []string // after the mode's name: the path of the job's description
	Connect  Connect
	Mux      *storage.Mux
	Registry *mapreduce.Registry
	Getenv   func(string) string // nil: os.Getenv
	Tuning   Tuning
	Logger   *zap.Logger // nil: none
}

// Options of Run.
type Options struct {
	Job      *spec.Job // with ID empty: the broker makes a job
	Attempt  int       // of the coordinator, from 1
	Dial     sdk.Dial
	Mux      *storage.Mux
	Registry *mapreduce.Registry

	// Command is how a task's process starts: argv, and the URIs and files that the agent puts into its sandbox. An
	// empty argv is {fairway} mapreduce-task.
	Command *v1.Command
	// Host is the address that tasks on other hosts reach this process by; the umbilical listens there. "": 127.0.0.1.
	Host string

	// KillOnCancel ends the job when the context of Run ends, as a client does. Otherwise Run just returns, and leaves
	// the job to another attempt.
	KillOnCancel bool

	Tuning  Tuning
	Logger  *zap.Logger
	Started func(jobID string) // called once, when the broker has given the job its id; may be nil
}

// Result is how a job ended.
type Result struct {
	JobID    string
	Phase    v1.JobPhase
	Message  string // why, if not succeeded
	Counters []*v1.Counter
}

// Tuning are the times and limits of the machine; zero values take the defaults named.
type Tuning struct {
	MaxAttempts  int           // of one task that may fail; 4 (or the job's)
	TaskTimeout  time.Duration // without progress; 10 min (or the job's)
	SlowStart    float64       // share of maps done before reduces are asked for (mapreduce.job.reduce.slowstart.completedmaps); 0
	Preempt      time.Duration // maps that wait so long while reduces wait for them take a reduce's place; 3 s
	Relax        time.Duration // how long a repeated attempt avoids agents where the task failed; 3 s
	MinStraggler time.Duration // an attempt younger than this is never copied; 10 s
	JournalEvery time.Duration // finished maps are written down so often, from then on; 5 s
	AgentFaults  int           // failed tasks after which an agent is avoided by the whole job; 3
}

// ErrFailed and ErrKilled are wrapped by Run's and Main's error when the job did not succeed.
var (
	ErrFailed = errors.New("job failed")
	ErrKilled = errors.New("job killed")
)
