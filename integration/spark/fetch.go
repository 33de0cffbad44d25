package spark

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"fairway/integration/hadoop"
)

// Versions that Fetch knows.
const (
	Version = "3.5.9" // the newest of 3.5
	Newest  = "4.3.0" // the newest that runs on JDK 17
)

// sums are the SHA-256 of what PyPI serves as the source distribution of pyspark.
var sums = map[string]string{
	Version: "ea27adc39ddac9413b8951e45aa748cbed6c785971b81386efc41938f6243d93",
	Newest:  "e8c517948eff7088a7aa07449aa8eafa4a15a8d50319de2525a6fd26622476c6",
}

// arrowPackages are what pandas functions in PySpark need.
var arrowPackages = []string{"pandas==2.3.3", "numpy==2.2.6", "pyarrow==26.0.1"}

// ErrNoPython is for callers that say what they leave out.
var ErrNoPython = errors.New("no Python 3.11 or newer with pip that every account may run (Debian: apt-get install python3 python3-pip)")

// Install is a fetched Spark.
type Install struct {
	Home     string // SPARK_HOME
	Version  string
	Python   string // a Python that every account may run
	Packages string // folder for PYTHONPATH: pandas, numpy, pyarrow
	Java     string // JAVA_HOME
	javac    string
}

// Fetch makes a version of Spark available in cacheDir ("" for hadoop.DefaultCache). The first call takes about a minute,
// later ones milliseconds; several processes may call it at once. It fails with hadoop.ErrNoJDK or ErrNoPython (wrapped) when
// those are missing.
func Fetch(ctx context.Context, cacheDir, version string, log *zap.Logger) (Install, error) {
	if log == nil {
		log = zap.NewNop()
	}
	sum, ok := sums[version]
	if !ok {
		return Install{}, fmt.Errorf("no checksum of Spark %s is known", version)
	}
	java, javac, err := hadoop.FindJDK(ctx)
	if err != nil {
		return Install{}, err
	}
	if real, err := filepath.EvalSymlinks(java); err == nil {
		java = real
	}
	in := Install{Version: version, Java: filepath.Dir(filepath.Dir(java)), javac: javac}
	if in.Python, err = findPython(ctx); err != nil {
		return Install{}, err
	}
	site, err := ensure(ctx, in.Python, cacheDir, "spark-"+version, []string{"pyspark==" + version + " --hash=sha256:" + sum}, true, log)
	if err != nil {
		return Install{}, err
	}
	in.Home = filepath.Join(site, "pyspark")
	in.Packages, err = ensure(ctx, in.Python, cacheDir, "spark-arrow", arrowPackages, false, log)
	return in, err
}

// ensure installs packages into a folder of their own, once for each list of requirements and minor version of Python, and
// returns it. If alone, they are taken without what they depend on and all have a checksum; else pip checks the index's.
func ensure(ctx context.Context, python, cacheDir, name string, requirements []string, alone bool, log *zap.Logger) (string, error) {
	root, unlock, err := hadoop.CacheFolder(ctx, cacheDir, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	minor, err := pythonMinor(ctx, python)
	if err != nil {
		return "", err
	}
	text := strings.Join(requirements, "\n") + "\n"
	site := filepath.Join(root, fmt.Sprintf("python3.%d-%s", minor, hadoop.Key([]byte(text))))
	if _, err := os.Stat(site); err == nil {
		return site, nil
	}
	temp, err := os.MkdirTemp(root, "fetch-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	list := filepath.Join(temp, "requirements.txt")
	if err := os.WriteFile(list, []byte(text), 0o644); err != nil {
		return "", err
	}
	pip, err := findPip(ctx, python)
	if err != nil {
		return "", err
	}
	log.Info("fetching from PyPI", zap.Strings("packages", requirements), zap.String("into", site))
	start := time.Now()
	fresh := filepath.Join(temp, "site")
	args := append(pip[1:], "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--target", fresh, "-r", list)
	if alone {
		args = append(args, "--no-deps", "--require-hashes", "--no-compile")
	}
	cmd := exec.CommandContext(ctx, pip[0], args...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", fmt.Errorf("fetch %s: %w", name, ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("fetch %v from PyPI (is the network or a mirror reachable?): %w: %s", requirements, err, pipError(out))
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, site); err != nil {
		return "", err
	}
	log.Info("fetched from PyPI", zap.Strings("packages", requirements), zap.Duration("took", time.Since(start).Round(time.Millisecond)))
	return site, nil
}

// pipError returns the first error that pip wrote, or its last line.
func pipError(out []byte) string {
	last := ""
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "ERROR") {
			return line
		}
		if line != "" {
			last = line
		}
	}
	return last
}

// findPip returns the command line of a pip that installs for python: its own, or that of another Python on PATH.
func findPip(ctx context.Context, python string) ([]string, error) {
	for _, dir := range append([]string{filepath.Dir(python)}, filepath.SplitList(os.Getenv("PATH"))...) {
		other := filepath.Join(dir, "python3")
		if exec.CommandContext(ctx, other, "-m", "pip", "--version").Run() == nil {
			return []string{other, "-m", "pip", "--python", python}, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("no pip: %w", ErrNoPython)
}

// findPython returns the first python3 on PATH that every account may run.
func findPython(ctx context.Context) (string, error) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, "python3")
		if !openToAll(file) {
			continue
		}
		if minor, err := pythonMinor(ctx, file); err == nil && minor >= 11 {
			return file, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return "", ErrNoPython
}

var pythonVersion = regexp.MustCompile(`^Python 3\.(\d+)`)

func pythonMinor(ctx context.Context, python string) (int, error) {
	out, err := exec.CommandContext(ctx, python, "--version").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s --version: %w", python, err)
	}
	m := pythonVersion.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s --version: %q", python, out)
	}
	return strconv.Atoi(string(m[1]))
}

// openToAll tells whether every account may run a file: it, and each folder on the way, as its links lead.
func openToAll(file string) bool {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return false
	}
	for _, p := range []string{filepath.Dir(file), real} {
		for {
			info, err := os.Stat(p)
			if err != nil || info.Mode().Perm()&0o001 == 0 {
				return false
			}
			if p == "/" {
				break
			}
			p = filepath.Dir(p)
		}
	}
	return true
}
