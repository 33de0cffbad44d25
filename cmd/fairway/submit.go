package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
	"fairway/conf"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/builtin"
	"fairway/frameworks/mapreduce/coordinator"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/submit"
	"fairway/frameworks/mapreduce/umbilical"
	"fairway/frameworks/storage"
)

// streamingNames are Hadoop Streaming's long options with one dash, and ours.
var streamingNames = map[string]string{
	"-input": "--input", "-output": "--output", "-mapper": "--mapper", "-reducer": "--reducer", "-combiner": "--combiner",
	"-file": "--file", "-files": "--file", "-archives": "--archives", "-numReduceTasks": "--reduces", "-cmdenv": "--cmdenv",
	"-inputformat": "--input-format", "-outputformat": "--output-format", "-partitioner": "--partitioner", "-io": "--io",
	"-jobconf": "-D", "-name": "--name",
}

// streamingFlags lets 'submit mapreduce' be called with Hadoop Streaming's options, which have one dash.
func streamingFlags(args []string) []string {
	at := slices.Index(args, "mapreduce")
	if at < 0 || !slices.Contains(args[:at], "submit") || slices.Contains(args[:at], "spark") {
		return args
	}
	out := slices.Clone(args)
	for i := at + 1; i < len(out); i++ {
		if out[i] == "--" {
			break
		}
		name, value, has := strings.Cut(out[i], "=")
		if long, ok := streamingNames[name]; ok {
			out[i] = long
			if has {
				out[i] += "=" + value
			}
			continue
		}
	}
	return out
}

func (a *app) submitCommand() *cobra.Command {
	c := &cobra.Command{Use: "submit", Short: "Submit a job", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
		Example: "  fairway submit mapreduce wordcount hdfs:///in hdfs:///out\n  fairway submit spark app.py"}
	c.AddCommand(a.submitMapReduceCommand(), a.submitSparkCommand())
	return c
}

// mapReduceFlags are what 'submit mapreduce' is told beside submit.Options.
type mapReduceFlags struct {
	submit.Options
	properties, cmdenv []string
	splitSize          string
	mapMemory          string
	reduceMemory       string
	mapCPU, reduceCPU  string
	maps               int
	noSpeculation      bool
	detach             bool
	localCoordinator   bool
	quiet              bool
}

func (a *app) submitMapReduceCommand() *cobra.Command {
	var f mapReduceFlags
	names := builtinNames()
	c := &cobra.Command{
		Use:   "mapreduce [BUILT-IN ARGS...]",
		Short: "Submit a MapReduce job: a built-in one, or programs by Hadoop Streaming's conventions",
		Long: `Mapreduce runs a job on the native engine: no JVM. Either name a built-in job with its
arguments (` + strings.Join(names, ", ") + `), or give programs by Hadoop Streaming's
options, which may be written with one dash or two.

Programs read lines on stdin and write "key TAB value" lines on stdout; with --io arrow
both are Arrow IPC streams. A program may also be the name of a function of the engine
(identity, sum, min, max, count).

Ctrl-C asks the job to stop, unless it was detached.`,
		Example: `  fairway submit mapreduce wordcount hdfs:///books hdfs:///counts
  fairway submit mapreduce -input hdfs:///logs/*.gz -output hdfs:///out -mapper 'python3 map.py' \
      -reducer 'python3 reduce.py' -file map.py -file reduce.py -numReduceTasks 4
  fairway submit mapreduce terasort hdfs:///rows hdfs:///sorted --role batch --detach`,
		ValidArgs: names,
		Args:      cobra.ArbitraryArgs,
		RunE:      func(c *cobra.Command, args []string) error { return a.submitMapReduce(c, f, args) },
	}
	l := c.Flags()
	l.StringArrayVar(&f.Inputs, "input", nil, "file, folder or glob; may be given again")
	l.StringVar(&f.Output, "output", "", "folder that does not exist yet")
	l.StringVar(&f.Mapper, "mapper", "", "program, or function of the engine")
	l.StringVar(&f.Reducer, "reducer", "", "program or function; NONE: a map-only job")
	l.StringVar(&f.Combiner, "combiner", "", "program or function")
	l.IntVar(&f.Reduces, "reduces", -1, "number of reduces (-numReduceTasks)")
	l.StringSliceVar(&f.Files, "file", nil, "local file shipped to every task (path#name renames)")
	l.StringSliceVar(&f.Archives, "archives", nil, "local archive, unpacked for every task")
	l.StringArrayVarP(&f.properties, "define", "D", nil, "property=value, by Hadoop's names")
	l.StringArrayVar(&f.cmdenv, "cmdenv", nil, "name=value in the programs' environment")
	l.StringVar(&f.InputFormat, "input-format", "", "text, keyvalue, tera, parquet, arrow, none")
	l.StringVar(&f.OutputFormat, "output-format", "", "text, tera, parquet, arrow, none")
	l.StringVar(&f.Partitioner, "partitioner", "", "hash, total")
	l.StringVar(&f.IO, "io", "", "of programs: text, arrow")
	l.StringVar(&f.Compress, "compress", "", "of map output: lz4, s2, zstd (default none)")
	l.StringVar(&f.Name, "name", "", "name of the job")
	l.StringVar(&f.Role, "role", "", "who the job is for (default \"default\")")
	l.StringVar(&f.User, "user", "", "run as this account (operators only)")
	l.StringVar(&f.splitSize, "split-size", "", "bytes of input for each map (default: the file's blocks)")
	l.StringVar(&f.mapMemory, "map-memory", "", "memory of each map")
	l.StringVar(&f.reduceMemory, "reduce-memory", "", "memory of each reduce")
	l.StringVar(&f.mapCPU, "map-cpus", "", "cpu of each map")
	l.StringVar(&f.reduceCPU, "reduce-cpus", "", "cpu of each reduce")
	l.IntVar(&f.maps, "maps", 0, "number of maps, of jobs without input")
	l.BoolVar(&f.noSpeculation, "no-speculation", false, "never run a second copy of a slow task")
	l.BoolVar(&f.NoLocality, "no-locality", false, "state no preferred hosts (for comparisons)")
	l.BoolVarP(&f.detach, "detach", "d", false, "return once the broker has the job; Ctrl-C then leaves it alone")
	l.BoolVar(&f.localCoordinator, "local-coordinator", false, "run the coordinator in this process")
	l.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress")
	return c
}

