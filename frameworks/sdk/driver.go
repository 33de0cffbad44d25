package sdk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// Dial opens one session with a broker, in process or remote. The driver calls it again after a session was lost; ctx
// ends when the driver gives up on the attempt.
type Dial func(ctx context.Context) (api.FrameworkSession, error)

// Config of a Driver. Dial, Register and Scheduler are required.
type Config struct {
	Dial      Dial
	Register  *v1.RegisterFramework // framework_id is filled in by the driver when it registers again
	Scheduler Scheduler

	Heartbeat time.Duration // 0: 5 s
	// MinBackoff and MaxBackoff bound the growing pause between two attempts to reach the broker. 0: 50 ms and 5 s.
	MinBackoff, MaxBackoff time.Duration
	// GiveUp ends Run with an error when no session could be had for so long. 0: 10 min.
	GiveUp time.Duration
	// ProgressEvery is the shortest time between two progress messages. 0: 200 ms.
	ProgressEvery time.Duration
	Logger        *zap.Logger // nil: none
}

// ErrStopped is returned by Post when the driver's Run has ended.
var ErrStopped = errors.New("framework driver has stopped")

// Driver keeps one framework's conversation with a broker. Use New, then Run once.
type Driver struct {
	c     Config
	log   *zap.Logger
	posts chan func()
	done  chan struct{}

	// Everything below belongs to Run's goroutine.
	session   api.FrameworkSession
	connected bool // registered in this session
	framework string
	jobID     string
	secret    []byte
	first     uint64 // lowest sequence that this driver may have used
	next      uint64
	lastOffer uint64
	live      map[uint64]struct{} // launched here and not ended
	killing   map[uint64]*v1.KillTask
	groups    map[uint64]*group
	open      map[uint64]openOffer // offers that were not answered
	removed   []uint64
	version   uint64 // of the last statement of any group
	dirty     bool   // some group must be stated again
	out       []*v1.FrameworkCall
	lost      []*v1.TaskStatus // statuses of our own making, to be delivered in this turn
	progress  progressState
	final     *v1.Unregister
	ended     bool // the final message has been taken
	timers    timerHeap
	retryAt   time.Time // when a full mailbox is tried again
}

type group struct {
	wanted *v1.RequestGroup
	dirty  bool
}

// openOffer is what an offer took from the outstanding total of its group.
type openOffer struct {
	group uint64
	count uint32
}

type progressState struct {
	latest *v1.JobProgress
	dirty  bool
	sentAt time.Time
}

// New returns a driver that does nothing until Run.
func New(c Config) *Driver {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&c.Heartbeat, 5*time.Second)
	set(&c.MinBackoff, 50*time.Millisecond)
	set(&c.MaxBackoff, 5*time.Second)
	set(&c.GiveUp, 10*time.Minute)
	set(&c.ProgressEvery, 200*time.Millisecond)
	log := c.Logger
	if log == nil {
		log = zap.NewNop()
	}
	return &Driver{
		c: c, log: log,
		posts:     make(chan func(), 256),
		done:      make(chan struct{}),
		framework: c.Register.GetFrameworkId(),
		live:      make(map[uint64]struct{}),
		killing:   make(map[uint64]*v1.KillTask),
		groups:    make(map[uint64]*group),
		open:      make(map[uint64]openOffer),
	}
}

// FrameworkID is the id given by the broker, "" before the first registration.
func (d *Driver) FrameworkID() string { return d.framework }

// JobID is the job that the framework serves, "" before the first registration.
func (d *Driver) JobID() string { return d.jobID }

// JobSecret is the job's secret as the broker gave it.
func (d *Driver) JobSecret() []byte { return d.secret }

// NextSequence is the lowest task sequence that was not given out yet.
func (d *Driver) NextSequence() uint64 { return d.next }

// Connected reports whether the framework is registered in a live session.
func (d *Driver) Connected() bool { return d.connected }

// Post has f called on the scheduler's goroutine. It may be called by any other goroutine; it waits while the queue is
// full and fails with ErrStopped after Run has ended. f may never be called if Run ends first.
func (d *Driver) Post(f func()) error {
	select {
	case <-d.done:
		return ErrStopped
	default:
	}
	select {
	case d.posts <- f:
		return nil
	case <-d.done:
		return ErrStopped
	}
}

// After has f called on the scheduler's goroutine once delay has passed. The returned function cancels it.
func (d *Driver) After(delay time.Duration, f func()) (cancel func()) {
	return d.timers.add(time.Now().Add(delay), f)
}

