package state

import (
	"errors"
	"io"
	"iter"
)

// View is what can be read of a state. A View that Snapshot returned is frozen and may be read by many goroutines.
type View struct{}

// State is the fold of facts. It belongs to one goroutine.
type State struct{ View }

// New returns the state before the first fact.
func New() *State { return &State{} }

// Apply folds one fact in, or refuses it and leaves the state as it was. It keeps the fact's slices: they must not be
// written afterwards.
func (s *State) Apply(f *Fact) error { return errors.New("not yet") }

// Snapshot freezes the state as it is now, in constant time.
func (s *State) Snapshot() *View { return &s.View }

// Clone returns an independent copy, in constant time; what both share is copied when one of them writes it.
func (s *State) Clone() *State { return s }

// NextAgent is the number that the next AgentAdmitted must bear.
func (v *View) NextAgent() uint32     { return 0 }
func (v *View) NextFramework() uint32 { return 0 }
func (v *View) NextRole() uint32      { return 0 }
func (v *View) NextJob() uint32       { return 0 }

func (v *View) Cluster() Cluster { return Cluster{} }
func (v *View) Epoch() uint64    { return 0 }
func (v *View) Now() int64       { return 0 }

// Look-ups return nil where there is none.
func (v *View) Agent(number uint32) *Agent                          { return nil }
func (v *View) Role(number uint32) *Role                            { return nil }
func (v *View) Framework(number uint32) *Framework                  { return nil }
func (v *View) Job(number uint32) *Job                              { return nil }
func (v *View) AgentByID(id string) *Agent                          { return nil }
func (v *View) RoleByPath(path string) *Role                        { return nil }
func (v *View) FrameworkByID(id string) *Framework                  { return nil }
func (v *View) JobByID(id string) *Job                              { return nil }
func (v *View) JobByRequest(user, request string) *Job              { return nil }
func (v *View) Task(framework uint32, sequence uint64) (Task, bool) { return Task{}, false }

// HighWater is the largest sequence that the framework has launched.
func (v *View) HighWater(framework uint32) uint64 { return 0 }

// Iterators. All but Jobs go by ascending number or sequence.
func (v *View) Agents() iter.Seq[*Agent]         { return func(func(*Agent) bool) {} }
func (v *View) Roles() iter.Seq[*Role]           { return func(func(*Role) bool) {} }
func (v *View) Frameworks() iter.Seq[*Framework] { return func(func(*Framework) bool) {} }

// Jobs goes from the newest to the oldest.
func (v *View) Jobs() iter.Seq[*Job] { return func(func(*Job) bool) {} }

// TasksOfFramework and TasksOfJob yield live and ended tasks; TasksOnAgent only live ones.
func (v *View) TasksOfFramework(number uint32) iter.Seq[Task] { return func(func(Task) bool) {} }
func (v *View) TasksOfJob(number uint32) iter.Seq[Task]       { return func(func(Task) bool) {} }
func (v *View) TasksOnAgent(number uint32) iter.Seq[Task]     { return func(func(Task) bool) {} }

// Counts of live tasks.
func (v *View) LiveTasks() int                         { return 0 }
func (v *View) LiveTasksOfFramework(number uint32) int { return 0 }
func (v *View) LiveTasksOnAgent(number uint32) int     { return 0 }
func (v *View) LiveTasksOfJob(number uint32) int       { return 0 }

// Check verifies the invariants.
func (v *View) Check() error { return nil }

// WriteTo writes the snapshot encoding.
func (v *View) WriteTo(w io.Writer) (int64, error) { return 0, errors.New("not yet") }

// ReadSnapshot reads what WriteTo wrote.
func ReadSnapshot(r io.Reader) (*State, error) { return nil, errors.New("not yet") }

// AppendFact appends the encoding of a fact.
func AppendFact(b []byte, f *Fact) []byte { return b }

// DecodeFacts decodes a whole entry of facts.
func DecodeFacts(b []byte) ([]Fact, error) { return nil, errors.New("not yet") }
