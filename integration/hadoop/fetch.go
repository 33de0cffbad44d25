package hadoop

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Version of Hadoop that is fetched.
const Version = "3.4.2"

// Errors of Fetch that callers may want to tell apart, to say what they leave out.
var (
	ErrNoJDK   = errors.New("no JDK 17 or newer found: install one (Debian: apt-get install openjdk-17-jdk-headless) or set JAVA_HOME")
	ErrNoMaven = errors.New("no Maven found, which fetches Hadoop: install it (Debian: apt-get install maven)")
)

//go:embed java/fairway/*.java java/log4j.properties
var javaSources embed.FS

// artifact is a dependency in Maven's words.
type artifact struct {
	Group   string `xml:"groupId"`
	Name    string `xml:"artifactId"`
	Version string `xml:"version,omitempty"`
	Type    string `xml:"type,omitempty"`

	Exclusions *exclusions `xml:"exclusions,omitempty"`
}

type exclusions struct {
	Exclusion []artifact `xml:"exclusion"`
}

func artifacts() []artifact {
	hadoop := func(name, kind string) artifact {
		return artifact{Group: "org.apache.hadoop", Name: name, Version: Version, Type: kind}
	}
	return []artifact{
		hadoop("hadoop-client", ""), hadoop("hadoop-hdfs", ""),
		hadoop("hadoop-hdfs", "test-jar"), hadoop("hadoop-common", "test-jar"), // MiniDFSCluster
		hadoop("hadoop-mapreduce-client-jobclient", ""), hadoop("hadoop-mapreduce-client-shuffle", ""),
		hadoop("hadoop-mapreduce-client-app", ""), hadoop("hadoop-mapreduce-examples", ""), hadoop("hadoop-streaming", ""),
		hadoop("hadoop-yarn-applications-distributedshell", ""),
		hadoop("hadoop-yarn-server-resourcemanager", ""), hadoop("hadoop-yarn-server-nodemanager", ""),
		hadoop("hadoop-yarn-server-timelineservice", ""), // the ResourceManager loads its classes even if it is off
		// The ResourceManager's, which Maven would leave out for a nearer dependency of narrower scope.
		{Group: "org.bouncycastle", Name: "bcpkix-jdk18on", Version: "1.78.1"},
		{Group: "junit", Name: "junit", Version: "4.13.2"},
		{Group: "org.mockito", Name: "mockito-core", Version: "4.11.0"},
	}
}

// Install is a fetched Hadoop.
type Install struct {
	Lib     string // folder of Hadoop's jars
	helper  string // jar of our own Java
	archive string // class-data archive of MiniHDFS, or "" if there is none
	java    string // path of the java command
	version string
}

