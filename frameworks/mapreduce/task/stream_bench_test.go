package task_test

import (
	"os/exec"
	"syscall"
	"testing"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/mapreduce/stream"
)

const (
	wordsPy = `import sys
for line in sys.stdin:
    for word in line.split():
        print("%s\t1" % word)
`
	sumPy = `import sys
last, total = None, 0
for line in sys.stdin:
    word, n = line.rstrip("\n").split("\t")
    if word != last:
        if last is not None:
            print("%s\t%d" % (last, total))
        last, total = word, 0
    total += int(n)
if last is not None:
    print("%s\t%d" % (last, total))
`
)

// BenchmarkStreaming runs whole jobs whose mapper writes a line for each word, in Python, without a combiner. Beside the
// wall time it tells how many cpu seconds the engine took for each job, and how many the programs.
func BenchmarkStreaming(b *testing.B) {
	if _, err := exec.LookPath("python3"); err != nil {
		b.Skip("no python3")
	}
	in := zipfText(b, *benchMiB)
	b.SetBytes(int64(*benchMiB) << 20)
	self, children := cpuSeconds(b, syscall.RUSAGE_SELF), cpuSeconds(b, syscall.RUSAGE_CHILDREN)
	for b.Loop() {
		c := newCluster(b)
		c.memory, c.programs = 512<<20, &stream.Programs{}
		job := spec.Job{
			Inputs: []string{in}, Output: c.newOutput(), Reduces: 2, SplitSize: 16 << 20,
			Mapper:  spec.Stage{Program: []string{"python3", c.write("words.py", wordsPy)}},
			Reducer: spec.Stage{Program: []string{"python3", c.write("sum.py", sumPy)}},
		}
		if err := c.run(job); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpuSeconds(b, syscall.RUSAGE_SELF)-self)/float64(b.N), "engine-cpu-s/op")
	b.ReportMetric((cpuSeconds(b, syscall.RUSAGE_CHILDREN)-children)/float64(b.N), "program-cpu-s/op")
}

func cpuSeconds(b *testing.B, who int) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
