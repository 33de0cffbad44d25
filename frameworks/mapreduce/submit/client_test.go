package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/builtin"
	"fairway/frameworks/mapreduce/coordinator"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

// broker takes one job and then says what a test wants.
type broker struct {
	api.Broker
	refuse    []error // of the next submissions
	submitted []*v1.SubmitJobRequest
	killed    chan string
	watch     func(ctx context.Context, each func(*v1.Job) error) error
}

func (b *broker) Close() error { return nil }

func (b *broker) SubmitJob(_ context.Context, _ api.Caller, r *v1.SubmitJobRequest) (*v1.Job, error) {
	b.submitted = append(b.submitted, r)
	if len(b.refuse) > 0 {
		err := b.refuse[0]
		b.refuse = b.refuse[1:]
		return nil, err
	}
	return &v1.Job{Id: "job-1", Name: r.Name, Phase: v1.JobPhase_JOB_PHASE_WAITING}, nil
}

func (b *broker) WatchJob(ctx context.Context, _ api.Caller, _ string, each func(*v1.Job) error) error {
	return b.watch(ctx, each)
}

func (b *broker) KillJob(_ context.Context, _ api.Caller, id, reason string) (*v1.Job, error) {
	b.killed <- reason
	return &v1.Job{Id: id}, nil
}

func ends(phase v1.JobPhase, message string) func(context.Context, func(*v1.Job) error) error {
	return func(_ context.Context, each func(*v1.Job) error) error {
		return each(&v1.Job{Id: "job-1", Phase: phase, Message: message})
	}
}

func newClient(t *testing.T, b *broker) (*Client, string) {
	dir := t.TempDir()
	reg := mapreduce.NewRegistry()
	builtin.Register(reg)
	mux := storage.NewMux(map[string]storage.Opener{"file": local.Opener()}, "")
	t.Cleanup(func() { mux.Close() })
	return &Client{Broker: b, Mux: mux, Registry: reg, Staging: filepath.Join(dir, "staging")}, dir
}

func TestCheck(t *testing.T) {
	c, dir := newClient(t, nil)
	in := write(t, dir+"/in/a.txt", "x\n", 0o644)
	write(t, dir+"/there/f", "", 0o644)
	plain := write(t, dir+"/plain.py", "print('no interpreter')\n", 0o644)
	script := write(t, dir+"/script.py", "#!/usr/bin/env python3\n", 0o644)
	good := func() *spec.Job {
		return &spec.Job{Inputs: []string{in}, Output: dir + "/out", Mapper: spec.Stage{Function: "wordcount"}, Reducer: spec.Stage{Function: "sum"}, Reduces: 1}
	}
	if err := c.Check(t.Context(), good()); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*spec.Job)
		want   string
		is     error
	}{
		"missing input":      {func(j *spec.Job) { j.Inputs = []string{dir + "/absent"} }, "/absent", fs.ErrNotExist},
		"glob of nothing":    {func(j *spec.Job) { j.Inputs = []string{dir + "/in/*.gz"} }, "*.gz", fs.ErrNotExist},
		"existing output":    {func(j *spec.Job) { j.Output = dir + "/there" }, "/there", fs.ErrExist},
		"unknown scheme":     {func(j *spec.Job) { j.Inputs = []string{"gopher://x/y"} }, "gopher", nil},
		"unknown mapper":     {func(j *spec.Job) { j.Mapper.Function = "wordcuont" }, "wordcuont", mapreduce.ErrUnknownFunction},
		"unknown partition":  {func(j *spec.Job) { j.Partitioner = "fair" }, "fair", mapreduce.ErrUnknownFunction},
		"no reducer":         {func(j *spec.Job) { j.Reducer = spec.Stage{} }, "no reducer", nil},
		"unknown output":     {func(j *spec.Job) { j.OutputFormat = "xml" }, "xml", nil},
		"no such program":    {program("no-such-program-anywhere"), "-file", nil},
		"unshipped script":   {program("./m.py"), "-file", nil},
		"not executable":     {program(plain), "not executable", nil},
		"no program at all":  {shipped("./plain.py", plain), "python3 ./plain.py", nil},
		"negative":           {func(j *spec.Job) { j.SplitSize = -1 }, "negative", nil},
		"unknown stream I/O": {func(j *spec.Job) { j.IO = "xml" }, "xml", nil},
	} {
		job := good()
		tc.change(job)
		err := c.Check(t.Context(), job)
		if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q in one line", name, err, tc.want)
		}
	}
	job := good()
	shipped("script.py", script)(job)
	if err := c.Check(t.Context(), job); err != nil || !job.Files[0].Executable {
		t.Errorf("a shipped script: %v, %+v", err, job.Files)
	}
}