// DefaultCache returns the folder that Fetch uses when none is given: .cache at the root of this repository, which git
// ignores, or the user's cache folder when the working folder is outside of it.
func DefaultCache() string {
	dir, err := os.Getwd()
	for err == nil {
		if mod, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && bytes.HasPrefix(mod, []byte("module fairway\n")) {
			return filepath.Join(dir, ".cache")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if cache, err := os.UserCacheDir(); err == nil {
		return filepath.Join(cache, "fairway")
	}
	return filepath.Join(os.TempDir(), "fairway-cache")
}

// Fetch makes Hadoop available in cacheDir ("" for DefaultCache) and returns where. The first call downloads about
// 100 MB; later ones take milliseconds. Several processes may call it at once. It fails with ErrNoJDK or ErrNoMaven
// (wrapped) when those are missing.
func Fetch(ctx context.Context, cacheDir string, log *zap.Logger) (Install, error) {
	if log == nil {
		log = zap.NewNop()
	}
	java, javac, err := FindJDK(ctx)
	if err != nil {
		return Install{}, err
	}
	root, unlock, err := CacheFolder(ctx, cacheDir, "hadoop-"+Version)
	if err != nil {
		return Install{}, err
	}
	defer unlock()
	in := Install{java: java, version: Version}
	if in.Lib, err = ensureJars(ctx, root, Version, artifacts(), log); err != nil {
		return Install{}, err
	}
	sources, key, err := readSources()
	if err != nil {
		return Install{}, err
	}
	helperDir := filepath.Join(root, "helper-"+Key([]byte(key+in.Lib+java)))
	in.helper = filepath.Join(helperDir, "fairway-hadoop.jar")
	if _, err := os.Stat(in.helper); err != nil {
		if err := buildHelper(ctx, helperDir, in, javac, sources); err != nil {
			return Install{}, err
		}
	}
	in.archive, err = in.ensureArchive(ctx, helperDir, log)
	return in, err
}

// FetchClient makes the client and the ApplicationMaster of another version of Hadoop available, for clients of a cluster.
// Nothing else can be started from it; the examples' jar of Version works with it.
func FetchClient(ctx context.Context, cacheDir, version string, log *zap.Logger) (Install, error) {
	if log == nil {
		log = zap.NewNop()
	}
	in := Install{version: version}
	var err error
	if in.java, _, err = FindJDK(ctx); err != nil {
		return Install{}, err
	}
	root, unlock, err := CacheFolder(ctx, cacheDir, "hadoop-"+version)
	if err != nil {
		return Install{}, err
	}
	defer unlock()
	var list []artifact
	for _, name := range []string{"hadoop-client", "hadoop-mapreduce-client-jobclient", "hadoop-mapreduce-client-shuffle",
		"hadoop-mapreduce-client-app", "hadoop-yarn-server-nodemanager"} { // the last brings what a master's pages need, as a distribution does
		list = append(list, artifact{Group: "org.apache.hadoop", Name: name, Version: version})
	}
	if version == "3.5.0" { // Maven would take an older one than Hadoop's own distribution has, and its databind cannot do with it
		list = append(list, artifact{Group: "com.fasterxml.jackson.core", Name: "jackson-core", Version: "2.18.6"})
	}
	in.Lib, err = ensureJars(ctx, root, version, list, log)
	return in, err
}

// FetchJar makes one jar of Maven Central available, without what it depends on, and returns its file.
func FetchJar(ctx context.Context, cacheDir, group, name, version string, log *zap.Logger) (string, error) {
	if log == nil {
		log = zap.NewNop()
	}
	root, unlock, err := CacheFolder(ctx, cacheDir, name+"-"+version)
	if err != nil {
		return "", err
	}
	defer unlock()
	lib, err := ensureJars(ctx, root, version, []artifact{{Group: group, Name: name, Version: version,
		Exclusions: &exclusions{[]artifact{{Group: "*", Name: "*"}}}}}, log)
	return filepath.Join(lib, name+"-"+version+".jar"), err
}

// CacheFolder makes and locks a folder below cacheDir ("" for DefaultCache), such as hadoop-3.4.2. Until unlock is called,
// others who want the same folder wait.
func CacheFolder(ctx context.Context, cacheDir, name string) (root string, unlock func(), err error) {
	if cacheDir == "" {
		cacheDir = DefaultCache()
	}
	if root, err = filepath.Abs(filepath.Join(cacheDir, name)); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", nil, fmt.Errorf("make cache folder: %w", err)
	}
	unlock, err = lockFolder(ctx, root)
	return root, unlock, err
}

// ensureJars fetches what list names, if it is not there, and returns the folder.
func ensureJars(ctx context.Context, root, version string, list []artifact, log *zap.Logger) (string, error) {
	pom := pom(list)
	lib := filepath.Join(root, "lib-"+Key(pom))
	if _, err := os.Stat(lib); err == nil {
		return lib, nil
	}
	return lib, fetchJars(ctx, root, lib, version, pom, log)
}

// ensureArchive returns a class-data archive, which halves the start of HDFS, or "" if this JVM makes none: all works
// without, slower. It is tried once.
func (in Install) ensureArchive(ctx context.Context, dir string, log *zap.Logger) (string, error) {
	archive, failed := filepath.Join(dir, "hdfs.jsa"), filepath.Join(dir, "no-archive")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	if _, err := os.Stat(failed); err == nil {
		return "", nil
	}
	err := dumpArchive(ctx, in, archive+".new")
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		log.Info("no class-data archive: HDFS will start slower", zap.Error(err))
		return "", os.WriteFile(failed, []byte(err.Error()+"\n"), 0o644)
	}
	return archive, os.Rename(archive+".new", archive)
}

// lockFolder keeps other processes from fetching at the same time; it gives up when ctx ends.
func lockFolder(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cache folder: %w", err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock cache folder: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another fetch into %s: %w", dir, ctx.Err())
		}
	}
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// FindJDK returns the commands of the JDK in JAVA_HOME, or of the one on PATH; it fails with ErrNoJDK (wrapped).
func FindJDK(ctx context.Context) (java, javac string, err error) {
	find := func(name string) (string, error) {
		if home := os.Getenv("JAVA_HOME"); home != "" {
			return exec.LookPath(filepath.Join(home, "bin", name))
		}
		return exec.LookPath(name)
	}
	if java, err = find("java"); err != nil {
		return "", "", fmt.Errorf("java: %w", ErrNoJDK)
	}
	if javac, err = find("javac"); err != nil {
		return "", "", fmt.Errorf("javac: %w", ErrNoJDK)
	}
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
	if ctx.Err() != nil {
		return "", "", ctx.Err()
	}
	m := javaVersion.FindSubmatch(out)
	if err != nil || m == nil {
		return "", "", fmt.Errorf("%s -version: %q: %w", java, firstLine(out), ErrNoJDK)
	}
	if major, _ := strconv.Atoi(string(m[1])); major < 17 {
		return "", "", fmt.Errorf("%s is version %s: %w", java, m[1], ErrNoJDK)
	}
	return java, javac, nil
}

