package builtin

import (
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
)

// Register adds the functions of all built-in jobs.
func Register(r *mapreduce.Registry) {
	r.Mapper("wordcount", mapreduce.MapLines(words))
}

// Jobs makes a job from its arguments, by name: "wordcount" IN... OUT, "grep" IN OUT REGEX [GROUP], "sort" IN... OUT,
// "teragen" ROWS OUT, "terasort" IN OUT, "teravalidate" IN OUT, "pi" MAPS SAMPLES OUT. An error says how to use it.
var Jobs = map[string]func(args []string) (spec.Job, error){
	"wordcount": WordCount,
}
