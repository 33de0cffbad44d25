package builtin

import (
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
)

// Register adds the functions of all built-in jobs.
func Register(r *mapreduce.Registry) {
	r.Mapper("wordcount", mapreduce.MapLines(words))
	r.Mapper("grep", func() mapreduce.Mapper { return &grepMap{} })
	r.Reducer("grep", func() mapreduce.Reducer { return &grepReduce{} })
	r.Mapper("lines", func() mapreduce.Mapper { return lineMap{} })
	r.Reducer("lines", func() mapreduce.Reducer { return lineReduce{} })
	r.Mapper("teragen", func() mapreduce.Mapper { return &teraGen{} })
	r.Mapper("teravalidate", func() mapreduce.Mapper { return &validateMap{} })
	r.Reducer("teravalidate", func() mapreduce.Reducer { return &validateReduce{} })
	r.Mapper("pi", mapreduce.Map(piMap))
	r.Reducer("pi", func() mapreduce.Reducer { return &piReduce{} })
}

// Jobs makes a job from its arguments, by name: "wordcount" IN... OUT, "grep" IN OUT REGEX [GROUP], "sort" IN... OUT,
// "teragen" ROWS OUT, "terasort" IN OUT, "teravalidate" IN OUT, "pi" MAPS SAMPLES OUT. An error says how to use it.
var Jobs = map[string]func(args []string) (spec.Job, error){
	"wordcount":    WordCount,
	"grep":         Grep,
	"sort":         Sort,
	"teragen":      TeraGen,
	"terasort":     TeraSort,
	"teravalidate": TeraValidate,
	"pi":           Pi,
}
