package submit

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/stream"
)

// Options is a job as its user states it, by Hadoop Streaming's names.
type Options struct {
	Name         string
	Role, User   string
	Inputs       []string // -input
	Output       string   // -output
	Mapper       string   // -mapper: a command line, or a registered function
	Combiner     string
	Reducer      string            // "": the identity, as in Hadoop; NONE: no reduces
	Reduces      int               // -numReduceTasks; negative: mapreduce.job.reduces, or 1
	Files        []string          // -file: local paths (path#name renames), shipped to every task
	Archives     []string          // -archives: unpacked in the sandbox, in a folder of the archive's name (path#name)
	Conf         map[string]string // -D
	Env          map[string]string // -cmdenv
	InputFormat  string
	OutputFormat string
	Partitioner  string
	IO           string // "text", "arrow"
	Compress     string // of map output
	NoLocality   bool
}

// Properties of Hadoop that stand for options.
const (
	reducesProperty  = "mapreduce.job.reduces"
	nameProperty     = "mapreduce.job.name"
	queueProperty    = "mapreduce.job.queuename"
	timeoutProperty  = "mapreduce.task.timeout" // milliseconds; 0: none
	compressProperty = "mapreduce.map.output.compress"
	codecProperty    = "mapreduce.map.output.compress.codec"
	envProperty      = "stream.addenvironment"
)

// Job makes a job of the options; an error names the option that is wrong. reg decides which mappers and reducers are
// functions; nil: none.
func (o Options) Job(reg *mapreduce.Registry) (*spec.Job, error) {
	if o.Output == "" && o.OutputFormat != "none" {
		return nil, errors.New("no output: give -output FOLDER")
	}
	if len(o.Inputs) == 0 && o.InputFormat != "none" {
		return nil, errors.New("no input: give -input FILE, FOLDER or GLOB")
	}
	if o.Mapper == "" {
		return nil, errors.New("no mapper: give -mapper PROGRAM or the name of a function")
	}
	job := &spec.Job{Reduces: 1, Reducer: spec.Stage{Function: "identity"}}
	for _, i := range o.Inputs {
		job.Inputs = append(job.Inputs, splitList(i)...)
	}
	job.Output = o.Output
	var err error
	if job.Mapper, err = o.stage("mapper", o.Mapper, func(n string) error { _, e := reg.FindMapper(n); return e }, reg); err != nil {
		return nil, err
	}
	if o.Combiner != "" {
		if job.Combiner, err = o.stage("combiner", o.Combiner, func(n string) error { _, e := reg.FindCombiner(n); return e }, reg); err != nil {
			return nil, err
		}
	}
	if o.Reducer != "" && o.Reducer != "NONE" {
		if job.Reducer, err = o.stage("reducer", o.Reducer, func(n string) error { _, e := reg.FindReducer(n); return e }, reg); err != nil {
			return nil, err
		}
	}
	if err := o.Over(job); err != nil {
		return nil, err
	}
	if job.Name == "" {
		job.Name = "streaming: " + o.Mapper
	}
	return job, nil
}

// classes are Hadoop's names of what is built in.
var classes = map[string]string{
	"org.apache.hadoop.mapred.lib.IdentityMapper":          "identity",
	"org.apache.hadoop.mapred.lib.IdentityReducer":         "identity",
	"org.apache.hadoop.mapreduce.Mapper":                   "identity",
	"org.apache.hadoop.mapreduce.Reducer":                  "identity",
	"org.apache.hadoop.mapred.lib.LongSumReducer":          "sum",
	"org.apache.hadoop.mapreduce.lib.reduce.IntSumReducer": "sum",
}

// stage is a function if one word names one that no shipped file bears too, else a program.
func (o Options) stage(what, line string, find func(string) error, reg *mapreduce.Registry) (spec.Stage, error) {
	if f, ok := classes[line]; ok {
		return spec.Stage{Function: f}, nil
	}
	argv, err := stream.SplitCommand(line)
	if err != nil {
		return spec.Stage{}, fmt.Errorf("-%s: %w", what, err)
	}
	if len(argv) == 1 && reg != nil && !o.ships(argv[0]) && find(argv[0]) == nil {
		return spec.Stage{Function: argv[0]}, nil
	}
	return spec.Stage{Program: argv}, nil
}

func (o Options) ships(name string) bool {
	return slices.ContainsFunc(o.Files, func(f string) bool {
		for _, f := range splitList(f) {
			if _, target := splitTarget(f); target == name {
				return true
			}
		}
		return false
	})
}

