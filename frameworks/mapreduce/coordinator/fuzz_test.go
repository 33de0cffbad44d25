package coordinator

import (
	"strings"
	"testing"
)

func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"job":{"name":"x","reduces":2,"mapper":{"function":"wordcount"}},"argv":["fairway-job"],"binary":{"url":"/x","target":"fairway-job"}}`))
	f.Add([]byte(`{"job":{"reduces":-1}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDescription(b)
		if err != nil {
			return
		}
		if d.Job == nil || d.Job.Reduces < 0 || d.Job.Maps < 0 {
			t.Errorf("took %s", b)
		}
		d.Command()
		a, r := Shapes(d.Job)
		if a.MemoryBytes <= 0 || r.MemoryBytes <= 0 || a.CpuMilli <= 0 || r.CpuMilli <= 0 {
			t.Errorf("shapes %v, %v", a, r)
		}
		if set, err := filesOf(d.Job, nil); err == nil {
			for _, u := range set.uris {
				if strings.HasPrefix(u.Target, "/") {
					t.Errorf("target %q", u.Target)
				}
			}
		}
	})
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"cuts":["YQ=="],"maps":[{"url":"/in","length":5,"file":"m1","address":"h:1","partitions":[[0,5,1]]}]}`))
	f.Add([]byte(`{"maps":[{"file":"../../etc/passwd"},{"file":"a","partitions":[[-1,0,0]]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := parseJournal(b)
		if err != nil {
			return
		}
		for _, m := range j.Maps {
			if strings.Contains(m.File, "/") || m.File == "" || m.File == ".." || m.Index < 0 || m.Attempt < 0 {
				t.Errorf("took %+v", m)
			}
		}
	})
}
