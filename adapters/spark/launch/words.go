package launch

import (
	"fmt"
	"strings"
)

// valued are the options of spark-submit, 3.x and 4.x, that a value follows; switches have none
// (org.apache.spark.launcher.SparkSubmitOptionParser).
var (
	valued = set("--archives --class --conf -c --deploy-mode --driver-class-path --driver-cores --driver-java-options --driver-library-path --driver-memory " +
		"--exclude-packages --executor-cores --executor-memory --files --jars --keytab --kill --master --name --num-executors --packages --principal " +
		"--properties-file --proxy-user --py-files --queue --remote --repositories --status --total-executor-cores")
	switches = set("--help -h --load-spark-defaults --supervise --usage-error --verbose -v --version")
)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// Options are all of Spark's options, for completion; those that a value follows end in "=".
func Options() (names []string) {
	for n := range valued {
		names = append(names, n+"=")
	}
	for n := range switches {
		names = append(names, n)
	}
	return names
}

// Flag is an option that is not Spark's.
type Flag struct {
	Value bool // the next word, or what follows "=", is its value; without one it may still have "=value"
	Set   func(value string) error
}

// Words is a command line of spark-submit.
type Words struct {
	Spark       []string // all of it, as it was written, without the flags that are not Spark's
	Application string   // the program or jar; empty: none was given
	Master      string   // by --master or spark.master; empty: not said
	DeployMode  string
	Queue       string // by --queue
	Help        bool   // ahead of the application
	Info        bool   // Spark only tells something: --version, --status, --kill
	Unknown     string // an option that is not known here: what follows it was not looked at
}

// Split reads a command line. flags are taken out where they stand before the application; after it every word is the
// application's. An option that is known to neither ends the reading: the rest is left to Spark.
func Split(args []string, flags map[string]Flag) (*Words, error) {
	w := &Words{}
	for i := 0; i < len(args); i++ {
		word := args[i]
		name, value, joined := strings.Cut(word, "=")
		if f, ok := flags[name]; ok {
			switch {
			case f.Value && !joined && i+1 == len(args):
				return nil, fmt.Errorf("%s needs a value", name)
			case f.Value && !joined:
				i++
				value = args[i]
			case !f.Value && !joined:
				value = "true"
			}
			if err := f.Set(value); err != nil {
				return nil, fmt.Errorf("%s %s: %w", name, value, err)
			}
			continue
		}
		w.Spark = append(w.Spark, word)
		joined = joined && strings.HasPrefix(word, "--")
		switch {
		case !joined && switches[word]:
			w.Help = w.Help || word == "--help" || word == "-h"
			w.Info = w.Info || word == "--version"
		case joined && valued[name]:
			w.option(name, value)
		case valued[word] && i+1 < len(args):
			i++
			w.Spark = append(w.Spark, args[i])
			w.option(word, args[i])
		case valued[word]: // Spark says that its value is missing
			w.Unknown = word
		case strings.HasPrefix(word, "-"):
			w.Unknown = word
			w.Spark = append(w.Spark, args[i+1:]...)
			return w, nil
		default:
			w.Application = word
			w.Spark = append(w.Spark, args[i+1:]...)
			return w, nil
		}
	}
	return w, nil
}

// option notes what matters here.
func (w *Words) option(name, value string) {
	switch name {
	case "--master":
		w.Master = value
	case "--deploy-mode":
		w.DeployMode = value
	case "--queue":
		w.Queue = value
	case "--kill", "--status":
		w.Info = true
	case "--conf", "-c":
		switch key, v, _ := strings.Cut(value, "="); {
		case key == "spark.master" && w.Master == "":
			w.Master = v
		case key == "spark.submit.deployMode" && w.DeployMode == "":
			w.DeployMode = v
		}
	}
}
