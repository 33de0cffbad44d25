package agent

import (
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/agent/fetch"
	"fairway/agent/sandbox"
	v1 "fairway/broker/api/fairwayv1"
)

// FuzzCheck: what the agent agrees to launch, as frameworks have worded it, names no path outside of its sandbox and fits
// the kernel's and our own bounds.
func FuzzCheck(f *testing.F) {
	for _, s := range []*v1.TaskSpec{
		{Task: &v1.TaskID{Framework: "f-1", Sequence: 1}, JobId: "job-1", Command: &v1.Command{Argv: []string{"sh"}, Env: map[string]string{"A": "b"},
			Files: []*v1.InlineFile{{Target: "conf/a", Content: []byte("x")}}, Uris: []*v1.URI{{Value: "hdfs:///a/b.tar.gz", Extract: true}, {Value: "file:///x", Target: "y"}}}},
		{Task: &v1.TaskID{Framework: "..", Sequence: 1}, Command: &v1.Command{Argv: []string{"sh"}}},
		{Task: &v1.TaskID{Framework: "f", Sequence: 1}, Command: &v1.Command{Argv: []string{"sh"}, Files: []*v1.InlineFile{nil, {Target: "/etc/passwd"}}}},
		{Task: &v1.TaskID{Framework: "f", Sequence: 1}, Command: &v1.Command{Argv: []string{"sh", "a\x00b"}, Uris: []*v1.URI{nil, {Value: "%"}}}},
		{Task: &v1.TaskID{Framework: "f", Sequence: 1}, Service: "yarn"},
		{},
	} {
		b, err := proto.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := new(v1.TaskSpec)
		if proto.Unmarshal(b, s) != nil {
			return
		}
		if err := check(s, nil); err != nil {
			if err.Error() == "" {
				t.Error("refused without a word")
			}
			return
		}
		if !sandbox.ValidName(s.Task.Framework) || s.JobId != "" && !sandbox.ValidName(s.JobId) || len(s.Command.Argv) == 0 {
			t.Errorf("%v", s)
		}
		total := 0
		for _, x := range s.Command.Files {
			if total += len(x.Content); !filepath.IsLocal(x.Target) || total > maxInline {
				t.Errorf("inline file %q, %d bytes so far", x.Target, total)
			}
		}
		for _, u := range s.Command.Uris {
			if target, err := fetch.Target(u); err != nil || !filepath.IsLocal(target) {
				t.Errorf("%v goes to %q, %v", u, target, err)
			}
		}
		for k, v := range s.Command.Env {
			if strings.ContainsAny(k+v, "\x00") || len(k)+len(v) > maxArgument {
				t.Errorf("environment %q=%q", k, v)
			}
		}
	})
}
