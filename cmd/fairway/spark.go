package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fairway/adapters/spark/launch"
	"fairway/adapters/yarn/resourcemanager"
	"fairway/broker/api"
	"fairway/broker/api/client"
	"fairway/conf"
)

// childError ends a command with the exit code of the program that it ran, which has said why itself.
type childError int

func (e childError) Error() string { return "" }

// sparkCommand is what the commands that run a user's Spark share.
type sparkCommand struct {
	a          *app
	role       string
	home       string
	python     string
	progress   bool
	shell      bool
	words      *launch.Words
	getenv     func(string) string
	submission string // by which the application's job is found
}

const sparkFound = `The Spark is that of --spark-home or SPARK_HOME, or the package pyspark of your Python
(--python, PYSPARK_PYTHON or python3). A folder with the configuration that it needs is made
for as long as it runs: Fairway's YARN addresses, and the XML files of hdfs.conf_dir. If your
HADOOP_CONF_DIR names a resource manager itself, that is used and no folder is made.`

func (a *app) submitSparkCommand() *cobra.Command {
	s := &sparkCommand{a: a}
	c := s.command("spark [OPTIONS] APPLICATION [ARGS...]", "Submit a Spark application: spark-submit without any Hadoop configuration")
	c.Long = `Spark runs your own Spark's bin/spark-submit with Fairway as its cluster.

` + sparkFound + `

All options of spark-submit pass through as they are, and so do your spark-defaults.conf
and all that follows the application; the options below must come before it. The driver runs
here, or in the cluster with --deploy-mode cluster. Its output follows; standard input reaches
it if it is a file or a pipe. Ctrl-C ends the driver and its executors; once more hurries.

The stages and the localities of tasks are those that the driver tells the broker about once
a second: Spark has no push, and what begins in its last second is not counted. The exit code
is Spark's.`
	c.Example = `  fairway submit spark wordcount.py hdfs:///books
  fairway submit spark --role analytics --num-executors 4 --executor-memory 2g --py-files lib.zip job.py --day 2026-11-23
  fairway submit spark --deploy-mode cluster --class org.example.Main --conf spark.dynamicAllocation.enabled=true app.jar
  fairway submit spark -o json pi.py 100 | tail -1`
	c.Flags().BoolVar(&s.progress, "progress", launch.IsTerminal(os.Stderr), "a line for each stage on stderr (default if that is a terminal)")
	c.RunE = func(c *cobra.Command, _ []string) error { return s.run(c) }
	return c
}

func (a *app) sparkCommands() *cobra.Command {
	root := &cobra.Command{Use: "spark", Short: "Use Spark interactively", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
		Example: "  fairway spark shell"}
	s := &sparkCommand{a: a, shell: true}
	c := s.command("shell [OPTIONS]", "Run pyspark, the Python shell of Spark, without any Hadoop configuration")
	c.Long = `Shell runs your own Spark's bin/pyspark with Fairway as its cluster.

` + sparkFound + `

All options of pyspark pass through as they are. Executors stay until the shell ends, unless
you say --conf spark.dynamicAllocation.enabled=true.`
	c.Example = `  fairway spark shell
  fairway spark shell --role analytics --num-executors 2 --conf spark.sql.shuffle.partitions=8`
	c.RunE = func(c *cobra.Command, _ []string) error { return s.run(c) }
	root.AddCommand(c)
	return root
}

// command makes a command that leaves Spark's options to Spark.
func (s *sparkCommand) command(use, short string) *cobra.Command {
	s.getenv = os.Getenv
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, DisableFlagParsing: true, ValidArgsFunction: s.complete,
		PersistentPreRunE: func(c *cobra.Command, args []string) (err error) {
			flags := map[string]launch.Flag{}
			add := func(f *pflag.Flag) {
				x := launch.Flag{Value: f.NoOptDefVal == "", Set: f.Value.Set}
				flags["--"+f.Name] = x
				if f.Shorthand != "" {
					flags["-"+f.Shorthand] = x
				}
			}
			c.LocalFlags().VisitAll(add)
			c.InheritedFlags().VisitAll(add)
			delete(flags, "--help")
			delete(flags, "-h")
			if s.words, err = launch.Split(args, flags); err != nil {
				return usagef("%w (see '%s --help')", err, c.CommandPath())
			}
			if s.words.Help {
				return nil
			}
			return c.Root().PersistentPreRunE(c, args)
		}}
	f := c.Flags()
	f.StringVar(&s.role, "role", "", "who the application is for: the role whose queue it goes to (default: Spark's, else \"default\")")
	f.StringVar(&s.home, "spark-home", "", "folder of the Spark to run (default $SPARK_HOME, else pyspark's)")
	f.StringVar(&s.python, "python", "", "Python of the driver, and of executors (default $PYSPARK_PYTHON, else python3)")
	return c
}

