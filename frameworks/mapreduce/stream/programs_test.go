package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage/local"
)

// recorder is a reporter and an emitter that remember.
type recorder struct {
	counters spec.Counters
	status   string
	fraction float64
	lines    []string
	fail     error
	bytes    int64
	quiet    bool
}

func (r *recorder) Progress(f float64)       { r.fraction = f }
func (r *recorder) Status(s string)          { r.status = s }
func (r *recorder) Counters() *spec.Counters { return &r.counters }

func (r *recorder) Emit(key, value []byte) error {
	r.bytes += int64(len(key) + len(value) + 2)
	if !r.quiet {
		r.lines = append(r.lines, fmt.Sprintf("%s=%s", key, value))
	}
	return r.fail
}

func (r *recorder) EmitInt(key []byte, n int64) error {
	return r.Emit(key, strconv.AppendInt(nil, n, 10))
}

type bench struct {
	testing.TB
	*recorder
	job      *spec.Job
	cx       *mapreduce.Context
	programs Programs
	stderr   bytes.Buffer
}

// setUp makes a map task over a file of the given content.
func setUp(t testing.TB, content string) (*bench, input.Reader) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "input.txt")
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	n := int64(len(content))
	split := spec.Split{URL: "file://" + name, Length: n, FileSize: n}
	r, err := input.Open(context.Background(), input.Text, local.New(), name, split, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	b := &bench{TB: t, recorder: &recorder{}, job: &spec.Job{ID: "job_7_0001", Name: "test", Conf: map[string]string{}}}
	b.cx = &mapreduce.Context{
		Context: context.Background(), Job: b.job, Kind: spec.Map, Index: 3, Attempt: 1, Split: &split, Sandbox: dir, Reporter: b.recorder,
	}
	b.programs = Programs{Stderr: &b.stderr}
	return b, r
}

func (b *bench) script(name, text string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.cx.Sandbox, name), []byte(text), 0o755); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) mapWith(in mapreduce.Records, argv ...string) error {
	return b.programs.Map(b.cx, spec.Stage{Program: argv}, in, b.recorder)
}

type records struct {
	all [][2]string
	i   int
}

func (r *records) Next() (key, value []byte, err error) {
	if r.i == len(r.all) {
		return nil, nil, io.EOF
	}
	r.i++
	return []byte(r.all[r.i-1][0]), []byte(r.all[r.i-1][1]), nil
}

func TestCat(t *testing.T) {
	b, in := setUp(t, "one\ttwo\tthree\r\nalone\n\n\tempty key\nno end")
	if err := b.mapWith(in, "cat"); err != nil {
		t.Fatal(err)
	}
	want := []string{"one=two\tthree", "alone=", "=", "=empty key", "no end="}
	if fmt.Sprintf("%q", b.lines) != fmt.Sprintf("%q", want) {
		t.Errorf("%q, want %q", b.lines, want)
	}
	if b.fraction < 0.9 {
		t.Errorf("progress %v", b.fraction)
	}
}

func TestSeparatorsAndKeyFields(t *testing.T) {
	b, in := setUp(t, "a.b.c.d\na.b\n")
	b.job.Conf[mapOutputSeparator] = "."
	b.job.Conf[mapOutputKeyFields] = "2"
	if err := b.mapWith(in, "cat"); err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(b.lines); s != "[a.b=c.d a.b=]" {
		t.Error(s)
	}
	b.job.Conf[mapOutputKeyFields] = "0"
	if err := b.mapWith(in, "cat"); err == nil || !strings.Contains(err.Error(), mapOutputKeyFields) {
		t.Error(err)
	}
}