// jobOf makes the job of the flags and the arguments.
func (a *app) jobOf(f mapReduceFlags, args []string, reg *mapreduce.Registry) (*spec.Job, error) {
	var err error
	if f.Conf, err = pairs("-D", f.properties); err != nil {
		return nil, err
	}
	if f.Env, err = pairs("--cmdenv", f.cmdenv); err != nil {
		return nil, err
	}
	var job *spec.Job
	if len(args) > 0 {
		build, ok := builtin.Jobs[args[0]]
		if !ok {
			names := builtinNames()
			if near, ok := conf.Nearest(args[0], names); ok {
				return nil, usagef("no built-in job is called %q; did you mean %q?", args[0], near)
			}
			return nil, usagef("no built-in job is called %q; there are %s", args[0], strings.Join(names, ", "))
		}
		if f.Mapper != "" || len(f.Inputs) > 0 {
			return nil, usagef("give either a built-in job or -input and -mapper, not both")
		}
		j, err := build(args[1:])
		if err != nil {
			return nil, usageError{err}
		}
		job = &j
		if err := f.Options.Over(job); err != nil {
			return nil, usageError{err}
		}
	} else {
		if job, err = f.Options.Job(reg); err != nil {
			return nil, usageError{err}
		}
	}
	m := a.conf.MapReduce
	for _, d := range []struct {
		property string
		dst      *int64
		v        int64
	}{
		{"mapreduce.map.memory.mb", &job.MapMemory, int64(m.MapMemory)}, {"mapreduce.reduce.memory.mb", &job.ReduceMemory, int64(m.ReduceMemory)},
		{"mapreduce.map.cpu.vcores", &job.MapCPU, int64(m.MapCPU)}, {"mapreduce.reduce.cpu.vcores", &job.ReduceCPU, int64(m.ReduceCPU)},
	} {
		if f.Conf[d.property] == "" { // -D wins over the configuration, and flags over both
			*d.dst = d.v
		}
	}
	for _, q := range []struct {
		flag, text string
		dst        *int64
		parse      func(string) (int64, error)
	}{
		{"--split-size", f.splitSize, &job.SplitSize, resource.ParseBytes}, {"--map-memory", f.mapMemory, &job.MapMemory, resource.ParseBytes},
		{"--reduce-memory", f.reduceMemory, &job.ReduceMemory, resource.ParseBytes}, {"--map-cpus", f.mapCPU, &job.MapCPU, resource.ParseCPU},
		{"--reduce-cpus", f.reduceCPU, &job.ReduceCPU, resource.ParseCPU},
	} {
		if q.text == "" {
			continue
		}
		if *q.dst, err = q.parse(q.text); err != nil {
			return nil, usagef("%s: %w", q.flag, err)
		}
	}
	if f.maps > 0 {
		job.Maps = f.maps
	}
	job.Speculative = !f.noSpeculation
	if job.User == "" {
		job.User = account()
	}
	return job, nil
}

