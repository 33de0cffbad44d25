package submit

import (
	"context"
	"errors"
	"io"

	"go.uber.org/zap"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// Modes: the first argument of a process of the engine.
const (
	CoordinatorMode = "mapreduce-coordinator"
	TaskMode        = "mapreduce-task"
)

// Broker is what a client needs of a connection to a broker; *client.Client of broker/api is one.
type Broker interface {
	api.Broker
	Close() error
}

// Options is a job as its user states it, by Hadoop Streaming's names.
type Options struct {
	Name         string
	Role, User   string
	Inputs       []string // -input
	Output       string   // -output
	Mapper       string   // -mapper: a command line, or a registered function
	Combiner     string
	Reducer      string            // "" or NONE: no reduces
	Reduces      int               // -numReduceTasks; negative: the default, 1
	Files        []string          // -file: local paths (path#name renames), shipped to every task
	Archives     []string          // -archives: unpacked in the sandbox
	Conf         map[string]string // -D
	Env          map[string]string // -cmdenv
	InputFormat  string
	OutputFormat string
	Partitioner  string
	IO           string // "text", "arrow"
	Compress     string // of map output
	NoLocality   bool
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
	// Staging is the URL under which job folders are made; "": /tmp/fairway-staging/<user> beside the output.
	Staging string
	Logger  *zap.Logger
}

var errNotBuilt = errors.New("submit: not built yet")

// Job makes a job of the options; an error names the option that is wrong.
func (o Options) Job(reg *mapreduce.Registry) (*spec.Job, error) { return nil, errNotBuilt }

// Check refuses a job that cannot run: a missing or unreadable input, an existing output, a mapper that is no program.
func (c *Client) Check(ctx context.Context, job *spec.Job) error { return errNotBuilt }

// Run checks, stages and submits a job, and waits for its end unless it is detached. When ctx ends first the job is
// asked to stop and its end is awaited for 20 s. The job is returned also with an error that says that it failed.
func (c *Client) Run(ctx context.Context, job *spec.Job, s Submission) (*v1.Job, error) {
	return nil, errNotBuilt
}

// Config of Main.
type Config struct {
	Name    string                    // of jobs, if -name is not given
	Openers map[string]storage.Opener // by scheme: "hdfs", "file"; nil: files only
	// Register adds the program's functions.
	Register func(*mapreduce.Registry)
	// Job changes the job before it is submitted; may be nil.
	Job      func(*spec.Job) error
	Programs mapreduce.Programs // nil: Hadoop Streaming programs
	// Connect reaches the broker; nil: broker/api/client with FAIRWAY_BROKER and FAIRWAY_TOKEN_FILE.
	Connect func(ctx context.Context, address, tokenFile string) (Broker, error)
	Args    []string // nil: os.Args[1:]
	Stdout  io.Writer
	Stderr  io.Writer
}

// Main runs the mode that the first argument names, else the client, and returns the exit code: 0, 1 (the job failed),
// 2 (wrong usage or refused before it ran), 130 (stopped by the user).
func Main(ctx context.Context, c Config) int { return 1 }