// Request states what is wanted of one group (its id chosen by the author): totals, not differences. It replaces what
// was stated of that group before; the driver sets the version and keeps g. A group without a total is removed.
func (d *Driver) Request(g *v1.RequestGroup) {
	if g.Total == 0 {
		d.Remove(g.Id)
		return
	}
	old := d.groups[g.Id]
	if old == nil {
		old = &group{}
		d.groups[g.Id] = old
	}
	old.wanted, old.dirty, d.dirty = g, true, true
}

// Remove drops a group of requests.
func (d *Driver) Remove(id uint64) {
	if d.groups[id] == nil {
		return
	}
	delete(d.groups, id)
	d.removed = append(d.removed, id)
	d.dirty = true
}

// NewTaskID returns an id that was never used, for a task of the next Accept. Ids must be launched in the order in
// which they were given; one that is not used is no harm.
func (d *Driver) NewTaskID() *v1.TaskID {
	id := &v1.TaskID{Framework: d.framework, Sequence: d.next}
	d.next++
	return id
}

// Accept launches tasks on an offer; what they leave of it returns to the pool. Tasks without an id get one; an author
// who counts for himself gives ids from NextSequence on, each once and in order.
// filter keeps the rest of the offer away for so long; 0: the broker's default, negative: none.
func (d *Driver) Accept(offer uint64, filter time.Duration, tasks ...*v1.TaskSpec) {
	d.answered(offer, len(tasks))
	for _, t := range tasks {
		if t.Task == nil {
			t.Task = d.NewTaskID()
		}
		d.next = max(d.next, t.Task.Sequence+1)
		d.live[t.Task.Sequence] = struct{}{}
	}
	d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: &v1.AcceptOffer{
		Offer: offer, Tasks: tasks, FilterNanos: filterNanos(filter)}}})
}

// Decline gives offers back; their agents are not offered again (for the same group) until filter has passed.
// 0: the broker's default, negative: at once.
func (d *Driver) Decline(filter time.Duration, offers ...uint64) {
	if len(offers) == 0 {
		return
	}
	for _, o := range offers {
		d.answered(o, 0)
	}
	d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Decline{Decline: &v1.DeclineOffers{
		Offers: offers, FilterNanos: filterNanos(filter)}}})
}

func filterNanos(f time.Duration) int64 {
	if f < 0 {
		return -1
	}
	return int64(f)
}

// Suppress asks for no offers until Revive.
func (d *Driver) Suppress() {
	d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Suppress{Suppress: &v1.Suppress{}}})
}

// Revive asks for offers again and clears all filters.
func (d *Driver) Revive() {
	d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Revive{Revive: &v1.Revive{}}})
}

// Kill ends a task: SIGTERM, and SIGKILL after grace (0: the task's own). It is asked again after a reconnection, until
// the task has ended.
func (d *Driver) Kill(sequence uint64, grace time.Duration, reason string) {
	k := &v1.KillTask{Task: d.taskID(sequence), GraceNanos: int64(grace), Reason: reason}
	d.killing[sequence] = k
	d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_Kill{Kill: proto.Clone(k).(*v1.KillTask)}})
}

// Progress shows how the job fares. Only the newest is sent, and not oftener than the configuration says.
func (d *Driver) Progress(p *v1.JobProgress) {
	d.progress.latest, d.progress.dirty = p, true
}

// SaveState has the broker keep at most 1 MiB of opaque state; version must grow. It comes back in Registered.
func (d *Driver) SaveState(version uint64, state []byte) {
	d.say(&v1.FrameworkCall{Call: &v1.FrameworkCall_SaveState{SaveState: &v1.SaveState{Version: version, State: state}}})
}

// Unregister ends the framework and its job with the given phase. Run returns nil once the broker has taken it; the
// scheduler is called no more.
func (d *Driver) Unregister(u *v1.Unregister) {
	if d.final == nil {
		d.final = u
	}
}

// answered follows the outstanding totals as the broker counts them: an offer lowers its group's, what is left of it
// raises it again.
func (d *Driver) answered(id uint64, used int) {
	o, ok := d.open[id]
	if !ok {
		return
	}
	delete(d.open, id)
	if g := d.groups[o.group]; g != nil {
		g.wanted.Total += o.count - uint32(min(used, int(o.count)))
	}
}

func (d *Driver) taskID(sequence uint64) *v1.TaskID {
	return &v1.TaskID{Framework: d.framework, Sequence: sequence}
}

func (d *Driver) say(c *v1.FrameworkCall) { d.out = append(d.out, c) }

func (d *Driver) errorf(format string, a ...any) error {
	return fmt.Errorf("framework %q: %w", d.c.Register.GetName(), fmt.Errorf(format, a...))
}