// Over applies the options that were given to a job that was made otherwise, such as a built-in one.
func (o Options) Over(job *spec.Job) error {
	if job.Conf == nil {
		job.Conf = map[string]string{}
	}
	maps.Copy(job.Conf, o.Conf)
	set := func(dst *string, v string) {
		if v != "" {
			*dst = v
		}
	}
	set(&job.Name, job.Conf[nameProperty])
	set(&job.Role, job.Conf[queueProperty])
	for _, x := range []struct {
		dst *string
		v   string
	}{{&job.Name, o.Name}, {&job.Role, o.Role}, {&job.User, o.User}, {&job.InputFormat, o.InputFormat}, {&job.OutputFormat, o.OutputFormat},
		{&job.Partitioner, o.Partitioner}, {&job.IO, o.IO}, {&job.Compress, o.Compress}} {
		set(x.dst, x.v)
	}
	job.NoLocality = job.NoLocality || o.NoLocality
	switch {
	case o.Reducer == "NONE":
		job.Reduces = 0
	case o.Reduces >= 0:
		job.Reduces = o.Reduces
	case job.Conf[reducesProperty] != "":
		n, err := strconv.Atoi(job.Conf[reducesProperty])
		if err != nil || n < 0 {
			return fmt.Errorf("-D %s=%s: want a number of reduces", reducesProperty, job.Conf[reducesProperty])
		}
		job.Reduces = n
	}
	if job.Reduces == 0 {
		job.Reducer, job.Combiner = spec.Stage{}, spec.Stage{}
	}
	if v, ok := job.Conf[timeoutProperty]; ok && job.TaskTimeout == 0 {
		ms, err := strconv.ParseInt(v, 10, 64)
		if err != nil || ms < 0 || ms > int64(1<<40) {
			return fmt.Errorf("-D %s=%s: want milliseconds, 0 for none", timeoutProperty, v)
		}
		if job.TaskTimeout = ms * int64(time.Millisecond); ms == 0 {
			job.TaskTimeout = -1
		}
	}
	if job.Compress == "" && job.Conf[compressProperty] == "true" {
		job.Compress = codecName(job.Conf[codecProperty])
	}
	if err := o.environment(job); err != nil {
		return err
	}
	for _, list := range []struct {
		flag    string
		paths   []string
		extract bool
	}{{"-file", o.Files, false}, {"-archives", o.Archives, true}} {
		for _, p := range list.paths {
			for _, p := range splitList(p) {
				f, err := localFile(p, list.extract)
				if err != nil {
					return fmt.Errorf("%s %s: %w", list.flag, p, err)
				}
				job.Files = append(job.Files, f)
			}
		}
	}
	return nil
}

// environment hands -cmdenv to the programs in the way of Hadoop Streaming, as a property of words NAME=VALUE.
func (o Options) environment(job *spec.Job) error {
	for _, k := range slices.Sorted(maps.Keys(o.Env)) {
		v := o.Env[k]
		if strings.ContainsAny(k+v, " \t\r\n\x00") || strings.Contains(k, "=") {
			return fmt.Errorf("-cmdenv %s=%s: names and values may not hold white space", k, v)
		}
		job.Conf[envProperty] = strings.TrimSpace(job.Conf[envProperty] + " " + k + "=" + v)
	}
	return nil
}

// codecName is our name of a codec that Hadoop's class names.
func codecName(class string) string {
	switch {
	case strings.Contains(class, "Lz4"):
		return "lz4"
	case strings.Contains(class, "Snappy"):
		return "s2"
	}
	return "zstd"
}

// splitList cuts a list at commas, as Hadoop's options have it; a comma inside of {} belongs to a glob.
func splitList(s string) []string {
	var out []string
	depth, start := 0, 0
	for i, c := range s {
		switch {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == ',' && depth <= 0:
			if i > start {
				out = append(out, s[start:i])
			}
			start = i + 1
		}
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

// splitTarget cuts "path#name"; without a name it is the path's last element.
func splitTarget(p string) (file, target string) {
	if i := strings.LastIndexByte(p, '#'); i >= 0 && i+1 < len(p) {
		return p[:i], p[i+1:]
	}
	return p, path.Base(filepath.ToSlash(p))
}

// localFile describes a file to ship, as a file:// URL of this machine until it is staged. URLs of other schemes are
// fetched by the agents from where they are.
func localFile(p string, extract bool) (spec.File, error) {
	file, target := splitTarget(p)
	f := spec.File{Target: target, Extract: extract}
	if !inside(target) {
		return f, fmt.Errorf("the name %q does not lie in the sandbox", target)
	}
	if strings.Contains(file, "://") && !strings.HasPrefix(file, "file://") {
		f.URL = file
		return f, nil
	}
	abs, err := filepath.Abs(strings.TrimPrefix(file, "file://"))
	if err != nil {
		return f, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return f, errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return f, errors.New("it is no regular file; pack a folder into an archive for -archives")
	}
	f.URL, f.Executable = "file://"+abs, info.Mode()&0o111 != 0
	return f, nil
}

// inside reports whether a target stays within the sandbox.
func inside(target string) bool {
	return filepath.IsLocal(target) && path.Clean(target) != "." && !strings.ContainsRune(target, 0)
}
