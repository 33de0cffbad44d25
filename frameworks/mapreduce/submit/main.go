package submit

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/builtin"
	"fairway/frameworks/mapreduce/coordinator"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/umbilical"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

// Config of Main.
type Config struct {
	Name    string                    // of jobs, if -name is not given
	Openers map[string]storage.Opener // by scheme: "hdfs", "file"; nil: files only
	// DefaultFS is the URL of the file system of plain paths; "": FAIRWAY_DEFAULT_FS, or file:///.
	DefaultFS string
	Staging   string // see Client.Staging
	// Register adds the program's functions; the engine's own and the built-in jobs' are there already.
	Register func(*mapreduce.Registry)
	// Job changes the job before it is submitted, such as by naming its functions; may be nil.
	Job      func(*spec.Job) error
	Programs mapreduce.Programs // nil: Hadoop Streaming programs
	// Connect reaches the broker; nil: broker/api/client with FAIRWAY_BROKER and FAIRWAY_TOKEN_FILE.
	Connect func(ctx context.Context, address, tokenFile string) (Broker, error)
	Args    []string // nil: os.Args[1:]
	Stdout  io.Writer
	Stderr  io.Writer
}

// Exit codes of Main.
const (
	exitOK          = 0
	exitFailed      = 1
	exitRefused     = 2
	exitInterrupted = 130
)

