package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a driver's command line.
type Command struct {
	Path                  string
	Args                  []string
	Env                   []string
	Stdin, Stdout, Stderr *os.File
	// Signals ask the driver to end; each one takes the next step at once. nil: only ctx does.
	Signals <-chan os.Signal
	// Grace is how long the driver has after SIGINT, and again after SIGTERM; 0: 10 s.
	Grace time.Duration
}

// End is how a driver ended.
type End struct {
	Code    int  // its exit code, or 128 and the number of the signal that it died of
	Stopped bool // it was asked to end
}

const defaultGrace = 10 * time.Second

// Environment is base with what an installation and a folder of configuration (empty: the user's own) need. Spark's commands
// have Python search $SPARK_HOME/python, where the package from PyPI, unlike the archive, has no more than a part of pyspark:
// the whole of it is then added as the zip file that spark-submit takes, for a Python that does not have the package itself.
func (i *Installation) Environment(base []string, conf string) []string {
	put := map[string]string{"SPARK_HOME": i.Home}
	drop := []string{}
	if conf != "" {
		put["HADOOP_CONF_DIR"] = conf
		drop = append(drop, "YARN_CONF_DIR") // Spark reads both
	}
	if i.Python != "" {
		put["PYSPARK_PYTHON"] = i.Python
	}
	zip, whole := filepath.Join(i.Home, "python", "lib", "pyspark.zip"), filepath.Join(i.Home, "python", "pyspark", "__init__.py")
	if isFile(zip) && !isFile(whole) {
		put["PYTHONPATH"] = zip
	}
	out := make([]string, 0, len(base)+len(put))
	for _, e := range base {
		name, v, _ := strings.Cut(e, "=")
		if name == "PYTHONPATH" && v != "" && put[name] != "" {
			put[name] = v + string(filepath.ListSeparator) + zip
		}
		if _, ours := put[name]; !ours && !slices.Contains(drop, name) {
			out = append(out, e)
		}
	}
	for _, name := range []string{"SPARK_HOME", "HADOOP_CONF_DIR", "PYSPARK_PYTHON", "PYTHONPATH"} {
		if v, ok := put[name]; ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Run runs a driver in a process group of its own until it has ended. When it is to end, because of ctx or Signals, the
// whole group is sent SIGINT, after Grace SIGTERM, after another Grace SIGKILL; what is left of the group when the driver
// has ended so is killed. Such a group must not read from a terminal: a Stdin that is one is not passed on.
func (c Command) Run(ctx context.Context) (end End, err error) {
	cmd := c.command(&syscall.SysProcAttr{Setpgid: true})
	if c.Stdin != nil && !IsTerminal(c.Stdin) {
		cmd.Stdin = c.Stdin
	}
	if err := cmd.Start(); err != nil {
		return end, fmt.Errorf("%s: %w", c.Path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- awaitEnd(cmd.Process.Pid) }()
	steps := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}
	var next <-chan time.Time
	step := func() {
		end.Stopped = true
		if len(steps) > 0 {
			_ = syscall.Kill(-cmd.Process.Pid, steps[0]) // it may have ended just now; it is not reaped yet, so the id is its own
			steps, next = steps[1:], time.After(c.grace())
		}
	}
	done := ctx.Done()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-done:
			done = nil
			step()
		case <-c.Signals:
			step()
		case <-next:
			step()
		}
	}
	if end.Stopped {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // Python, of a driver that is a JVM
	}
	end.Code, err = exitCode(cmd.Wait())
	return end, err
}

func (c Command) grace() time.Duration {
	if c.Grace <= 0 {
		return defaultGrace
	}
	return c.Grace
}

// awaitEnd waits until a child has ended and leaves it unreaped, so that its id and its group's are nobody else's.
func awaitEnd(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Converse runs a shell, which has the terminal: it stays in this process's group, so that Ctrl-C and Ctrl-Z reach it as
// they would without us. Each of Signals, and the end of ctx, sends it SIGHUP first and SIGKILL next.
func (c Command) Converse(ctx context.Context) (end End, err error) {
	cmd := c.command(nil)
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if err := cmd.Start(); err != nil {
		return end, fmt.Errorf("%s: %w", c.Path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- awaitEnd(cmd.Process.Pid) }()
	done := ctx.Done()
	var next <-chan time.Time
	step := func() {
		s := syscall.SIGHUP
		if end.Stopped {
			s = syscall.SIGKILL
		}
		end.Stopped, next = true, time.After(c.grace())
		_ = cmd.Process.Signal(s)
	}
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-done:
			done = nil
			step()
		case <-c.Signals:
			step()
		case <-next:
			step()
		}
	}
	end.Code, err = exitCode(cmd.Wait())
	return end, err
}

func (c Command) command(attr *syscall.SysProcAttr) *exec.Cmd {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.SysProcAttr = c.Env, attr
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	return cmd
}

// IsTerminal tells whether a file is one.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// exitCode is what a shell would give for a child's end.
func exitCode(err error) (int, error) {
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return 0, err
	}
	if s, ok := e.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal()), nil
	}
	return e.ExitCode(), nil
}
