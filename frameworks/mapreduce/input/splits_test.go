package input

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// list shows splits as "path offset+length [hosts]".
func list(splits []spec.Split) string {
	var out []string
	for i, s := range splits {
		if s.Index != i {
			out = append(out, "BAD INDEX")
		}
		text := fmt.Sprintf("%s %d+%d", strings.TrimPrefix(s.URL, "mem://nn"), s.Offset, s.Length)
		if s.Whole {
			text += " whole"
		}
		for _, r := range s.Replicas {
			text += " " + r.Host
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestSplits(t *testing.T) {
	data := strings.Repeat("x", 1000)
	m := newMemory(map[string]string{
		"/in/a.txt": data, "/in/b.txt": data[:450], "/in/empty": "", "/in/c.gz": data, "/in/_SUCCESS": "", "/in/.hidden": data,
		"/other/part-1": data[:10], "/other/part-2": data[:20], "/other/_log": data, "/nothing/_SUCCESS": "", "/void/e1": "", "/void/e2": "",
		"/nested/x/one": data[:5], "/nested/x/_t/two": data[:5], "/nested/y": data[:7], "/with[glob": data[:3], "/big": data,
	})
	m.block = 400
	m.hosts = []string{"h1 h2", "h2 h3", "h3 h1"}
	for _, c := range []struct {
		name   string
		inputs string
		size   int64
		conf   string
		want   string
	}{
		{name: "a folder, by block, with slop", inputs: "mem://nn/in",
			want: "/in/a.txt 0+400 h1 h2, /in/a.txt 400+400 h2 h3, /in/a.txt 800+200 h3 h1, /in/b.txt 0+400 h1 h2, /in/b.txt 400+50 h2 h3, /in/c.gz 0+1000 whole h2 h1 h3"},
		{name: "ten percent more is one split", inputs: "mem://nn/in/b.txt", size: 410, want: "/in/b.txt 0+450 h2 h1 h3"},
		{name: "split size", inputs: "mem://nn/big", size: 600, want: "/big 0+600 h2 h1 h3, /big 600+400 h3 h2 h1"},
		{name: "max size", inputs: "mem://nn/big", conf: MaxSizeProperty + "=300",
			want: "/big 0+300 h1 h2, /big 300+300 h2 h3 h1, /big 600+300 h3 h2 h1, /big 900+100 h3 h1"},
		{name: "min size", inputs: "mem://nn/big", conf: MinSizeProperty + "=5000", want: "/big 0+1000 h2 h1 h3"},
		{name: "a glob", inputs: "mem://nn/other/*", want: "/other/part-1 0+10 h1 h2, /other/part-2 0+20 h1 h2"},
		{name: "braces", inputs: "mem://nn/other/part-{1,2}", want: "/other/part-1 0+10 h1 h2, /other/part-2 0+20 h1 h2"},
		{name: "several inputs in their order", inputs: "mem://nn/other/part-2 mem://nn/other/part-1", want: "/other/part-2 0+20 h1 h2, /other/part-1 0+10 h1 h2"},
		{name: "no scheme", inputs: "/other/part-1", want: "/other/part-1 0+10 h1 h2"},
		{name: "only hidden files", inputs: "mem://nn/nothing", want: ""},
		{name: "only empty files", inputs: "mem://nn/void", want: "/void/e1 0+0"},
		{name: "recursive", inputs: "mem://nn/nested", conf: RecursiveProperty + "=true", want: "/nested/x/one 0+5 h1 h2, /nested/y 0+7 h1 h2"},
		{name: "a name with a bracket", inputs: "mem://nn/with[glob", want: "/with[glob 0+3 h1 h2"},
	} {
		job := &spec.Job{Inputs: strings.Fields(c.inputs), SplitSize: c.size, Conf: map[string]string{}}
		if k, v, ok := strings.Cut(c.conf, "="); ok {
			job.Conf[k] = v
		}
		got, err := Splits(context.Background(), m, job)
		if err != nil || list(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", c.name, err, list(got), c.want)
		}
	}
}

func TestSplitsRefuse(t *testing.T) {
	m := newMemory(map[string]string{"/in/x/f": "abc", "/secret/f": "abc", "/snappy/f.snappy": "abc", "/big": strings.Repeat("x", 3<<20)})
	m.deny = "/secret"
	for _, c := range []struct {
		input, conf, want string
		size              int64
		is                error
	}{
		{input: "mem:///missing", want: "input mem:///missing does not exist", is: fs.ErrNotExist},
		{input: "mem:///in/*.csv", want: "matches no file", is: fs.ErrNotExist},
		{input: "mem:///in", want: RecursiveProperty},
		{input: "mem:///secret", want: "input mem:///secret: list folder", is: fs.ErrPermission},
		{input: "mem:///snappy", want: "compress it with gzip", is: storage.ErrUnsupported},
		{input: "mem:///big", size: 1, want: "more than 1048576 splits"},
		{input: "mem:///big", conf: MinSizeProperty + "=many", want: "must be a number of bytes"},
		{input: "mem:///big", size: -1, want: "split size -1"},
		{want: "the job has no input"},
		{input: "relative", want: "not absolute"},
	} {
		job := &spec.Job{SplitSize: c.size, Conf: map[string]string{}}
		if c.input != "" {
			job.Inputs = []string{c.input}
		}
		if k, v, ok := strings.Cut(c.conf, "="); ok {
			job.Conf[k] = v
		}
		_, err := Splits(context.Background(), m, job)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := Splits(context.Background(), m, &spec.Job{InputFormat: None, Maps: 1 << 30}); err == nil {
		t.Error("2^30 maps were taken")
	}
}