func TestMapperInPython(t *testing.T) {
	b, in := setUp(t, strings.Repeat("the quick brown fox\n", 5000))
	b.script("mapper.py", `#!/usr/bin/env python3
import sys
n = 0
for line in sys.stdin:
    for w in line.split():
        print("%s\t%d" % (w, 1))
        n += 1
sys.stderr.write("reporter:counter:My, group,words, seen,%d\n" % n)
sys.stderr.write("reporter:status:nearly there\n")
sys.stderr.write("just talk\nreporter:counter:broken\n")
`)
	b.programs.CacheDir = t.TempDir()
	if err := b.mapWith(in, "mapper.py"); err != nil {
		t.Fatal(err)
	}
	sort.Strings(b.lines)
	if len(b.lines) != 20000 || b.lines[0] != "brown=1" || b.lines[19999] != "the=1" {
		t.Errorf("%d lines", len(b.lines))
	}
	if n := b.counters.Get("My", " group,words, seen").Load(); n != 20000 {
		t.Errorf("counter %d of %v", n, b.counters.Snapshot())
	}
	if b.status != "nearly there" || b.stderr.String() != "just talk\nreporter:counter:broken\n" {
		t.Errorf("status %q, stderr %q", b.status, b.stderr.String())
	}
}

func TestReducerGetsSortedLines(t *testing.T) {
	b, _ := setUp(t, "")
	b.cx.Kind, b.cx.Split = spec.Reduce, nil
	b.script("sum.py", `import sys
last, total = None, 0
for line in sys.stdin:
    k, v = line.rstrip("\n").split("\t")
    if k != last and last is not None:
        sys.stdout.write("%s\t%d\n" % (last, total))
        total = 0
    last = k
    total += int(v)
if last is not None:
    sys.stdout.write("%s\t%d\n" % (last, total))
`)
	in := &records{all: [][2]string{{"a", "1"}, {"a", "2"}, {"b", "5"}}}
	if err := b.programs.Reduce(b.cx, spec.Stage{Program: []string{"python3", "sum.py"}}, in, b.recorder); err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(b.lines); s != "[a=3 b=5]" {
		t.Error(s)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PYTHONUNBUFFERED", "1")
	t.Setenv("FAIRWAY_TOKEN_FILE", "/secret")
	t.Setenv("KEPT", "yes")
	b, in := setUp(t, "x\n")
	b.job.Conf["my.own-property"] = "v w"
	b.job.Conf["huge"] = strings.Repeat("x", 200<<10)
	b.job.Conf[addEnvironment] = "FOO=bar BAZ=a=b"
	b.job.Reduces = 4
	if err := b.mapWith(in, "sh", "-c", "cat >/dev/null; env"); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, l := range b.lines {
		got[strings.TrimSuffix(l, "=")] = true
	}
	for _, want := range []string{
		"KEPT=yes", "my_own_property=v w", "FOO=bar", "BAZ=a=b", "mapreduce_job_id=job_7_0001", "mapreduce_job_reduces=4",
		"mapreduce_task_id=task_7_0001_m_000003", "mapreduce_task_attempt_id=attempt_7_0001_m_000003_1", "mapreduce_task_partition=3",
		"mapreduce_task_ismap=true", "mapreduce_map_input_file=" + b.cx.Split.URL, "map_input_file=" + b.cx.Split.URL,
		"mapreduce_map_input_start=0", "mapreduce_map_input_length=2", "mapred_task_partition=3",
	} {
		if !got[want] {
			t.Errorf("no %s in %q", want, b.lines)
		}
	}
	for _, l := range b.lines {
		if strings.Contains(l, "UNBUFFERED") || strings.HasPrefix(l, "FAIRWAY_TOKEN") || strings.HasPrefix(l, "huge") {
			t.Errorf("the environment has %.40s", l)
		}
	}
}

func TestFailureBearsTheLastLinesOfStderr(t *testing.T) {
	b, in := setUp(t, strings.Repeat("line\n", 100))
	err := b.mapWith(in, "sh", "-c", "cat >/dev/null; i=1; while [ $i -le 30 ]; do echo line $i >&2; i=$((i+1)); done; exit 3")
	var pe *ProgramError
	if !errors.As(err, &pe) || len(pe.Stderr) != 20 || pe.Stderr[0] != "line 11" || pe.Stderr[19] != "line 30" {
		t.Fatalf("%v", err)
	}
	for _, s := range []string{"mapper", "code 3", b.cx.Split.URL, "byte 500", "\n  line 30"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q is not in: %v", s, err)
		}
	}
	b.job.Conf[exitCodeProperty] = "false"
	_, in = setUp(t, "x\n")
	if err := b.mapWith(in, "sh", "-c", "cat; exit 3"); err != nil {
		t.Error(err)
	}
	if err := b.mapWith(in, "sh", "-c", "kill -9 $$"); err == nil || !strings.Contains(err.Error(), "signal 9") {
		t.Error(err)
	}
}