// run runs Spark.
func (s *sparkCommand) run(c *cobra.Command) error {
	if s.words.Help {
		return c.Help()
	}
	if err := s.check(); err != nil {
		return usageError{err}
	}
	ctx := c.Context()
	search := launch.Search{Home: s.home, Python: s.python, Getenv: s.getenv}
	spark, err := launch.Find(ctx, search)
	if err == nil {
		err = spark.CheckJava(ctx, search)
	}
	if err != nil {
		return usageError{err}
	}
	folder := ""
	if !s.words.Info {
		if err := s.checkRole(c); err != nil {
			return err
		}
		if folder, err = s.configuration(ctx); err != nil {
			return err
		}
	}
	if folder != "" {
		defer os.RemoveAll(folder)
	}
	s.submission = strings.ToLower(rand.Text())
	run := launch.Command{Path: filepath.Join(spark.Home, "bin", "spark-submit"), Args: s.arguments(), Env: spark.Environment(os.Environ(), folder), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	signals := make(chan os.Signal, 4)
	run.Signals = signals
	heed := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		heed = append(heed, syscall.SIGHUP)
	}
	if !s.shell {
		heed = append(heed, os.Interrupt) // a shell has the terminal, and it is the one that Ctrl-C is for
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	signal.Notify(signals, heed...)
	defer signal.Stop(signals)
	ctx = context.WithoutCancel(ctx) // what ends it are the signals, step by step
	if s.shell {
		run.Path = filepath.Join(spark.Home, "bin", "pyspark")
		converse := run.Converse
		if !launch.IsTerminal(os.Stdin) {
			converse = run.Run
		}
		return exit(converse(ctx))
	}
	return s.submit(ctx, c, run)
}

// exit is the error that gives a child's exit code.
func exit(end launch.End, err error) error {
	switch {
	case err != nil:
		return err
	case end.Code != 0:
		return childError(end.Code)
	case end.Stopped:
		return errInterrupted
	}
	return nil
}

// check holds the command line against what can be known of it.
func (s *sparkCommand) check() error {
	w := s.words
	switch {
	case w.Master != "" && w.Master != "yarn" && !w.Info:
		return fmt.Errorf("--master %s: the cluster is Fairway's, which Spark knows as yarn; leave --master away, or use your own spark-submit", w.Master)
	case w.Queue != "" && s.role != "":
		return fmt.Errorf("--queue %s and --role %s: a queue is a role; give one of the two", w.Queue, s.role)
	case s.shell || w.Info || w.Unknown != "":
		return nil
	case w.Application == "":
		return errors.New("which application? Give a .py or .jar file after the options (see 'fairway submit spark --help')")
	}
	return launch.CheckApplication(w.Application)
}

// checkRole refuses a role that is not there, before Spark would in many lines.
func (s *sparkCommand) checkRole(c *cobra.Command) error {
	if s.role == "" {
		return nil
	}
	b, err := s.a.dial()
	if err != nil {
		return err
	}
	defer b.Close()
	roles, err := b.ListRoles(c.Context(), api.Caller{})
	if err != nil {
		return err
	}
	var names []string
	for _, r := range roles {
		names = append(names, r.Path)
	}
	if slices.Contains(names, s.role) {
		return nil
	}
	if near, ok := conf.Nearest(s.role, names); ok {
		return usagef("--role %s: there is no such role; did you mean %q?", s.role, near)
	}
	return usagef("--role %s: there is no such role; there are %s", s.role, strings.Join(names, ", "))
}

// configuration is the folder that Spark is to take Hadoop's configuration from, which the caller removes; empty: the
// user's own.
func (s *sparkCommand) configuration(ctx context.Context) (string, error) {
	own, err := launch.OwnConfiguration(s.getenv)
	if err != nil {
		return "", usageError{err}
	}
	if own != "" {
		return "", nil
	}
	y := s.a.conf.YARN
	if y.ClientPort == 0 || y.SchedulerPort == 0 || y.WebPort == 0 {
		return "", usagef("yarn.client_port, yarn.scheduler_port and yarn.web_port must be set in Fairway's configuration: Spark cannot find a port that was chosen freely")
	}
	at := net.JoinHostPort(y.Host, strconv.Itoa(y.ClientPort))
	d := net.Dialer{Timeout: 5 * time.Second}
	l, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return "", fmt.Errorf("%w: no resource manager at %s (%w): the broker needs yarn: {enabled: true} in its configuration, and yarn.host and yarn.client_port here must be the broker's",
			api.ErrUnavailable, at, err)
	}
	l.Close()
	folder, err := launch.WriteConfiguration(s.a.conf.HDFS.ConfDir, launch.ResourceManager{Host: y.Host, Client: y.ClientPort, Scheduler: y.SchedulerPort, Admin: y.AdminPort, Web: y.WebPort})
	if err != nil {
		return "", usagef("hdfs.conf_dir: %w", err)
	}
	return folder, nil
}

// arguments are ours and then the user's, which win.
func (s *sparkCommand) arguments() []string {
	args := []string{"--master", "yarn"}
	if s.role != "" {
		args = append(args, "--queue", "root."+strings.ReplaceAll(s.role, "/", "."))
	}
	args = append(args, "--conf", "spark.yarn.appMasterEnv."+resourcemanager.SubmissionVariable+"="+s.submission)
	return append(args, s.words.Spark...)
}

// complete offers Spark's options and the values that are known; all else is a file.
func (s *sparkCommand) complete(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	previous := ""
	if len(args) > 0 {
		previous = args[len(args)-1]
	}
	const only = cobra.ShellCompDirectiveNoFileComp
	switch {
	case previous == "--deploy-mode":
		return []string{"client", "cluster"}, only
	case previous == "--role" || previous == "--queue":
		return s.completeRoles(c), only
	case previous == "-o" || previous == "--format":
		return []string{"table", "json"}, only
	case previous == "--master":
		return []string{"yarn"}, only
	case !strings.HasPrefix(word, "-") || slices.Contains(launch.Options(), previous+"="):
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, n := range launch.Options() {
		if n = strings.TrimSuffix(n, "="); strings.HasPrefix(n, word) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names, only
}

func (s *sparkCommand) completeRoles(c *cobra.Command) []string {
	names, _ := s.a.complete(c, nil, func(ctx context.Context, b *client.Client) (names []string) {
		roles, err := b.ListRoles(ctx, api.Caller{})
		if err != nil {
			return nil
		}
		for _, r := range roles {
			names = append(names, r.Path)
		}
		return names
	})
	return names
}
