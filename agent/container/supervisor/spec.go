package supervisor

// Argv0 is the argv[0] that makes a binary that links this package a supervisor.
const Argv0 = "fairway-supervisor"

// Descriptors that the agent hands to a supervisor.
const (
	ControlFD = 3 // one end of a stream socket pair: the spec comes in, then it is a control connection as any other
	ListenFD  = 4 // listening stream socket for further control connections
	StdoutFD  = 5 // the task's
	StderrFD  = 6
)

// Names of the files in a container's state folder, the supervisor's working directory.
const (
	ExitFile    = "exit"     // the exit record
	exitTemp    = "exit.tmp" // written first, made at the start so that a full disk cannot prevent it
	ControlFile = "control"  // the listening socket
	LogFile     = "supervisor.log"
)

// Kinds of messages on a control connection. Each is a little-endian uint32 length (of kind and body), the kind, the body.
const (
	MsgSpec    = 'P' // to the supervisor, first on ControlFD: Spec
	MsgKill    = 'K' // to the supervisor: grace in milliseconds, 8 bytes little-endian; 0 is SIGKILL at once
	MsgAck     = 'A' // to the supervisor: the agent has the exit record; the supervisor ends
	MsgStarted = 'S' // from the supervisor: pid of the task, 8 bytes little-endian
	MsgExit    = 'X' // from the supervisor: the exit record, after it is durable
)

// MaxMessage bounds the messages of a control connection, in bytes.
const MaxMessage = 8 << 20

// Spec says what a supervisor starts and holds.
type Spec struct {
	StateDir string
	Path     string // what to execute; relative: to Dir
	Argv     []string
	Env      []string
	Dir      string // the task's working directory
	UID      int    // -1: as the agent
	GID      int
	Groups   []int
	V1       []Controller // cgroup v1: one for each hierarchy
	V2       string       // cgroup v2: the container's folder; empty: none
	// AckSeconds is how long the supervisor stays for an acknowledgement after the exit record is on disk.
	AckSeconds int
}

// Controller is a container's cgroup in one v1 hierarchy.
type Controller struct {
	Name  string // "memory", "cpu", "cpuacct", "pids", "freezer"
	Dir   string // the container's folder
	Leave string // the folder that the supervisor itself is in
}

// Encode returns the spec as the body of a MsgSpec.
func (s *Spec) Encode() []byte {
	var e encoder
	e.str(s.StateDir)
	e.str(s.Path)
	e.strs(s.Argv)
	e.strs(s.Env)
	e.str(s.Dir)
	e.num(s.UID)
	e.num(s.GID)
	e.num(len(s.Groups))
	for _, g := range s.Groups {
		e.num(g)
	}
	e.num(len(s.V1))
	for _, c := range s.V1 {
		e.str(c.Name)
		e.str(c.Dir)
		e.str(c.Leave)
	}
	e.str(s.V2)
	e.num(s.AckSeconds)
	return e.b
}

// DecodeSpec reads what Encode wrote; false: it is not one.
func DecodeSpec(b []byte) (*Spec, bool) {
	d := decoder{b: b}
	s := &Spec{StateDir: d.str(), Path: d.str(), Argv: d.strs(), Env: d.strs(), Dir: d.str(), UID: d.num(), GID: d.num()}
	for i, n := 0, d.count(); i < n; i++ {
		s.Groups = append(s.Groups, d.num())
	}
	for i, n := 0, d.count(); i < n; i++ {
		s.V1 = append(s.V1, Controller{Name: d.str(), Dir: d.str(), Leave: d.str()})
	}
	s.V2 = d.str()
	s.AckSeconds = d.num()
	return s, !d.bad && len(d.b) == 0
}

type encoder struct{ b []byte }

func (e *encoder) num(n int) {
	for i := 0; i < 64; i += 8 {
		e.b = append(e.b, byte(uint64(int64(n))>>i))
	}
}

func (e *encoder) str(s string) {
	e.num(len(s))
	e.b = append(e.b, s...)
}

func (e *encoder) strs(l []string) {
	e.num(len(l))
	for _, s := range l {
		e.str(s)
	}
}

type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) num() int {
	if len(d.b) < 8 {
		d.bad, d.b = true, nil
		return 0
	}
	n := number(d.b)
	d.b = d.b[8:]
	return int(n)
}

// count reads the number of elements that follow, each at least 8 bytes long, so that garbage cannot ask for memory.
func (d *decoder) count() int {
	n := d.num()
	if n < 0 || n > len(d.b)/8 {
		d.bad, d.b = true, nil
		return 0
	}
	return n
}

func (d *decoder) str() string {
	n := d.num()
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) strs() []string {
	n := d.count()
	l := make([]string, 0, n)
	for i := 0; i < n && !d.bad; i++ {
		l = append(l, d.str())
	}
	return l
}

// number reads 8 little-endian bytes.
func number(b []byte) int64 {
	var n uint64
	for i := 0; i < 8; i++ {
		n |= uint64(b[i]) << (8 * i)
	}
	return int64(n)
}

// Frame returns a message as it goes over a control connection.
func Frame(kind byte, body []byte) []byte {
	n := len(body) + 1
	b := make([]byte, 0, n+4)
	b = append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24), kind)
	return append(b, body...)
}

// Number8 is the body of a message that holds one number.
func Number8(n int64) []byte {
	var e encoder
	e.num(int(n))
	return e.b
}

// ParseNumber8 reads what Number8 wrote.
func ParseNumber8(b []byte) (int64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return number(b), true
}
