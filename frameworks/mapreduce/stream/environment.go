package stream

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
)

// maxVariable is the longest variable that Linux hands to a program (MAX_ARG_STRLEN less the end).
const maxVariable = 128<<10 - 1

// withheld from programs: PYTHONUNBUFFERED makes a print for each word three times slower, the Go runtime's knobs are
// set for the task process, and the broker's token and the job's secret are none of a program's business.
var withheld = []string{
	"PYTHONUNBUFFERED", "GOMEMLIMIT", "GOGC", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK",
	"FAIRWAY_TOKEN_FILE", "FAIRWAY_SECRET_FILE",
}

// environment is what a program sees: the base, the job's properties with every character but letters and digits
// turned into _, what Hadoop tells of the task under the new and the old names, and what the user added.
func (p *Programs) environment(cx *mapreduce.Context) []string {
	base := p.Env
	if base == nil {
		base = os.Environ()
	}
	vars := make(map[string]string, len(base)+len(cx.Job.Conf)+32)
	for _, kv := range base {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" && !slices.Contains(withheld, name) {
			vars[name] = value
		}
	}
	for name, value := range cx.Job.Conf {
		vars[variable(name)] = value
	}
	for name, value := range taskProperties(cx) {
		vars[variable(name)] = value
	}
	for _, kv := range strings.Fields(cx.Job.Conf[addEnvironment]) {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			vars[name] = value
		}
	}
	env := make([]string, 0, len(vars))
	for name, value := range vars {
		kv := name + "=" + value
		if len(kv) <= maxVariable && strings.IndexByte(kv, 0) < 0 {
			env = append(env, kv)
		}
	}
	slices.Sort(env)
	return env
}

// variable is the name of the environment variable of a property.
func variable(property string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, property)
}

// taskProperties are the properties that Hadoop sets for each attempt.
func taskProperties(cx *mapreduce.Context) map[string]string {
	job := cx.Job
	letter := "r"
	if cx.Kind == spec.Map {
		letter = "m"
	}
	number := strings.TrimPrefix(job.ID, "job_")
	task := fmt.Sprintf("task_%s_%s_%06d", number, letter, cx.Index)
	attempt := fmt.Sprintf("attempt_%s_%s_%06d_%d", number, letter, cx.Index, cx.Attempt)
	index, isMap := strconv.Itoa(cx.Index), strconv.FormatBool(cx.Kind == spec.Map)
	reduces := strconv.Itoa(job.Reduces)
	props := map[string]string{
		"mapreduce.job.id":                            job.ID,
		"mapreduce.job.name":                          job.Name,
		"mapreduce.job.user.name":                     job.User,
		"mapreduce.job.reduces":                       reduces,
		"mapreduce.task.id":                           task,
		"mapreduce.task.attempt.id":                   attempt,
		"mapreduce.task.partition":                    index,
		"mapreduce.task.ismap":                        isMap,
		"mapreduce.input.fileinputformat.inputdir":    strings.Join(job.Inputs, ","),
		"mapreduce.output.fileoutputformat.outputdir": job.Output,
		"mapred.job.id":                               job.ID,
		"mapred.job.name":                             job.Name,
		"mapred.reduce.tasks":                         reduces,
		"mapred.tip.id":                               task,
		"mapred.task.id":                              attempt,
		"mapred.task.partition":                       index,
		"mapred.task.is.map":                          isMap,
	}
	if cx.Split != nil && cx.Kind == spec.Map {
		start, length := strconv.FormatInt(cx.Split.Offset, 10), strconv.FormatInt(cx.Split.Length, 10)
		for _, prefix := range []string{"mapreduce.map.input.", "map.input."} {
			props[prefix+"file"], props[prefix+"start"], props[prefix+"length"] = cx.Split.URL, start, length
		}
	}
	return props
}
