package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"fairway/broker/api"
	"fairway/conf"
)

// version is set by the linker.
var version = "dev"

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitDenied      = 5
	exitInterrupted = 130
)

// usageError marks an error of the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errInterrupted ends a command that was stopped by a signal and said so already.
var errInterrupted = errors.New("interrupted")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := newRoot()
	root.SetArgs(streamingFlags(os.Args[1:]))
	err := root.ExecuteContext(ctx)
	stop()
	os.Exit(report(err))
}

// report prints an error as one line and gives its exit code.
func report(err error) int {
	if err == nil {
		return 0
	}
	if child, ok := errors.AsType[childError](err); ok {
		return int(child)
	}
	if text := err.Error(); text != "" && !errors.Is(err, errInterrupted) {
		fmt.Fprintln(os.Stderr, "fairway:", strings.TrimSpace(text))
	}
	var usage usageError
	switch {
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"): // cobra's own error has no type
		return exitUsage
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, api.ErrUnavailable):
		return exitUnreachable
	case errors.Is(err, api.ErrNotFound):
		return exitNotFound
	case errors.Is(err, api.ErrDenied):
		return exitDenied
	case errors.Is(err, api.ErrInvalid):
		return exitUsage
	}
	return exitFailed
}

// app is what all commands share.
type app struct {
	configFile string
	broker     string
	tokenFile  string
	output     string
	conf       *conf.Config
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "fairway",
		Short: "Share a cluster between Hadoop, Spark and MapReduce jobs",
		Long: `Fairway shares a cluster's resources fairly between jobs, roles and users, and runs
their tasks where the HDFS blocks lie.

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 no broker answers;
4 not found; 5 not allowed; 130 interrupted.`,
		Example: `  fairway dev                                                      # a cluster on this machine
  fairway submit mapreduce wordcount hdfs:///in hdfs:///out        # a built-in job
  fairway submit mapreduce -input in.txt -output out -mapper 'python3 m.py' -reducer 'python3 r.py' -file m.py -file r.py
  fairway submit spark wordcount.py hdfs:///books                  # your own Spark, without Hadoop configuration
  fairway jobs; fairway explain JOB; fairway logs -f JOB`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if c.Annotations["conf"] == "none" {
				return nil
			}
			if a.output != "table" && a.output != "json" {
				return usagef("-o %s: want table or json", a.output)
			}
			loaded, err := conf.Load(a.configFile, os.Environ())
			if err != nil {
				return usageError{err}
			}
			a.conf = loaded
			if a.broker != "" {
				a.conf.Client.Broker = a.broker
			}
			if a.tokenFile != "" {
				a.conf.Client.TokenFile = a.tokenFile
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w (see '%s --help')", err, c.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config", "", "configuration file (default $FAIRWAY_CONF, else "+conf.SystemFile+")")
	f.StringVar(&a.broker, "broker", "", "broker: unix:///path or host:port (default $FAIRWAY_BROKER, else the local one)")
	f.StringVar(&a.tokenFile, "token-file", "", "file with the broker's token, for a TCP address")
	f.StringVarP(&a.output, "format", "o", "table", "table or json")
	_ = root.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(a.brokerCommand(), a.agentCommand(), a.devCommand(), a.submitCommand(), a.sparkCommands(), a.jobsCommand(), a.jobCommand(),
		a.logsCommand(), a.killCommand(), a.agentsCommand(), a.drainCommand(), a.undrainCommand(), a.rolesCommand(), a.explainCommand(), a.catCommand(), a.flightCommand(),
		a.confCommand(), a.versionCommand())
	root.AddCommand(a.hiddenCommands()...)
	for _, c := range root.Commands() {
		if c.Args == nil && !c.HasSubCommands() {
			c.Args = cobra.NoArgs
		}
		wrapArgs(c)
	}
	return root
}

// wrapArgs makes a wrong number of arguments a usage error.
func wrapArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
	if c.Args == nil {
		return
	}
	check := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usagef("%w (usage: %s)", err, c.UseLine())
		}
		return nil
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Example: "  fairway version\n  fairway version -o json",
		Annotations: map[string]string{"conf": "none"}, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.output == "json" {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), "fairway", version)
			return err
		}}
}

func (a *app) confCommand() *cobra.Command {
	return &cobra.Command{Use: "conf", Short: "Print a commented sample configuration", Args: cobra.NoArgs,
		Example: "  fairway conf > fairway.yaml", Annotations: map[string]string{"conf": "none"},
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(c.OutOrStdout(), conf.Sample)
			return err
		}}
}

// reload reads the configuration again, as it was found at the start.
func (a *app) reload() (*conf.Config, error) { return conf.Load(a.configFile, os.Environ()) }
