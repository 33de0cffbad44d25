package coordinator_test

import (
	"maps"
	"testing"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
)

func wordcount(c *cluster, reduces int) *spec.Job {
	return &spec.Job{Name: "wordcount", Output: "file://" + c.dir + "/out", Mapper: spec.Stage{Function: "wordcount"},
		Combiner: spec.Stage{Function: "sum"}, Reducer: spec.Stage{Function: "sum"}, Reduces: reduces}
}

func TestWordcount(t *testing.T) {
	c := newCluster(t, 2, 2)
	in, want := text(20000)
	job := wordcount(c, 3)
	job.Inputs, job.SplitSize = []string{c.write("in/a.txt", in)}, int64(len(in)/7+1)
	r, err := c.runJob(c.options(job))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.output("out"); !maps.Equal(got, want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
	if r.Phase != v1.JobPhase_JOB_PHASE_SUCCEEDED || counter(r, "TOTAL_LAUNCHED_MAPS") != 7 || counter(r, "TOTAL_LAUNCHED_REDUCES") != 3 ||
		counter(r, "MAP_INPUT_RECORDS") != 20000 || counter(r, "OTHER_LOCAL_MAPS") != 7 {
		t.Errorf("result: %v", r)
	}
}
