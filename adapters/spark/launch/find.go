package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// answerTime is how long a Python or a Java may take to say what it is; answerBytes how much it may say.
const (
	answerTime  = 20 * time.Second
	answerBytes = 64 << 10
)

// Installation is a Spark that can be run.
type Installation struct {
	Home    string // holds bin and jars
	Version string // 3.5.9
	Python  string // that the user named; empty: Spark's own choice
}

// Search says where to look for a Spark.
type Search struct {
	Home     string // --spark-home
	Python   string // --python
	Getenv   func(string) string
	Patience time.Duration // with a Python or a Java that does not answer; 0: 20 s
}

func (s Search) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return answerTime
}

// Find finds the user's Spark: where Home says, else SPARK_HOME, else the package pyspark of Python, or of PYSPARK_PYTHON or
// python3. Errors say what was looked at and what to do.
func Find(ctx context.Context, s Search) (*Installation, error) {
	python := s.Python
	if python != "" {
		p, err := program(python)
		if err != nil {
			return nil, fmt.Errorf("--python %s: %w", python, err)
		}
		python = p
	}
	home, from := s.Home, "--spark-home"
	if home == "" {
		home, from = s.Getenv("SPARK_HOME"), "SPARK_HOME"
	}
	if home == "" {
		asked := python
		if asked == "" {
			var err error
			if asked, err = defaultPython(s.Getenv); err != nil {
				return nil, fmt.Errorf("no Spark: SPARK_HOME is not set, and there is no Python to look in for pyspark (%w): set --spark-home or --python", err)
			}
		}
		found, err := ask(ctx, asked, s.patience())
		if err != nil {
			return nil, err
		}
		home, from = found, asked+"'s pyspark"
	}
	i, err := inspect(home)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", from, home, err)
	}
	i.Python = python
	return i, nil
}

// program finds an executable, by its path or on PATH, as an absolute path.
func program(name string) (string, error) {
	p, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		if e, ok := errors.AsType[*exec.Error](err); ok {
			err = e.Err
		}
		if e, ok := errors.AsType[*os.PathError](err); ok {
			err = e.Err
		}
		return "", err
	}
	return filepath.Abs(p)
}

// defaultPython is the Python that Spark would take. PYSPARK_PYTHON may be a path inside containers, which is not here.
func defaultPython(getenv func(string) string) (string, error) {
	if name := getenv("PYSPARK_PYTHON"); name != "" {
		if p, err := program(name); err == nil {
			return p, nil
		}
	}
	p, err := program("python3")
	if err != nil {
		return "", fmt.Errorf("python3: %w", err)
	}
	return p, nil
}

// question prints where pyspark is, without loading it.
const question = `import importlib.util, json
s = importlib.util.find_spec("pyspark")
print(json.dumps({"pyspark": list(s.submodule_search_locations or [""])[0] if s else ""}))`

// ask has a Python say where its package pyspark is.
func ask(ctx context.Context, python string, patience time.Duration) (string, error) {
	out, _, err := answer(ctx, patience, python, "-c", question)
	if err != nil {
		return "", fmt.Errorf("%s does not say where its pyspark is: %w; set --spark-home or --python", python, err)
	}
	var said struct{ Pyspark string }
	lines := strings.Split(strings.TrimSpace(string(out)), "\n") // a sitecustomize may have said something before
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &said); err != nil {
		return "", fmt.Errorf("%s does not say where its pyspark is, but %.80q; set --spark-home or --python", python, out)
	}
	if !filepath.IsAbs(said.Pyspark) {
		return "", fmt.Errorf("no Spark: SPARK_HOME is not set, and %s has no package pyspark: install one (%s -m pip install pyspark), or set --spark-home or --python", python, python)
	}
	return said.Pyspark, nil
}

// answer runs a program for what it prints.
func answer(ctx context.Context, patience time.Duration, name string, args ...string) (stdout, stderr []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = "/" // Python would find a folder of the current one by the name of a package
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	var out, errs bounded
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	if ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("no answer within %s", patience)
	} else if err != nil {
		if text := strings.TrimSpace(errs.String()); text != "" {
			err = fmt.Errorf("%w: %.200s", err, text[strings.LastIndexByte(text, '\n')+1:])
		}
	}
	return out.Bytes(), errs.Bytes(), err
}

// bounded keeps the first answerBytes of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, answerBytes-b.Len()))])
	return len(p), nil
}

var yarnJar = regexp.MustCompile(`^spark-yarn_2\.1[0-9]-([0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*)\.jar$`)

