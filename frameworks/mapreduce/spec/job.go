package spec

import "fairway/frameworks/storage"

// Job is a MapReduce job as submitted. It travels as JSON.
type Job struct {
	ID     string   `json:"id,omitempty"` // given by the broker
	Name   string   `json:"name"`
	User   string   `json:"user,omitempty"`
	Role   string   `json:"role,omitempty"`
	Inputs []string `json:"inputs,omitempty"` // URLs of files, folders, globs
	Output string   `json:"output,omitempty"` // URL of a folder that must not exist

	InputFormat  string `json:"input_format,omitempty"`  // text (default), keyvalue, tera, parquet, arrow, none
	OutputFormat string `json:"output_format,omitempty"` // text (default), tera, parquet, arrow, none

	Mapper   Stage `json:"mapper"`
	Combiner Stage `json:"combiner,omitempty"`
	Reducer  Stage `json:"reducer,omitempty"`

	Reduces     int    `json:"reduces"`               // 0: map-only
	Partitioner string `json:"partitioner,omitempty"` // hash (default), total (range partitions from samples)
	// Cuts are the Reduces-1 borders of the total-order partitioner, set by the coordinator from samples.
	Cuts [][]byte `json:"cuts,omitempty"`

	IO    string            `json:"io,omitempty"`   // of programs: text (default), arrow
	Conf  map[string]string `json:"conf,omitempty"` // -D properties, by Hadoop's names
	Files []File            `json:"files,omitempty"`

	MapMemory    int64 `json:"map_memory,omitempty"` // bytes; 0: the engine's default
	ReduceMemory int64 `json:"reduce_memory,omitempty"`
	MapCPU       int64 `json:"map_cpu,omitempty"` // milli-cpu
	ReduceCPU    int64 `json:"reduce_cpu,omitempty"`

	MaxAttempts int    `json:"max_attempts,omitempty"` // of one task; 0: 4
	Speculative bool   `json:"speculative"`
	SplitSize   int64  `json:"split_size,omitempty"`   // bytes; 0: the file's blocks
	NoLocality  bool   `json:"no_locality,omitempty"`  // control runs: state no preferences
	Compress    string `json:"compress,omitempty"`     // of map output: "" (none), lz4, s2, zstd
	TaskTimeout int64  `json:"task_timeout,omitempty"` // ns without progress; 0: 10 min
	Maps        int    `json:"maps,omitempty"`         // with input format none: number of splits
	Staging     string `json:"staging,omitempty"`      // URL of the job's folder
	Secret      []byte `json:"-"`                      // the job's secret, from the environment
}

// Stage is a mapper, combiner or reducer: a program by Hadoop Streaming's conventions, or a Go function by name.
type Stage struct {
	Program  []string `json:"program,omitempty"`  // argv
	Function string   `json:"function,omitempty"` // registered in the binary that runs the task: "wordcount", ...
}

// None reports a stage that is absent.
func (s Stage) None() bool { return len(s.Program) == 0 && s.Function == "" }

// File is shipped into every task's sandbox.
type File struct {
	URL        string `json:"url,omitempty"`
	Content    []byte `json:"content,omitempty"` // small ones travel inside
	Target     string `json:"target"`
	Executable bool   `json:"executable,omitempty"`
	Extract    bool   `json:"extract,omitempty"`
	SHA256     string `json:"sha256,omitempty"`
}

// Split is the input of one map.
type Split struct {
	Index    int               `json:"index"`
	URL      string            `json:"url,omitempty"` // of the file
	Offset   int64             `json:"offset"`
	Length   int64             `json:"length"` // bytes; with input format none: records
	FileSize int64             `json:"file_size,omitempty"`
	Whole    bool              `json:"whole,omitempty"` // the file cannot be cut (compressed)
	Replicas []storage.Replica `json:"replicas,omitempty"`
}

// MapOutput is where one partition of one map's output lies: a byte range of a file in the job's folder on an agent.
type MapOutput struct {
	Map     int    `json:"map"`
	Attempt int    `json:"attempt"`
	Address string `json:"address"` // the agent's data address
	File    string `json:"file"`    // name in the job's folder
	Offset  int64  `json:"offset"`
	Length  int64  `json:"length"`
	Records int64  `json:"records"`
}

// Task kinds.
const (
	Map    = "map"
	Reduce = "reduce"
)