func program(name string) func(*spec.Job) {
	return func(j *spec.Job) { j.Mapper = spec.Stage{Program: []string{name}} }
}

func shipped(name, file string) func(*spec.Job) {
	return func(j *spec.Job) {
		j.Mapper = spec.Stage{Program: []string{name}}
		j.Files = []spec.File{{URL: "file://" + file, Target: filepath.Base(file)}}
	}
}

// wordcountJob is one that passes.
func wordcountJob(t *testing.T, dir string) *spec.Job {
	return &spec.Job{Name: "wc", User: account(), Inputs: []string{write(t, dir+"/in/a.txt", "x\n", 0o644)}, Output: dir + "/out",
		Mapper: spec.Stage{Function: "wordcount"}, Reducer: spec.Stage{Function: "sum"}, Reduces: 1}
}

func TestSubmits(t *testing.T) {
	b := &broker{watch: ends(v1.JobPhase_JOB_PHASE_SUCCEEDED, ""), refuse: []error{fmt.Errorf("starting: %w", api.ErrUnavailable)}}
	c, dir := newClient(t, b)
	job := wordcountJob(t, dir)
	small := write(t, dir+"/small.txt", "small", 0o600)
	job.Files = []spec.File{{URL: "file://" + small, Target: "small.txt"}}
	phases := []v1.JobPhase{}
	j, err := c.Run(t.Context(), job, Submission{MaxAttempts: 3, Progress: func(j *v1.Job) { phases = append(phases, j.Phase) }})
	if err != nil || j.Phase != v1.JobPhase_JOB_PHASE_SUCCEEDED || len(phases) != 2 {
		t.Fatalf("%v, %v, %v", j, err, phases)
	}
	if len(b.submitted) != 2 || b.submitted[0].RequestId != b.submitted[1].RequestId || b.submitted[0].RequestId == "" {
		t.Errorf("a repeated submission must bear the same id: %v", b.submitted)
	}
	r := b.submitted[1]
	if r.MaxAttempts != 3 || r.Kind != "mapreduce" || strings.Join(r.Coordinator.Command.Argv, " ") != "{fairway} mapreduce-coordinator job.json" {
		t.Errorf("request %v", r)
	}
	var d coordinator.Description
	if err := json.Unmarshal(r.Coordinator.Command.Files[0].Content, &d); err != nil {
		t.Fatal(err)
	}
	if d.Job.Output != "file://"+dir+"/out" || string(d.Job.Files[0].Content) != "small" || d.Job.Files[0].URL != "" || !strings.HasPrefix(d.Job.Staging, "file://"+c.Staging) && !strings.HasPrefix(d.Job.Staging, c.Staging) {
		t.Errorf("job %+v", d.Job)
	}
	if _, err := os.Stat(c.Staging); err == nil {
		t.Error("a job without large files made a staging folder")
	}
}

func TestStagesLargeFilesAndTheBinary(t *testing.T) {
	b := &broker{watch: ends(v1.JobPhase_JOB_PHASE_SUCCEEDED, "")}
	c, dir := newClient(t, b)
	job := wordcountJob(t, dir)
	large := write(t, dir+"/large.bin", strings.Repeat("x", inlineLimit+1), 0o644)
	job.Files = []spec.File{{URL: "file://" + large, Target: "large.bin"}}
	c.Binary = write(t, dir+"/program", "\x7fELF", 0o755)
	if _, err := c.Run(t.Context(), job, Submission{Detach: true}); err != nil {
		t.Fatal(err)
	}
	command := b.submitted[0].Coordinator.Command
	if command.Argv[0] != "fairway-job" || len(command.Uris) != 1 || !command.Uris[0].Executable || len(command.Uris[0].Sha256) != 64 {
		t.Errorf("command %v", command)
	}
	var d coordinator.Description
	if err := json.Unmarshal(command.Files[0].Content, &d); err != nil {
		t.Fatal(err)
	}
	staged := strings.TrimPrefix(d.Job.Files[0].URL, "file://")
	info, err := os.Stat(staged)
	if err != nil || info.Size() != inlineLimit+1 || info.Mode().Perm() != 0o600 {
		t.Errorf("staged file: %v, %v", info, err)
	}
	if info, err = os.Stat(filepath.Dir(staged)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("staging folder: %v, %v", info.Mode(), err)
	}
	if strings.Join(d.Command().Argv, " ") != "fairway-job mapreduce-task" {
		t.Errorf("tasks start by %v", d.Argv)
	}
}