// Main runs the mode that the first argument names, else the client, and returns the exit code: 0, 1 (the job failed),
// 2 (wrong usage or refused before it ran), 130 (stopped by the user).
func Main(ctx context.Context, c Config) int {
	if c.Args == nil {
		c.Args = os.Args[1:]
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	if c.Openers == nil {
		c.Openers = map[string]storage.Opener{"file": local.Opener()}
	}
	if c.DefaultFS == "" {
		c.DefaultFS = os.Getenv("FAIRWAY_DEFAULT_FS")
	}
	if c.Connect == nil {
		c.Connect = connect
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	reg := mapreduce.NewRegistry()
	builtin.Register(reg)
	if c.Register != nil {
		c.Register(reg)
	}
	mux := storage.NewMux(c.Openers, c.DefaultFS)
	defer mux.Close()
	mode := ""
	if len(c.Args) > 0 {
		mode = c.Args[0]
	}
	var err error
	switch mode {
	case CoordinatorMode:
		err = coordinator.Main(ctx, coordinator.Config{Args: c.Args[1:], Mux: mux, Registry: reg, Logger: logger(),
			Connect: func(ctx context.Context, a, t string) (coordinator.Broker, error) { return c.Connect(ctx, a, t) }})
		if errors.Is(err, coordinator.ErrFailed) || errors.Is(err, coordinator.ErrKilled) {
			return exitOK // the broker knows; the coordinator itself did its work
		}
	case TaskMode:
		err = umbilical.RunTask(ctx, umbilical.TaskConfig{Mux: mux, Registry: reg, Programs: c.Programs, Logger: logger()})
	default:
		return c.client(ctx, reg, mux)
	}
	if err != nil {
		fmt.Fprintln(c.Stderr, err)
		return exitFailed
	}
	return exitOK
}

// logger writes to the standard error of a process that an agent has started.
func logger() *zap.Logger {
	log, err := zap.NewProduction()
	if err != nil {
		return zap.NewNop()
	}
	return log
}

func connect(_ context.Context, address, tokenFile string) (Broker, error) {
	return client.Dial(client.Options{Address: address, TokenFile: tokenFile, CAFile: os.Getenv("FAIRWAY_CA_FILE")})
}

// client is the mode that a person calls.
func (c Config) client(ctx context.Context, reg *mapreduce.Registry, mux *storage.Mux) int {
	o := Options{Mapper: "identity", Conf: map[string]string{}, Env: map[string]string{}, Reduces: -1, Name: c.Name}
	var s Submission
	f := flag.NewFlagSet(orElse(c.Name, "job"), flag.ContinueOnError)
	f.SetOutput(c.Stderr)
	list := func(name, usage string, dst *[]string) {
		f.Func(name, usage, func(v string) error { *dst = append(*dst, v); return nil })
	}
	pair := func(name, usage string, dst map[string]string) {
		f.Func(name, usage, func(v string) error {
			k, v, ok := strings.Cut(v, "=")
			if !ok || k == "" {
				return errors.New("want NAME=VALUE")
			}
			dst[k] = v
			return nil
		})
	}
	list("input", "file, folder or glob to read; may be given again", &o.Inputs)
	f.StringVar(&o.Output, "output", "", "folder for the results; must not exist")
	f.StringVar(&o.Name, "name", c.Name, "name of the job")
	f.StringVar(&o.Role, "role", "", "role to run in")
	f.StringVar(&o.User, "user", "", "account to run as")
	f.IntVar(&o.Reduces, "numReduceTasks", -1, "number of reduces")
	f.StringVar(&o.InputFormat, "input-format", "", "text, keyvalue, tera, parquet, arrow")
	f.StringVar(&o.OutputFormat, "output-format", "", "text, tera, parquet, arrow")
	list("file", "file to ship to every task; may be given again", &o.Files)
	pair("D", "property=value", o.Conf)
	pair("cmdenv", "name=value in the environment of programs", o.Env)
	f.BoolVar(&s.Detach, "detach", false, "return once the job is submitted")
	f.BoolVar(&s.LocalCoordinator, "local-coordinator", false, "run the coordinator in this process")
	address := f.String("broker", os.Getenv("FAIRWAY_BROKER"), "address of the broker: unix:///path or host:port")
	token := f.String("token-file", os.Getenv("FAIRWAY_TOKEN_FILE"), "file with the broker's token")
	if err := f.Parse(c.Args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitRefused
	}
	fail := func(err error) int {
		fmt.Fprintln(c.Stderr, "error:", err)
		switch {
		case ctx.Err() != nil:
			return exitInterrupted
		case errors.Is(err, ErrFailed) || errors.Is(err, ErrKilled):
			return exitFailed
		}
		return exitRefused
	}
	if f.NArg() > 0 {
		return fail(fmt.Errorf("unexpected argument %q", f.Arg(0)))
	}
	job, err := o.Job(reg)
	if err != nil {
		return fail(err)
	}
	job.User = orElse(job.User, account())
	if c.Job != nil {
		if err := c.Job(job); err != nil {
			return fail(err)
		}
	}
	if *address == "" {
		return fail(errors.New("no broker: give -broker or set FAIRWAY_BROKER to unix:///path or host:port"))
	}
	broker, err := c.Connect(ctx, *address, *token)
	if err != nil {
		return fail(err)
	}
	defer broker.Close()
	binary, err := os.Executable()
	if err != nil {
		return fail(fmt.Errorf("find this program's file: %w", err))
	}
	var last string
	var shown time.Time
	s.Progress = func(j *v1.Job) {
		if line := progressLine(j); line != last && (time.Since(shown) > time.Second || ended(j)) {
			last, shown = line, time.Now()
			fmt.Fprintln(c.Stderr, line)
		}
	}
	cl := &Client{Broker: broker, Mux: mux, Registry: reg, Binary: binary, Staging: c.Staging}
	j, err := cl.Run(ctx, job, s)
	if err != nil {
		return fail(err)
	}
	fmt.Fprintln(c.Stdout, j.Id)
	if !s.Detach {
		for _, n := range j.Counters {
			fmt.Fprintf(c.Stdout, "%s\t%d\n", orElse(n.Display, n.Group+"."+n.Name), n.Value)
		}
	}
	return exitOK
}

// progressLine is one line on how a job fares.
func progressLine(j *v1.Job) string {
	s := j.Id + " " + strings.ToLower(strings.TrimPrefix(j.Phase.String(), "JOB_PHASE_"))
	for _, p := range j.Progress {
		if p.Total > 0 {
			s += fmt.Sprintf("  %s %.0f%% (%d/%d)", p.Name, 100*p.Fraction, p.Done, p.Total)
		}
	}
	return s
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
