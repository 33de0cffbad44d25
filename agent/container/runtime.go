package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fairway/agent/container/supervisor"
	"golang.org/x/sys/unix"
)

// Errors, wrapped with detail.
var (
	// ErrGone: neither a live supervisor nor an exit record is left. The task's program may never have run.
	ErrGone = errors.New("container is gone")
	// ErrNotStarted is an ErrGone: nothing of the container was ever executed.
	ErrNotStarted = fmt.Errorf("%w: it was never started", ErrGone)
	// ErrExists: there is a container of this id already.
	ErrExists = errors.New("container exists")
)

// Runtime starts containers and finds them again. It is safe for concurrent use.
type Runtime struct {
	dir     string
	groups  hierarchy
	binary  string
	ackWait time.Duration
	start   time.Duration // see startTime
}

// Options of a Runtime.
type Options struct {
	Dir        string        // holds a state folder for each container; made if missing
	NoCgroups  bool          // do not use cgroups
	CgroupRoot string        // empty: /sys/fs/cgroup
	AckWait    time.Duration // how long a supervisor waits for Release after the end; 0: 10 min
}

// New looks at what this host allows. Two Runtimes may live on one host if their Dirs differ.
func New(o Options) (*Runtime, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &Runtime{dir: dir, groups: none{why: "switched off"}, binary: "/proc/self/exe", ackWait: o.AckWait, start: startTime}
	if r.ackWait == 0 {
		r.ackWait = 10 * time.Minute
	}
	if !o.NoCgroups {
		root := o.CgroupRoot
		if root == "" {
			root = "/sys/fs/cgroup"
		}
		self, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			self = nil // no cgroups in this kernel
		}
		h := fnv.New64a()
		h.Write([]byte(dir))
		r.groups = detect(root, string(self), strconv.FormatUint(h.Sum64(), 36))
	}
	return r, nil
}

// Limits tells what is enforced.
func (r *Runtime) Limits() Limits { return r.groups.limits() }

// Usage is what all containers use together: bytes of memory now, and nanoseconds of cpu so far (only the difference of
// two calls means something). False: there are no cgroups to ask.
func (r *Runtime) Usage() (memory, cpu int64, ok bool) { return r.groups.usage() }

// Close removes the folder of cgroups if it is empty. Containers live on.
func (r *Runtime) Close() { r.groups.clear() }

// Spec is what to run.
type Spec struct {
	ID     string // letters, digits, '.', '_', '-'; names the state folder and the cgroups
	Path   string // executable; relative: to Dir
	Argv   []string
	Env    []string
	Dir    string // working directory
	User   *User  // nil: as this process
	Limit  Resources
	Stdout *os.File
	Stderr *os.File
}

// User is an account to switch to.
type User struct {
	UID, GID int
	Groups   []int
}

// state is what is kept of a container beside its supervisor's own files. It is written before the fork.
type state struct {
	BootID  string
	Cgroups supervisor.Spec // V1 and V2 only
}

const stateFile = "state.json"

// Start runs a container. It returns when the program was executed; an error means that it was not and that nothing is
// left of it. Stdout and Stderr stay the caller's to close.
func (r *Runtime) Start(s Spec) (_ *Container, err error) {
	if !validID(s.ID) {
		return nil, fmt.Errorf("container id %q is not made of letters, digits, '.', '_' and '-'", s.ID)
	}
	dir := filepath.Join(r.dir, s.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("%w: %s", ErrExists, s.ID)
		}
		return nil, err
	}
	c := &Container{r: r, id: s.ID, dir: dir}
	spec := supervisor.Spec{StateDir: dir, Path: s.Path, Argv: s.Argv, Env: s.Env, Dir: s.Dir, UID: -1, AckSeconds: int(r.ackWait.Seconds())}
	if s.User != nil {
		spec.UID, spec.GID, spec.Groups = s.User.UID, s.User.GID, s.User.Groups
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.groups.remove(&c.groups), os.RemoveAll(dir))
		}
	}()
	err = r.groups.create(s.ID, s.Limit, &spec)
	c.groups = supervisor.Spec{V1: spec.V1, V2: spec.V2}
	if err != nil {
		return nil, fmt.Errorf("make cgroups: %w", err)
	}
	kept, err := json.Marshal(state{BootID: BootID(), Cgroups: c.groups})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), kept, 0o600); err != nil {
		return nil, err
	}
	if err = c.fork(&spec, s.Stdout, s.Stderr); err == nil {
		err = c.awaitStart()
	}
	if err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// fork starts the supervisor and hands it the spec.