func TestRefusedSubmissionCleansUp(t *testing.T) {
	b := &broker{refuse: []error{fmt.Errorf("%w: role nobody is unknown", api.ErrNotFound)}}
	c, dir := newClient(t, b)
	job := wordcountJob(t, dir)
	c.Binary = write(t, dir+"/program", "\x7fELF", 0o755)
	if _, err := c.Run(t.Context(), job, Submission{}); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("err = %v", err)
	}
	if left, _ := os.ReadDir(c.Staging); len(left) != 0 {
		t.Errorf("left in the staging folder: %v", left)
	}
}

func TestFailedJob(t *testing.T) {
	b := &broker{watch: ends(v1.JobPhase_JOB_PHASE_FAILED, "map 0 failed:\nbecause")}
	c, dir := newClient(t, b)
	j, err := c.Run(t.Context(), wordcountJob(t, dir), Submission{})
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "because") || j == nil {
		t.Errorf("%v, %v", j, err)
	}
}

func TestInterruptedClientKillsTheJob(t *testing.T) {
	b := &broker{killed: make(chan string, 1)}
	ctx, interrupt := context.WithCancel(context.Background())
	b.watch = func(watching context.Context, each func(*v1.Job) error) error {
		if ctx.Err() == nil {
			if err := each(&v1.Job{Id: "job-1", Phase: v1.JobPhase_JOB_PHASE_RUNNING}); err != nil {
				return err
			}
			interrupt()
			<-watching.Done()
			return watching.Err()
		}
		return each(&v1.Job{Id: "job-1", Phase: v1.JobPhase_JOB_PHASE_KILLED, Message: <-b.killed})
	}
	c, dir := newClient(t, b)
	j, err := c.Run(ctx, wordcountJob(t, dir), Submission{})
	if !errors.Is(err, ErrKilled) || j.Phase != v1.JobPhase_JOB_PHASE_KILLED {
		t.Errorf("%v, %v", j, err)
	}
}

func TestWatchSurvivesTheBroker(t *testing.T) {
	calls := 0
	b := &broker{watch: func(_ context.Context, each func(*v1.Job) error) error {
		if calls++; calls < 3 {
			return fmt.Errorf("restarting: %w", api.ErrUnavailable)
		}
		return each(&v1.Job{Id: "job-1", Phase: v1.JobPhase_JOB_PHASE_SUCCEEDED})
	}}
	c, dir := newClient(t, b)
	if _, err := c.Run(t.Context(), wordcountJob(t, dir), Submission{}); err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestMainOfAProgram(t *testing.T) {
	b := &broker{watch: func(_ context.Context, each func(*v1.Job) error) error {
		return each(&v1.Job{Id: "job-1", Phase: v1.JobPhase_JOB_PHASE_SUCCEEDED, Counters: []*v1.Counter{{Name: "X", Display: "Launched map tasks", Value: 1}},
			Progress: []*v1.Progress{{Name: "map", Total: 1, Done: 1, Fraction: 1}}})
	}}
	dir := t.TempDir()
	in := write(t, dir+"/in.txt", "x\n", 0o644)
	for name, tc := range map[string]struct {
		args     []string
		code     int
		out, err string
	}{
		"runs":     {[]string{"-input", in, "-output", dir + "/out", "-broker", "unix:///x"}, 0, "Launched map tasks\t1", "map 100% (1/1)"},
		"no input": {[]string{"-output", dir + "/out", "-broker", "unix:///x"}, 2, "", "-input"},
		"usage":    {[]string{"-frobnicate"}, 2, "", "frobnicate"},
		"missing":  {[]string{"-input", dir + "/absent", "-output", dir + "/out", "-broker", "unix:///x"}, 2, "", "absent"},
		"stray":    {[]string{"-input", in, "-output", dir + "/out", "stray"}, 2, "", "stray"},
		"task":     {[]string{TaskMode}, 1, "", "FAIRWAY_TASK_ID"},
		"coord":    {[]string{CoordinatorMode, dir + "/absent.json"}, 1, "", "absent.json"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			code := Main(ctx, Config{Name: "longwords", Args: tc.args, Stdout: &out, Stderr: &errs, Staging: dir + "/staging",
				Register: func(r *mapreduce.Registry) {
					r.Mapper("longwords", func() mapreduce.Mapper { return mapreduce.Identity{} })
				},
				Job:     func(j *spec.Job) error { j.Mapper.Function, j.Reducer.Function = "longwords", "identity"; return nil },
				Connect: func(context.Context, string, string) (Broker, error) { return b, nil }})
			if code != tc.code || !strings.Contains(out.String(), tc.out) || !strings.Contains(errs.String(), tc.err) {
				t.Errorf("code %d\n%s\n%s", code, out.String(), errs.String())
			}
		})
	}
}