// inspect looks whether a folder is a Spark that speaks YARN.
func inspect(home string) (*Installation, error) {
	home, err := filepath.Abs(home)
	if err != nil {
		return nil, err
	}
	if f, err := os.Stat(home); err != nil || !f.IsDir() {
		return nil, errors.New("no such folder; it is the one that holds Spark's bin and jars")
	}
	for _, name := range []string{"spark-submit", "pyspark"} {
		if f, err := os.Stat(filepath.Join(home, "bin", name)); err != nil || f.IsDir() || f.Mode()&0o111 == 0 {
			return nil, fmt.Errorf("it has no bin/%s that can be run, so it is no Spark; it is the folder that holds Spark's bin and jars", name)
		}
	}
	jars, err := os.ReadDir(filepath.Join(home, "jars"))
	if err != nil {
		return nil, errors.New("it has no folder jars: it is no Spark, or only a source tree of one")
	}
	var versions []string
	for _, j := range jars {
		if m := yarnJar.FindStringSubmatch(j.Name()); m != nil {
			versions = append(versions, m[1])
		}
	}
	switch len(versions) {
	case 0:
		return nil, errors.New("it has no jars/spark-yarn_2.1*.jar: this Spark was built without YARN; take pyspark from PyPI, or spark-X-bin-hadoop3")
	case 1:
		return &Installation{Home: home, Version: versions[0]}, nil
	}
	return nil, fmt.Errorf("it has the jars of %d versions of Spark (%s): install it anew", len(versions), strings.Join(versions, ", "))
}

// leastJava is the oldest Java that a version of Spark runs on.
func leastJava(version string) int {
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n >= 4 {
		return 17
	}
	return 8
}

var javaVersion = regexp.MustCompile(`version "([0-9]{1,4})(?:\.([0-9]{1,4}))?`)

// parseJava reads what java -version prints: 8 for "1.8.0_392", 17 for "17.0.15".
func parseJava(text []byte) (int, bool) {
	m := javaVersion.FindSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(m[1]))
	if n == 1 && len(m[2]) > 0 {
		n, err = strconv.Atoi(string(m[2]))
	}
	return n, err == nil
}

// CheckJava looks whether the Java that Spark's scripts will take (JAVA_HOME, else java on PATH) is new enough. A
// spark-env.sh that names one is left to decide.
func (i *Installation) CheckJava(ctx context.Context, s Search) error {
	java, from := "", ""
	if home := s.Getenv("JAVA_HOME"); home != "" {
		java, from = filepath.Join(home, "bin", "java"), "JAVA_HOME "+home
		if p, err := program(java); err != nil {
			if i.setsJava(s.Getenv) {
				return nil
			}
			return fmt.Errorf("%s has no bin/java: set JAVA_HOME to a Java %d or newer", from, leastJava(i.Version))
		} else {
			java = p
		}
	} else {
		p, err := program("java")
		if err != nil {
			if i.setsJava(s.Getenv) {
				return nil
			}
			return fmt.Errorf("no Java: JAVA_HOME is not set and there is no java on PATH; Spark %s needs Java %d or newer", i.Version, leastJava(i.Version))
		}
		java, from = p, p
	}
	_, text, err := answer(ctx, s.patience(), java, "-version")
	if err != nil {
		return fmt.Errorf("%s does not run: %w", from, err)
	}
	n, ok := parseJava(text)
	if !ok {
		return fmt.Errorf("%s does not say its version, but %.80q", from, text)
	}
	if least := leastJava(i.Version); n < least && !i.setsJava(s.Getenv) {
		return fmt.Errorf("%s is Java %d, and Spark %s needs %d or newer: set JAVA_HOME to one", from, n, i.Version, least)
	}
	return nil
}

// setsJava tells whether the installation's spark-env.sh speaks of JAVA_HOME.
func (i *Installation) setsJava(getenv func(string) string) bool {
	dir := getenv("SPARK_CONF_DIR")
	if dir == "" {
		dir = filepath.Join(i.Home, "conf")
	}
	f, err := os.Open(filepath.Join(dir, "spark-env.sh"))
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, answerBytes))
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if line = strings.TrimSpace(line); strings.Contains(line, "JAVA_HOME=") && !strings.HasPrefix(line, "#") {
			return true
		}
	}
	return false
}

// shells are what Spark takes for an application that is no file.
var shells = set("spark-shell pyspark-shell pyspark-shell-main sparkr-shell spark-internal")

// CheckApplication looks whether an application that is a local file is there.
func CheckApplication(name string) error {
	if name == "" || shells[name] {
		return nil
	}
	path := name
	if rest, ok := strings.CutPrefix(name, "file:"); ok {
		path = "/" + strings.TrimLeft(rest, "/")
	} else if scheme, _, ok := strings.Cut(name, ":"); ok && !strings.ContainsAny(scheme, "/.") {
		return nil // on another file system, or on the hosts
	}
	switch f, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: there is no such file; the application is a .py, .jar or .R file, or the URL of one", name)
	case err != nil:
		return err
	case f.IsDir():
		return fmt.Errorf("%s is a folder; the application is a .py, .jar or .R file", name)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}