func TestProgramsThatDoNotReadTheirInput(t *testing.T) {
	big := strings.Repeat("a line of some length\n", 50_000)
	for _, content := range []string{"small\n", big} {
		b, in := setUp(t, content)
		err := b.mapWith(in, "sh", "-c", "echo I do not care >&2")
		if err == nil || !strings.Contains(err.Error(), "without reading its input") || !strings.Contains(err.Error(), "I do not care") {
			t.Errorf("nothing read of %d: %v", len(content), err)
		}
		b, in = setUp(t, content)
		b.job.Conf[UnreadProperty] = "true"
		if err := b.mapWith(in, "echo", "made\tup"); err != nil || fmt.Sprint(b.lines) != "[made=up]" {
			t.Errorf("allowed: %v %q", err, b.lines)
		}
		b, in = setUp(t, content)
		if err := b.mapWith(in, "head", "-n", "1"); err != nil || len(b.lines) != 1 {
			t.Errorf("head: %v, %q", err, b.lines)
		}
		b, in = setUp(t, content)
		if err := b.mapWith(in, "sh", "-c", "exit 1"); err == nil || !strings.Contains(err.Error(), "code 1") {
			t.Errorf("exit 1: %v", err)
		}
	}
	b, in := setUp(t, "")
	if err := b.mapWith(in, "true"); err != nil {
		t.Errorf("no input to read: %v", err)
	}
}

func TestSilentProgramIsCutOffWithItsStderr(t *testing.T) {
	for _, command := range []string{
		"echo hanging here >&2; exec sleep 1000",          // never reads
		"cat >/dev/null; echo hanging here >&2; sleep 30", // never ends, and its child holds the pipes (and outlives the test a little)
	} {
		b, in := setUp(t, strings.Repeat("line\n", 100_000))
		b.job.TaskTimeout = int64(1500 * time.Millisecond)
		err := b.mapWith(in, "sh", "-c", command)
		var pe *ProgramError
		if !errors.As(err, &pe) || !strings.Contains(err.Error(), "neither read") || fmt.Sprint(pe.Stderr) != "[hanging here]" {
			t.Errorf("%s: %v", command, err)
		}
	}
}

// slowInput takes longer than the program's timeout for one record: nobody's fault.
type slowInput struct {
	records
	wait time.Duration
}

func (s *slowInput) Next() (key, value []byte, err error) {
	if s.i == 1 {
		<-time.After(s.wait)
	}
	return s.records.Next()
}

func TestSlowInputIsNotTheProgramsSilence(t *testing.T) {
	b, _ := setUp(t, "")
	b.job.TaskTimeout = int64(time.Second)
	in := &slowInput{records{all: [][2]string{{"a", "1"}, {"b", "2"}}}, 1300 * time.Millisecond}
	if err := b.programs.Reduce(b.cx, spec.Stage{Program: []string{"cat"}}, in, b.recorder); err != nil || len(b.lines) != 2 {
		t.Errorf("%v, %q", err, b.lines)
	}
}

