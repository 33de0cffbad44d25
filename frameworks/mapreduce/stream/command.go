package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"fairway/frameworks/mapreduce"
)

// SplitCommand cuts a command line into arguments as Hadoop Streaming does: at white space, with ' and " quoting and,
// outside of ' quotes, \ escapes. No shell is asked, so nothing is expanded.
func SplitCommand(line string) ([]string, error) {
	if strings.IndexByte(line, 0) >= 0 { // escaped or quoted too: no program can be given one
		return nil, fmt.Errorf("command %q holds a NUL byte", line)
	}
	var args []string
	var arg strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'':
			if i++; i == len(line) {
				return nil, fmt.Errorf("command %q ends in a backslash", line)
			}
			if quote == '"' && line[i] != '"' && line[i] != '\\' {
				arg.WriteByte('\\')
			}
			arg.WriteByte(line[i])
			in = true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				arg.WriteByte(c)
			}
		case c == '\'' || c == '"':
			quote, in = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if in {
				args = append(args, arg.String())
				arg.Reset()
			}
			in = false
		default:
			arg.WriteByte(c)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("command %q: the %c quote is not closed", line, quote)
	}
	if in {
		args = append(args, arg.String())
	}
	if len(args) == 0 {
		return nil, errors.New("the command is empty")
	}
	return args, nil
}

// commandLine is argv as a person would type it, roughly.
func commandLine(argv []string) string { return strings.Join(argv, " ") }

// find returns argv with the path of the program in place of its name, and the environment with what that needs. A name
// without a slash is looked for in the sandbox first, where shipped files lie, then in PATH; one with a slash is taken
// from the sandbox on.
func (p *Programs) find(cx *mapreduce.Context, argv, env []string) ([]string, []string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, nil, errors.New("is empty: name a program")
	}
	name := argv[0]
	file := name
	if !filepath.IsAbs(file) {
		file = filepath.Join(cx.Sandbox, name)
	}
	info, err := os.Stat(file)
	if err != nil && !strings.Contains(name, "/") {
		if file = lookPath(name, env); file == "" {
			return nil, nil, fmt.Errorf("was not found: it is neither a shipped file nor in PATH; ship it with -file %s: %w", name, fs.ErrNotExist)
		}
		info, err = os.Stat(file)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("was not found: there is no %s; ship it with -file and name it without folders: %w", name, fs.ErrNotExist)
	case err != nil:
		return nil, nil, fmt.Errorf("cannot be looked at: %w", err)
	case info.IsDir():
		return nil, nil, errors.New("is a folder, not a program")
	case info.Mode().Perm()&0o111 == 0:
		return nil, nil, notExecutable(name)
	}
	out := append([]string{file}, argv[1:]...)
	if real := p.interpreter(cx, file, env); real != "" {
		// Scripts that begin with "#!/usr/bin/env python3" find it in PATH.
		env = setVariable(env, "PATH", filepath.Dir(real)+":"+getVariable(env, "PATH"))
		if pythonName.MatchString(filepath.Base(file)) {
			out[0] = real
		}
	}
	return out, env, nil
}

func notExecutable(name string) error {
	hint := ""
	if strings.HasSuffix(name, ".py") {
		hint = fmt.Sprintf(", or run it as \"python3 %s\"", name)
	}
	return fmt.Errorf("is not executable: chmod +x %s%s: %w", name, hint, fs.ErrPermission)
}

func lookPath(name string, env []string) string {
	for _, dir := range filepath.SplitList(getVariable(env, "PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode().Perm()&0o111 != 0 {
			return file
		}
	}
	return ""
}

func getVariable(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

func setVariable(env []string, name, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, kv := range env {
		if !strings.HasPrefix(kv, name+"=") {
			out = append(out, kv)
		}
	}
	return append(out, name+"="+value)
}

// startError words a failure of exec.
func startError(argv []string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("is no program: it is neither a binary for this machine nor a script whose first line begins with #!: %w", err)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("cannot be started: the interpreter that its first line names is missing: %w", err)
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("cannot be started: arguments and environment (the job's properties) are too long: %w", err)
	}
	return fmt.Errorf("cannot be started: %w", err)
}

var (
	pythonName    = regexp.MustCompile(`^python[0-9.]*$`)
	pythonShebang = regexp.MustCompile(`^#!\s*/usr/bin/env\s+(?:-S\s+)?(python[0-9.]*)\s`)
	interpreters  sync.Map // shim -> real path, "" if there is none
)

// interpreter returns the real python behind a shim, such as pyenv's, which costs some 60 ms at each start; "" if file
// does not run one.
func (p *Programs) interpreter(cx *mapreduce.Context, file string, env []string) string {
	shim := file
	if !pythonName.MatchString(filepath.Base(file)) {
		m := pythonShebang.FindSubmatch(head(file))
		if m == nil {
			return ""
		}
		if shim = lookPath(string(m[1]), env); shim == "" {
			return ""
		}
	}
	if first := head(shim); !bytes.HasPrefix(first, []byte("#!")) || !bytes.Contains(first, []byte("pyenv")) {
		return ""
	}
	if real, ok := interpreters.Load(shim); ok {
		return real.(string)
	}
	memo := ""
	if p.CacheDir != "" {
		memo = filepath.Join(p.CacheDir, ".interpreter-"+filepath.Base(shim))
		if known, err := os.ReadFile(memo); err == nil {
			if s, real, ok := strings.Cut(string(known), "\n"); ok && s == shim && executable(real) {
				interpreters.Store(shim, real)
				return real
			}
		}
	}
	ctx, cancel := context.WithTimeout(cx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, shim, "-c", "import sys; sys.stdout.write(sys.executable)")
	cmd.Env, cmd.Dir = env, cx.Sandbox
	answer, err := cmd.Output()
	real := string(answer)
	if err != nil || !filepath.IsAbs(real) || !executable(real) {
		return "" // the shim itself will do
	}
	interpreters.Store(shim, real)
	if memo != "" {
		writeMemo(memo, shim+"\n"+real)
	}
	return real
}

// writeMemo lets other tasks of the job read a whole file or none; losing it costs a little time only.
func writeMemo(name, content string) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*")
	if err != nil {
		return
	}
	_, err = f.WriteString(content)
	if cerr := f.Close(); err != nil || cerr != nil || os.Rename(f.Name(), name) != nil {
		os.Remove(f.Name())
	}
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// head returns the start of a file.
func head(file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, 512)
	n, _ := io.ReadFull(f, buf)
	return buf[:n]
}
