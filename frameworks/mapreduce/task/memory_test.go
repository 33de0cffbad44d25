package task

import (
	"testing"

	"fairway/frameworks/mapreduce/spec"
)

// The default container sorts a block of TeraSort's records at once, and heap and arena fit into it together.
func TestBudget(t *testing.T) {
	const container = 256 << 20
	job := &spec.Job{}
	records := int64(128<<20/100 + 1)
	if b := sortBudget(job, container); b < records*(100+2+32) {
		t.Errorf("%d bytes for a block", b)
	}
	for _, kind := range []string{spec.Map, spec.Reduce} {
		for memory := int64(64 << 20); memory <= 8<<30; memory *= 2 {
			arena := int64(0)
			if kind == spec.Map {
				arena = sortBudget(job, memory)
			}
			if h := heapLimit(kind, job, memory); h+arena > memory*95/100 {
				t.Errorf("%s of %d bytes: heap %d, arena %d", kind, memory, h, arena)
			}
		}
	}
	program := &spec.Job{Mapper: spec.Stage{Program: []string{"python3"}}}
	if b := sortBudget(program, container); b > container/2 {
		t.Errorf("a program is left with little beside %d bytes", b)
	}
	job.Conf = map[string]string{"mapreduce.task.io.sort.mb": "10"}
	if b := sortBudget(job, container); b != 10<<20 {
		t.Errorf("io.sort.mb is not honoured: %d", b)
	}
	job.Conf["mapreduce.task.io.sort.mb"] = "100000"
	if b := sortBudget(job, container); b > container {
		t.Errorf("io.sort.mb goes beyond the container: %d", b)
	}
}