// pom asks Maven for artifacts.
func pom(list []artifact) []byte {
	type project struct {
		XMLName      xml.Name   `xml:"http://maven.apache.org/POM/4.0.0 project"`
		Model        string     `xml:"modelVersion"`
		Group        string     `xml:"groupId"`
		Name         string     `xml:"artifactId"`
		Version      string     `xml:"version"`
		Dependencies []artifact `xml:"dependencies>dependency"`
	}
	text, err := xml.MarshalIndent(project{
		Model: "4.0.0", Group: "fairway", Name: "hadoop", Version: "1", Dependencies: list}, "", "  ")
	if err != nil {
		panic(err) // constant input
	}
	return text
}

func fetchJars(ctx context.Context, root, lib, version string, pom []byte, log *zap.Logger) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return ErrNoMaven
	}
	temp, err := os.MkdirTemp(root, "fetch-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.WriteFile(filepath.Join(temp, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	log.Info("fetching Hadoop from Maven Central, about 100 MB", zap.String("version", version), zap.String("into", lib))
	start := time.Now()
	done := make(chan struct{})
	go reportProgress(filepath.Join(temp, "lib"), log, done)
	defer close(done)
	cmd := exec.CommandContext(ctx, mvn, "-B", "-f", filepath.Join(temp, "pom.xml"), "dependency:copy-dependencies",
		"-DoutputDirectory="+filepath.Join(temp, "lib"))
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("fetch Hadoop: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("fetch Hadoop %s with Maven (is the network or a mirror reachable?): %w: %s", version, err, mavenError(out))
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(temp, "lib"), lib); err != nil {
		return err
	}
	log.Info("fetched Hadoop", zap.Duration("took", time.Since(start).Round(time.Millisecond)))
	return nil
}

// reportProgress logs how many jars have arrived. Maven copies at the end, so the user's local repository counts too.
func reportProgress(lib string, log *zap.Logger, done <-chan struct{}) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	start := time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			jars, _ := os.ReadDir(lib)
			log.Info("fetching Hadoop", zap.Int("jars_ready", len(jars)), zap.Duration("after", time.Since(start).Round(time.Second)))
		}
	}
}

// mavenError returns the first error line that Maven wrote, or the last line.
func mavenError(out []byte) string {
	last := ""
	for _, line := range strings.Split(string(out), "\n") {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "ERROR") {
			return line
		}
		if line != "" {
			last = line
		}
	}
	return last
}

func readSources() (sources map[string][]byte, key string, err error) {
	sources = make(map[string][]byte)
	err = fs.WalkDir(javaSources, "java", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			sources[strings.TrimPrefix(name, "java/")], err = javaSources.ReadFile(name)
		}
		return err
	})
	names := make([]string, 0, len(sources))
	for name := range sources {
		names = append(names, name)
	}
	sort.Strings(names)
	var all strings.Builder
	for _, name := range names {
		fmt.Fprintf(&all, "%s %d\n%s", name, len(sources[name]), sources[name])
	}
	return sources, all.String(), err
}

// buildHelper compiles our Java into a jar.
func buildHelper(ctx context.Context, dir string, in Install, javac string, sources map[string][]byte) error {
	temp, err := os.MkdirTemp(filepath.Dir(dir), "helper-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	classes := filepath.Join(temp, "classes")
	args := []string{"-Xlint:-options", "-cp", filepath.Join(in.Lib, "*"), "-d", classes}
	for name, text := range sources {
		file := filepath.Join(temp, "src", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
		if strings.HasSuffix(name, ".java") {
			args = append(args, file)
		}
	}
	if out, err := exec.CommandContext(ctx, javac, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("compile the Java helper: %w: %s", err, firstLine(out))
	}
	if err := os.WriteFile(filepath.Join(classes, "log4j.properties"), sources["log4j.properties"], 0o644); err != nil {
		return err
	}
	if err := zipFolder(filepath.Join(temp, filepath.Base(in.helper)), classes); err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	return os.Rename(temp, dir)
}

// dumpArchive runs HDFS once and lets the JVM write down the classes that it loaded.
func dumpArchive(ctx context.Context, in Install, file string) error {
	h, err := StartHDFS(ctx, in, HDFSOptions{jvm: []string{"-XX:ArchiveClassesAtExit=" + file, "-Xlog:cds=off", "-Xlog:cds+dynamic=off"}})
	if err != nil {
		return err
	}
	h.proc.stop(2 * time.Minute) // it writes at its end, which takes seconds
	if err := h.Stop(); err != nil {
		return err
	}
	_, err = os.Stat(file)
	return err
}

func zipFolder(file, dir string) error {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, buf.Bytes(), 0o644)
}

// classPath lists every jar by name: a class-data archive needs the same list each time.
func (in Install) classPath(before ...string) (string, error) {
	jars, err := filepath.Glob(filepath.Join(in.Lib, "*.jar"))
	if err != nil || len(jars) == 0 {
		return "", fmt.Errorf("no jars in %s: delete the folder and fetch again", in.Lib)
	}
	sort.Strings(jars)
	if in.helper != "" {
		before = append(before, in.helper)
	}
	return strings.Join(append(before, jars...), ":"), nil
}

// Key names a folder of the cache by what it was made from.
func Key(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