func builtinNames() []string { return slices.Sorted(maps.Keys(builtin.Jobs)) }

func pairs(flag string, list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, p := range list {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usagef("%s %s: want name=value", flag, p)
		}
		m[k] = v
	}
	return m, nil
}

// registry knows the functions of the built-in jobs.
func registry() *mapreduce.Registry {
	r := mapreduce.NewRegistry()
	builtin.Register(r)
	return r
}

// files runs f with all file systems and closes what it opened. log may be nil.
func (a *app) files(log *zap.Logger, f func(*storage.Mux) error) error {
	mux, err := fileSystems(a.conf, log)
	if err != nil {
		return err
	}
	defer mux.Close()
	return f(mux)
}

func (a *app) submitMapReduce(c *cobra.Command, f mapReduceFlags, args []string) error {
	reg := registry()
	job, err := a.jobOf(f, args, reg)
	if err != nil {
		return err
	}
	b, err := a.dial()
	if err != nil {
		return err
	}
	defer b.Close()
	show := newProgressView(c.ErrOrStderr(), f.quiet || a.output == "json")
	var final *v1.Job
	err = a.files(nil, func(mux *storage.Mux) error {
		cl := &submit.Client{Broker: b, Mux: mux, Registry: reg, Logger: zap.NewNop()}
		final, err = cl.Run(c.Context(), job, submit.Submission{Detach: f.detach, LocalCoordinator: f.localCoordinator, Progress: show.update})
		return err
	})
	show.close()
	if final != nil {
		if a.output == "json" {
			if perr := printJSON(c.OutOrStdout(), final); perr != nil && err == nil {
				err = perr
			}
		} else if err == nil {
			printOutcome(c, final, f.detach)
		}
	}
	if err != nil && c.Context().Err() != nil {
		fmt.Fprintln(os.Stderr, "fairway: interrupted;", strings.TrimSpace(err.Error()))
		return errInterrupted
	}
	return err
}

func printOutcome(c *cobra.Command, j *v1.Job, detached bool) {
	w := c.OutOrStdout()
	if detached {
		fmt.Fprintln(w, j.Id)
		return
	}
	fmt.Fprintf(w, "%s %s in %s\n", j.Id, phase(j.Phase), took(j))
	printCounters(w, j.Counters)
}

// connect is how coordinators and users' programs reach a broker.
func (a *app) connect(_ context.Context, address, tokenFile string) (coordinator.Broker, error) {
	cc := *a.conf
	if address != "" {
		cc.Client.Broker = address
	}
	cc.Client.TokenFile = tokenFile
	return (&app{conf: &cc}).dial()
}

// hiddenCommands are the modes in which agents start this binary.
func (a *app) hiddenCommands() []*cobra.Command {
	return []*cobra.Command{
		{Use: submit.CoordinatorMode, Hidden: true, Args: cobra.ArbitraryArgs, DisableFlagParsing: true, RunE: func(c *cobra.Command, args []string) error {
			log, err := logger(a.conf.Log)
			if err != nil {
				return err
			}
			err = a.files(log, func(mux *storage.Mux) error {
				return coordinator.Main(c.Context(), coordinator.Config{Args: args, Connect: a.connect, Mux: mux, Registry: registry(), Logger: log})
			})
			if errors.Is(err, coordinator.ErrFailed) || errors.Is(err, coordinator.ErrKilled) {
				return nil // the broker knows; the coordinator itself did its work
			}
			return err
		}},
		{Use: submit.TaskMode, Hidden: true, Args: cobra.ArbitraryArgs, DisableFlagParsing: true, RunE: func(c *cobra.Command, _ []string) error {
			log, err := logger(a.conf.Log)
			if err != nil {
				return err
			}
			return a.files(log, func(mux *storage.Mux) error {
				return umbilical.RunTask(c.Context(), umbilical.TaskConfig{Mux: mux, Registry: registry(), Logger: log})
			})
		}},
	}
}
