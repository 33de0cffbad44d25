package submit

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/spec"
)

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestJobOfStreamingOptions(t *testing.T) {
	dir := t.TempDir()
	script := write(t, filepath.Join(dir, "m.py"), "#!/usr/bin/env python3\n", 0o644)
	job, err := Options{Inputs: []string{"/a,/b", "/c/{x,y}"}, Output: "/out", Mapper: "python3 m.py 'a b'", Combiner: "sum", Reducer: "sum",
		Reduces: -1, Files: []string{script + "#m.py"}, Name: "mine", Role: "batch", Env: map[string]string{"B": "2", "A": "1"},
		Conf: map[string]string{"mapreduce.job.reduces": "3", "mapreduce.task.timeout": "2500", "mapreduce.map.output.compress": "true",
			"mapreduce.map.output.compress.codec": "org.apache.hadoop.io.compress.Lz4Codec"}}.Job(mapreduce.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	want := &spec.Job{Name: "mine", Role: "batch", Inputs: []string{"/a", "/b", "/c/{x,y}"}, Output: "/out",
		Mapper: spec.Stage{Program: []string{"python3", "m.py", "a b"}}, Combiner: spec.Stage{Function: "sum"}, Reducer: spec.Stage{Function: "sum"},
		Reduces: 3, Compress: "lz4", TaskTimeout: int64(2500 * time.Millisecond), Files: []spec.File{{URL: "file://" + script, Target: "m.py"}},
		Conf: job.Conf}
	if !reflect.DeepEqual(job, want) {
		t.Errorf("job\n%+v\nwant\n%+v", job, want)
	}
	if job.Conf["stream.addenvironment"] != "A=1 B=2" {
		t.Errorf("environment %q", job.Conf["stream.addenvironment"])
	}
}

func TestMapOnlyAndIdentity(t *testing.T) {
	base := Options{Inputs: []string{"/in"}, Output: "/out", Mapper: "cat", Reduces: -1}
	job, err := base.Job(mapreduce.NewRegistry())
	if err != nil || job.Reduces != 1 || job.Reducer.Function != "identity" {
		t.Errorf("without a reducer: %+v, %v", job, err)
	}
	for name, change := range map[string]func(*Options){
		"NONE":     func(o *Options) { o.Reducer = "NONE" },
		"zero":     func(o *Options) { o.Reducer, o.Reduces = "cat", 0 },
		"property": func(o *Options) { o.Conf = map[string]string{"mapreduce.job.reduces": "0"} },
	} {
		o := base
		change(&o)
		if job, err := o.Job(nil); err != nil || job.Reduces != 0 || !job.Reducer.None() {
			t.Errorf("%s: %+v, %v", name, job, err)
		}
	}
}

func TestShippedFileBeforeFunction(t *testing.T) {
	script := write(t, filepath.Join(t.TempDir(), "sum"), "#!/bin/sh\n", 0o755)
	job, err := Options{Inputs: []string{"/in"}, Output: "/out", Mapper: "identity", Reducer: "sum", Files: []string{script}, Reduces: -1}.Job(mapreduce.NewRegistry())
	if err != nil || job.Mapper.Function != "identity" || len(job.Reducer.Program) != 1 {
		t.Errorf("%+v, %v", job, err)
	}
}

func TestWrongOptions(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"no input":     {Options{Output: "/o", Mapper: "cat"}, "-input"},
		"no output":    {Options{Inputs: []string{"/i"}, Mapper: "cat"}, "-output"},
		"no mapper":    {Options{Inputs: []string{"/i"}, Output: "/o"}, "-mapper"},
		"open quote":   {Options{Inputs: []string{"/i"}, Output: "/o", Mapper: "sh 'x"}, "-mapper"},
		"missing file": {Options{Inputs: []string{"/i"}, Output: "/o", Mapper: "cat", Files: []string{dir + "/absent.py"}}, "absent.py"},
		"folder":       {Options{Inputs: []string{"/i"}, Output: "/o", Mapper: "cat", Files: []string{dir}}, "-archives"},
		"climbing":     {Options{Inputs: []string{"/i"}, Output: "/o", Mapper: "cat", Files: []string{write(t, dir+"/f", "", 0o644) + "#../f"}}, "sandbox"},
		"reduces":      {Options{Inputs: []string{"/i"}, Output: "/o", Mapper: "cat", Reduces: -1, Conf: map[string]string{"mapreduce.job.reduces": "many"}}, "mapreduce.job.reduces=many"},
		"timeout":      {Options{Inputs: []string{"/i"}, Output: "/o", Mapper: "cat", Conf: map[string]string{"mapreduce.task.timeout": "-1"}}, "milliseconds"},
		"environment":  {Options{Inputs: []string{"/i"}, Output: "/o", Mapper: "cat", Env: map[string]string{"A": "b c"}}, "-cmdenv"},
	} {
		_, err := tc.o.Job(mapreduce.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q in one line", name, err, tc.want)
		}
	}
}

func TestSplitList(t *testing.T) {
	for in, want := range map[string][]string{"a": {"a"}, "a,b": {"a", "b"}, ",a,,b,": {"a", "b"}, "{a,b},c": {"{a,b}", "c"}, "": nil, "}a,b": {"}a", "b"}} {
		if got := splitList(in); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