func TestContextEndsTheProgram(t *testing.T) {
	b, in := setUp(t, "x\n")
	ctx, cancel := context.WithCancelCause(context.Background())
	b.cx.Context = ctx
	b.script("p", "#!/bin/sh\ncat >/dev/null\necho ready\nexec sleep 1000\n")
	out := &cancelling{recorder: b.recorder, cancel: func() { cancel(errors.New("the user asked")) }}
	err := b.programs.Map(b.cx, spec.Stage{Program: []string{"./p"}}, in, out)
	if err == nil || !strings.Contains(err.Error(), "the user asked") {
		t.Error(err)
	}
}

type cancelling struct {
	*recorder
	cancel func()
}

func (c *cancelling) Emit(key, value []byte) error { c.cancel(); return nil }

func TestErrorsOfInputAndEmitterPass(t *testing.T) {
	b, in := setUp(t, strings.Repeat("line\n", 200_000))
	b.fail = errors.New("disk full")
	if err := b.mapWith(in, "cat"); err != b.fail {
		t.Errorf("emitter: %v", err)
	}
	b, _ = setUp(t, "")
	bad := errors.New("block lost")
	if err := b.mapWith(broken{bad}, "cat"); err != bad {
		t.Errorf("input: %v", err)
	}
}

type broken struct{ err error }

func (b broken) Next() (key, value []byte, err error) { return nil, nil, b.err }

func TestThingsThatAreNoPrograms(t *testing.T) {
	b, in := setUp(t, "x\n")
	os.WriteFile(filepath.Join(b.cx.Sandbox, "plain.py"), []byte("print(1)\n"), 0o644)
	b.script("garbage", "\x01\x02\x03 no program\n")
	b.script("lost", "#!/no/such/interpreter\n")
	os.Mkdir(filepath.Join(b.cx.Sandbox, "folder"), 0o755)
	for _, c := range []struct {
		argv []string
		want string
		is   error
	}{
		{[]string{"no-such-program"}, "-file no-such-program", os.ErrNotExist},
		{[]string{"./missing.py"}, "there is no ./missing.py", os.ErrNotExist},
		{[]string{"/no/where/x"}, "there is no /no/where/x", os.ErrNotExist},
		{[]string{"plain.py"}, `python3 plain.py`, os.ErrPermission},
		{[]string{"garbage"}, "is no program", syscall.ENOEXEC},
		{[]string{"lost"}, "interpreter", syscall.ENOENT},
		{[]string{"folder"}, "is a folder", nil},
		{[]string{""}, "is empty", nil},
	} {
		err := b.mapWith(in, c.argv...)
		var pe *ProgramError
		if !errors.As(err, &pe) || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%q: %v", c.argv, err)
		}
	}
}

func TestOutputWithoutEnd(t *testing.T) {
	b, in := setUp(t, "x\n")
	cut, err := newCutter(nil, mapOutputSeparator, mapOutputKeyFields)
	if err != nil || cut.longest != maxLine {
		t.Fatal(err, cut.longest)
	}
	cut.longest = 1 << 20
	stage := spec.Stage{Program: []string{"sh", "-c", "cat >/dev/null; exec head -c 3000000 /dev/zero"}}
	err = b.programs.newRun(b.cx, "mapper", stage).run(mapFeed(b.cx, in), cut.drain(b.recorder))
	if err == nil || !strings.Contains(err.Error(), "line of more than 1048576 bytes") {
		t.Error(err)
	}
}

func TestShimIsResolvedOnce(t *testing.T) {
	b, _ := setUp(t, "")
	dir, cache := t.TempDir(), t.TempDir()
	real := lookPath("sh", os.Environ())
	shim := filepath.Join(dir, "python3")
	script := fmt.Sprintf("#!/bin/sh\n# like pyenv\necho x >> %s/asked\nprintf %%s %s\n", dir, real)
	if err := os.WriteFile(shim, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + dir + ":/usr/bin:/bin"}
	b.programs.CacheDir = cache
	for range 2 {
		interpreters.Clear() // as in another task's process
		argv, env, err := b.programs.find(b.cx, []string{"python3", "x.py"}, env)
		if err != nil || argv[0] != real || !strings.HasPrefix(getVariable(env, "PATH"), filepath.Dir(real)+":") {
			t.Fatalf("%q %q %v", argv, env, err)
		}
	}
	if asked, _ := os.ReadFile(filepath.Join(dir, "asked")); string(asked) != "x\n" {
		t.Errorf("asked %q", asked)
	}
}