func (c *Container) fork(spec *supervisor.Spec, stdout, stderr *os.File) error {
	body := spec.Encode()
	if len(body) >= supervisor.MaxMessage {
		return errors.New("command line and environment are too large")
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer ours.Close()
	defer theirs.Close()
	if err := syscall.SetNonblock(pair[1], false); err != nil {
		return err
	}
	listener, err := listen(c.dir)
	if err != nil {
		return fmt.Errorf("make control socket: %w", err)
	}
	defer listener.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	log, err := os.OpenFile(filepath.Join(c.dir, supervisor.LogFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p, err := os.StartProcess(c.r.binary, []string{supervisor.Argv0}, &os.ProcAttr{
		Dir: "/",
		// No collections: it allocates next to nothing, and must not wake up for nothing. Two processors: with one, a
		// goroutine would wait for the runtime's monitor to see that the other is in a system call.
		Env:   []string{"GOGC=off", "GOMAXPROCS=2", "GOTRACEBACK=single"},
		Files: []*os.File{null, null, log, theirs, listener, stdout, stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	c.process = p
	conn, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	c.conn = conn.(*net.UnixConn)
	if _, err := c.conn.Write(supervisor.Frame(supervisor.MsgSpec, body)); err != nil {
		return fmt.Errorf("tell supervisor: %w", err)
	}
	return nil
}

// listen makes the control socket. Its path may be longer than a socket's address can be, so it goes by /proc.
func listen(dir string) (*os.File, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "listen")
	if err := syscall.Bind(fd, controlAddress(folder)); err != nil {
		f.Close()
		return nil, err
	}
	if err := syscall.Listen(fd, 8); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func controlAddress(folder *os.File) *syscall.SockaddrUnix {
	return &syscall.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), supervisor.ControlFile)}
}

// dial connects to the supervisor of a state folder.
func dial(dir string) (*net.UnixConn, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "control")
	defer f.Close()
	if err := syscall.Connect(fd, controlAddress(folder)); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// Attach finds a container that this or an earlier process started. ErrGone: there is none any more; what was left of it
// (processes, cgroups, state folder) is removed.
func (r *Runtime) Attach(id string) (*Container, error) {
	if !validID(id) {
		return nil, fmt.Errorf("%w: %q is no container's id", ErrGone, id)
	}
	c := &Container{r: r, id: id, dir: filepath.Join(r.dir, id)}
	var kept state
	if b, err := os.ReadFile(filepath.Join(c.dir, stateFile)); err == nil && json.Unmarshal(b, &kept) == nil {
		c.groups = kept.Cgroups
	}
	conn, err := dial(c.dir)
	if err == nil {
		c.conn = conn
		c.loadPID()
		c.exit = c.record()
		return c, nil
	}
	if c.exit = c.record(); c.exit != nil {
		return c, nil
	}
	why := "its supervisor has died"
	if kept.BootID != "" && kept.BootID != BootID() {
		why = "the host was started again"
		c.groups = supervisor.Spec{}
	} else if kept.BootID == "" {
		return nil, errors.Join(ErrNotStarted, r.groups.remove(&c.groups), os.RemoveAll(c.dir))
	}
	return nil, errors.Join(fmt.Errorf("%w: %s", ErrGone, why), r.groups.remove(&c.groups), os.RemoveAll(c.dir))
}

// List returns the ids of all containers that were not released, whether they run or not.
func (r *Runtime) List() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && validID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

func validID(id string) bool {
	if id == "" || len(id) > 200 || id[0] == '.' {
		return false
	}
	return strings.IndexFunc(id, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}) < 0
}

// BootID tells this start of the host from others; empty if the kernel does not say.
func BootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// rmdir removes a cgroup, whose processes are dead but perhaps not gone yet.
func rmdir(dir string) error {
	for try := 0; ; try++ {
		err := syscall.Rmdir(dir)
		if err == nil || err == syscall.ENOENT {
			return nil
		}
		if err != syscall.EBUSY || try == 50 {
			return &os.PathError{Op: "remove cgroup", Path: dir, Err: err}
		}
		// There is nothing to wait on in v1: a cgroup says only by the success of rmdir that it is empty.
		unix.Poll(nil, 10)
	}
}
