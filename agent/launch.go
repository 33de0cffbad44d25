package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fairway/agent/container"
	"fairway/agent/fetch"
	"fairway/agent/sandbox"
	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
)

// launchFailure is why a task could not be started.
type launchFailure struct {
	reason v1.TaskReason
	err    error
}

// The word that stands for the agent's own binary.
const ownBinary = "{fairway}"

const (
	maxInline = 1 << 20 // bytes of a task's inline files
	maxFiles  = 1000    // URIs and inline files
	// What one argument or environment entry may hold is the kernel's limit (MAX_ARG_STRLEN), less its end.
	maxArgument = 128<<10 - 1
)

// check refuses a spec that cannot be run, before anything is done for it.
func check(s *v1.TaskSpec, services map[string]service.Service) error {
	c := s.GetCommand()
	switch {
	case !sandbox.ValidName(s.GetTask().GetFramework()) || s.GetTask().GetSequence() == 0:
		return fmt.Errorf("task id %q/%d is not valid", s.GetTask().GetFramework(), s.GetTask().GetSequence())
	case s.JobId != "" && !sandbox.ValidName(s.JobId):
		return fmt.Errorf("job id %q is not valid", s.JobId)
	case s.Service != "" && services[s.Service] == nil:
		return fmt.Errorf("this agent has no service %q", s.Service)
	case s.Service == "" && (len(c.GetArgv()) == 0 || c.Argv[0] == ""):
		return errors.New("the command is empty")
	case s.GetResources().GetMemoryBytes() < 0 || s.GetResources().GetCpuMilli() < 0:
		return errors.New("resources are negative")
	case len(c.GetFiles())+len(c.GetUris()) > maxFiles:
		return fmt.Errorf("more than %d files", maxFiles)
	}
	inline := 0
	for _, f := range c.GetFiles() {
		inline += len(f.Content)
		if !filepath.IsLocal(f.Target) {
			return fmt.Errorf("inline file %q is no path inside the sandbox", f.Target)
		}
	}
	if inline > maxInline {
		return fmt.Errorf("inline files hold %s, at most %s are allowed", size(int64(inline)), size(maxInline))
	}
	for _, u := range c.GetUris() {
		if _, err := fetch.Target(u); err != nil {
			return err
		}
	}
	for _, a := range c.GetArgv() {
		if len(a) > maxArgument || strings.ContainsRune(a, 0) {
			return errors.New("an argument is longer than 128 KiB or holds a zero byte")
		}
	}
	for k, v := range c.GetEnv() {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) || len(k)+len(v) > maxArgument {
			return fmt.Errorf("environment variable %q is not valid or too long", oneLine(k))
		}
	}
	return nil
}

// launch makes the sandbox, fills it, and starts the container. It runs beside the owner; of the task it reads only what
// does not change while it is launched.
func (a *Agent) launch(ctx context.Context, t *task) (*container.Container, *launchFailure) {
	failed := func(err error) *launchFailure {
		return &launchFailure{v1.TaskReason_TASK_REASON_LAUNCH_FAILED, err}
	}
	if t.account == nil {
		if err := a.again(t); err != nil {
			return nil, failed(err)
		}
	}
	s, who := t.spec, t.account
	box, err := a.tree.Create(s.Task.Framework, s.Task.Sequence, who.owner())
	if err != nil {
		return nil, failed(fmt.Errorf("make sandbox: %w", err))
	}
	defer box.Close()
	jobDir := ""
	if s.JobId != "" {
		if jobDir, err = a.tree.Job(s.JobId, who.owner()); err != nil {
			return nil, failed(fmt.Errorf("make job folder: %w", err))
		}
	}
	for _, u := range s.Command.GetUris() {
		if err := a.fetcher.Fetch(ctx, u, who.fetcher(), box.Root, sandbox.Private); err != nil {
			return nil, &launchFailure{v1.TaskReason_TASK_REASON_FETCH_FAILED, err}
		}
	}
	for _, f := range s.Command.GetFiles() {
		mode := fs.FileMode(f.Mode).Perm()
		if mode == 0 {
			mode = 0o600
		}
		if err := box.WriteFile(f.Target, f.Content, mode); err != nil {
			return nil, failed(fmt.Errorf("write %s: %w", f.Target, err))
		}
	}
	if len(s.JobSecret) > 0 {
		if err := box.WriteFile(secretFile, s.JobSecret, 0o600); err != nil {
			return nil, failed(fmt.Errorf("write job secret: %w", err))
		}
	}
	how := &service.Launch{Command: s.Command}
	if s.Service != "" {
		if how, err = a.services[s.Service].Prepare(ctx, service.Task{Spec: s, Sandbox: box.Dir, Account: who.service()}); err != nil {
			return nil, failed(fmt.Errorf("service %s: %w", s.Service, err))
		}
		if len(how.Command.GetArgv()) == 0 {
			return nil, failed(fmt.Errorf("service %s made an empty command", s.Service))
		}
	}
	if how.Dir == "" {
		how.Dir = box.Dir
	}
	if how.MemoryLimitBytes == 0 {
		how.MemoryLimitBytes = s.GetResources().GetMemoryBytes()
	}
	stdout, stderr, err := box.Logs()
	if err != nil {
		return nil, failed(fmt.Errorf("make logs: %w", err))
	}
	defer stdout.Close()
	defer stderr.Close()
	env := a.environment(t, how.Command.Env, jobDir)
	if how.BareEnv {
		env = entries(how.Command.Env)
	}
	argv := slices.Clone(how.Command.Argv)
	program, err := a.program(argv[0], box, env)
	if err != nil {
		return nil, failed(err)
	}
	if argv[0] == ownBinary {
		argv[0] = program
	}
	if err := box.HandOver(); err != nil {
		return nil, failed(err)
	}
	if ctx.Err() != nil {
		return nil, failed(ctx.Err())
	}
	c, err := a.runtime.Start(container.Spec{
		ID: t.record.Container, Path: program, Argv: argv, Env: env, Dir: how.Dir, User: who.container(), Stdout: stdout, Stderr: stderr,
		Limit: container.Resources{MemoryBytes: how.MemoryLimitBytes, CPUMilli: s.GetResources().GetCpuMilli(), HardCPU: s.HardCpu || how.HardCPU},
	})
	if err != nil {
		return nil, failed(err)
	}
	return c, nil
}