func TestNoFileStaysOpen(t *testing.T) {
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(names)
	}
	b, _ := setUp(t, "")
	run := func(argv ...string) {
		b.programs.Reduce(b.cx, spec.Stage{Program: argv}, &records{all: [][2]string{{"a", "1"}}}, b.recorder)
	}
	run("cat")
	before := open()
	for range 20 {
		run("cat")
		run("false")
		run("no-such-program")
	}
	if after := open(); after > before {
		t.Errorf("%d files open, before %d", after, before)
	}
}

func TestSplitCommand(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`cat`, `["cat"]`},
		{`  python3  m.py -x "a b" `, `["python3" "m.py" "-x" "a b"]`},
		{`awk '{print $1 "\t" 1}'`, `["awk" "{print $1 \"\\t\" 1}"]`},
		{`a\ b "q\"q" '\' "" x"y"z`, `["a b" "q\"q" "\\" "" "xyz"]`},
		{`sed "s/\t/ /"`, `["sed" "s/\\t/ /"]`},
		{``, `[]: the command is empty`},
		{`a "b`, `[]: command "a \"b": the " quote is not closed`},
		{`a \`, `[]: command "a \\" ends in a backslash`},
	} {
		args, err := SplitCommand(c.in)
		got := fmt.Sprintf("%q", args)
		if err != nil {
			got += ": " + err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.in, got, c.want)
		}
	}
}

func FuzzSplitCommand(f *testing.F) {
	for _, s := range []string{`a 'b c' "d\"" \e`, `''`, `a\`, `"`, "a\x00", "\t \n", `'it'"'"'s'`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args, err := SplitCommand(s)
		if err != nil {
			return
		}
		// Quoted, the same arguments come out again.
		var line strings.Builder
		for _, a := range args {
			line.WriteString(" '" + strings.ReplaceAll(a, "'", `'"'"'`) + "'")
		}
		if again, err := SplitCommand(line.String()); err != nil || !slices.Equal(again, args) {
			t.Errorf("%q is %q, and that quoted %q, %v", s, args, again, err)
		}
	})
}

func FuzzReporter(f *testing.F) {
	for _, s := range []string{"counter:g,n,1", "counter:g,n,x", "status:hello", "counter:,,", "counter:a,b,9223372036854775808", "counter:g,a,b,1",
		"status:\xff", "counter:g,n,1\nreporter:counter:g,n,1\ntalk\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rec := &recorder{}
		var talk bytes.Buffer
		r := &run{cx: &mapreduce.Context{Job: &spec.Job{}, Reporter: rec}, p: &Programs{Stderr: &talk}}
		obeyed := new(atomic.Int64)
		if err := r.readStderr(strings.NewReader("reporter:"+s), obeyed); err != nil {
			t.Fatal(err)
		}
		if !utf8.ValidString(rec.status) || strings.Contains(rec.status, "\n") || len(rec.status) > 3*tailLength {
			t.Errorf("status %q", rec.status)
		}
		if obeyed.Load() == 0 && talk.String() != "reporter:"+s {
			t.Errorf("%q was passed on as %q", s, talk.String())
		}
	})
}

func BenchmarkCat(b *testing.B) {
	content := strings.Repeat("some words in a line of text, about as long as lines are in books\n", 32<<20/66)
	b.SetBytes(int64(len(content)))
	t, _ := setUp(b, content)
	t.quiet = true
	name := strings.TrimPrefix(t.cx.Split.URL, "file://")
	for b.Loop() {
		in, err := input.Open(context.Background(), input.Text, local.New(), name, *t.cx.Split, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := t.mapWith(in, "cat"); err != nil {
			b.Fatal(err)
		}
	}
}