const secretFile = sandbox.Private + "/secret"

// program finds what argv[0] means.
func (a *Agent) program(name string, box *sandbox.Box, env []string) (string, error) {
	if name == ownBinary {
		return a.binary, nil
	}
	if strings.Contains(name, "/") {
		return name, nil // relative to the sandbox, which is the working directory
	}
	if info, err := box.Root.Stat(name); err == nil && info.Mode().IsRegular() {
		return filepath.Join(box.Dir, name), nil
	}
	search := ""
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	for _, dir := range filepath.SplitList(search) {
		if !path.IsAbs(dir) {
			continue
		}
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("program %q is neither in the sandbox nor on PATH (%s)", name, search)
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the task's whole environment: what Fairway sets, then what the spec says (which may replace PATH, HOME
// and the like, but not what tells the task who it is).
func (a *Agent) environment(t *task, said map[string]string, jobDir string) []string {
	s, who, dir := t.spec, t.account, t.record.Sandbox
	vars := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": who.home, "USER": who.name, "LOGNAME": who.name, "TMPDIR": filepath.Join(dir, sandbox.Temp),
	}
	if vars["PATH"] == "" {
		vars["PATH"] = defaultPath
	}
	if vars["HOME"] == "" {
		vars["HOME"] = dir
	}
	maps.Copy(vars, a.o.TaskEnv)
	maps.Copy(vars, said)
	for k, v := range map[string]string{
		"FAIRWAY_TASK_ID": t.key, "FAIRWAY_SANDBOX": dir, "FAIRWAY_AGENT_ID": a.ID(), "FAIRWAY_AGENT_HOST": a.info.Host,
		"FAIRWAY_AGENT_DATA_ADDRESS": a.info.DataAddress, "FAIRWAY_BROKER": a.o.BrokerAddress, "FAIRWAY_BINARY": a.binary,
		"FAIRWAY_CPU_MILLI":    strconv.FormatInt(s.GetResources().GetCpuMilli(), 10),
		"FAIRWAY_MEMORY_BYTES": strconv.FormatInt(s.GetResources().GetMemoryBytes(), 10),
	} {
		vars[k] = v
	}
	if s.JobId != "" {
		vars["FAIRWAY_JOB_ID"], vars["FAIRWAY_JOB_DIR"] = s.JobId, jobDir
	}
	if len(s.JobSecret) > 0 {
		vars["FAIRWAY_SECRET_FILE"] = filepath.Join(dir, secretFile)
	}
	for _, f := range s.Command.GetFiles() {
		if path.Clean(f.Target) == tokenFile {
			vars["FAIRWAY_TOKEN_FILE"] = filepath.Join(dir, tokenFile)
		}
	}
	return entries(vars)
}

func entries(vars map[string]string) []string {
	env := make([]string, 0, len(vars))
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env
}

// The token by which a coordinator may speak for its job: an inline file that the broker adds.
const tokenFile = sandbox.Private + "/token"
