package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/sdk"
	"fairway/frameworks/sdk/sdktest"
)

// counting runs n tasks to their end, and counts what it hears.
type counting struct {
	sdk.Base
	n          int
	registered int
	lost       int
	finished   map[uint64]int // terminal statuses by task
	states     map[v1.TaskState]int
	waiting    int
	refused    int
	onStatus   func(d *sdk.Driver, s *v1.TaskStatus)
	stay       bool
}

func (c *counting) ask(d *sdk.Driver) {
	d.Request(&v1.RequestGroup{Id: 1, Total: uint32(c.waiting), Shape: &v1.Resources{CpuMilli: 1000, MemoryBytes: 1}})
}

func (c *counting) Registered(d *sdk.Driver, _ *v1.FrameworkRegistered) {
	if c.registered++; c.registered == 1 {
		c.waiting, c.finished, c.states = c.n, map[uint64]int{}, map[v1.TaskState]int{}
		c.ask(d)
	}
}

func (c *counting) Offers(d *sdk.Driver, offers []*v1.Offer) {
	for _, o := range offers {
		if c.waiting == 0 {
			d.Decline(-1, o.Id)
			continue
		}
		c.waiting--
		d.Accept(o.Id, 0, &v1.TaskSpec{Name: "t", Resources: o.Resources})
	}
	c.ask(d)
}

func (c *counting) Status(d *sdk.Driver, s *v1.TaskStatus) {
	c.states[s.State]++
	if c.onStatus != nil {
		c.onStatus(d, s)
	}
	if !sdk.Terminal(s.State) {
		return
	}
	c.finished[s.Task.Sequence]++
	if s.State != v1.TaskState_TASK_STATE_FINISHED {
		c.waiting++
		c.ask(d)
		return
	}
	if c.states[v1.TaskState_TASK_STATE_FINISHED] == c.n && !c.stay {
		d.Unregister(&v1.Unregister{Phase: v1.JobPhase_JOB_PHASE_SUCCEEDED})
	}
}

func (c *counting) Disconnected(*sdk.Driver, error)      { c.lost++ }
func (c *counting) Refused(_ *sdk.Driver, _ *v1.Refused) { c.refused++ }

func after(d time.Duration) sdktest.Runner {
	return func(ctx context.Context, _ sdktest.Agent, _ *v1.TaskSpec) sdktest.Exit {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return sdktest.Exit{}
	}
}

func agents(n int, slots int64) []sdktest.Agent {
	var a []sdktest.Agent
	for i := range n {
		a = append(a, sdktest.Agent{ID: fmt.Sprint("a", i), Host: fmt.Sprint("h", i), CPUMilli: slots * 1000, Memory: 1 << 30})
	}
	return a
}

func driver(b *sdktest.Broker, s sdk.Scheduler) *sdk.Driver {
	return sdk.New(sdk.Config{Dial: b.Dial, Scheduler: s, Register: &v1.RegisterFramework{Name: "test"}})
}

// once fails the test if a task ended twice.
func (c *counting) once(t *testing.T) {
	t.Helper()
	for seq, n := range c.finished {
		if n != 1 {
			t.Errorf("task %d had %d terminal statuses", seq, n)
		}
	}
}

func TestRunsTasksToTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(time.Second), agents(2, 3)...)
		defer b.Close()
		c := &counting{n: 20}
		began := time.Now()
		if err := driver(b, c).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.once(t)
		if took := time.Since(began); took != 4*time.Second { // 20 tasks in 6 places: no wait for any timer of ours
			t.Errorf("took %s", took)
		}
		if len(c.finished) != 20 {
			t.Errorf("%d tasks ended", len(c.finished))
		}
	})
}

func TestSessionsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(3*time.Second), agents(2, 2)...)
		defer b.Close()
		c := &counting{n: 12}
		go func() {
			time.Sleep(time.Second) // in the bubble
			b.DropSessions(api.ErrUnavailable)
			time.Sleep(time.Second)
			b.SetDown(true)
			b.DropSessions(errors.New("crashed"))
			time.Sleep(20 * time.Second) // tasks end meanwhile; their statuses wait
			b.SetDown(false)
		}()
		if err := driver(b, c).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.once(t)
		if c.registered != 3 || c.lost != 2 || c.states[v1.TaskState_TASK_STATE_FINISHED] != 12 {
			t.Errorf("registered %d times, lost %d, states %v", c.registered, c.lost, c.states)
		}
	})
}

func TestRefusedLaunchEndsAsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(time.Second), agents(1, 2)...)
		defer b.Close()
		b.RefuseAccepts(2)
		c := &counting{n: 4}
		if err := driver(b, c).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.once(t)
		if c.states[v1.TaskState_TASK_STATE_LOST] != 2 || c.states[v1.TaskState_TASK_STATE_FINISHED] != 4 || c.refused != 2 {
			t.Errorf("states %v, %d refusals", c.states, c.refused)
		}
	})
}

// TestLaunchUnheard cuts the session with an accept on its way: the task must not be waited for for ever.
func TestLaunchUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(time.Second), agents(1, 1)...)
		defer b.Close()
		c := &counting{n: 1}
		lossy := func(ctx context.Context) (api.FrameworkSession, error) {
			s, err := b.Dial(ctx)
			return &deaf{FrameworkSession: s, broker: b, silent: c.registered == 0}, err
		}
		d := sdk.New(sdk.Config{Dial: lossy, Scheduler: c, Register: &v1.RegisterFramework{Name: "test"}})
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.once(t)
		if c.states[v1.TaskState_TASK_STATE_LOST] != 1 || c.states[v1.TaskState_TASK_STATE_FINISHED] != 1 {
			t.Errorf("states %v", c.states)
		}
	})
}

// deaf loses the first accept and the session with it.
type deaf struct {
	api.FrameworkSession
	broker *sdktest.Broker
	silent bool
}

func (s *deaf) Send(c *v1.FrameworkCall) error {
	if s.silent && c.GetAccept() != nil {
		s.broker.DropSessions(api.ErrUnavailable)
		return nil
	}
	return s.FrameworkSession.Send(c)
}

func TestKillIsRepeatedAfterReconnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(time.Hour), agents(1, 1)...)
		defer b.Close()
		var order []string
		c := &counting{n: 1, stay: true}
		d := sdk.New(sdk.Config{Scheduler: c, Register: &v1.RegisterFramework{Name: "test"}, Dial: func(ctx context.Context) (api.FrameworkSession, error) {
			s, err := b.Dial(ctx)
			return &loseKill{FrameworkSession: s, b: b, order: &order}, err
		}})
		c.onStatus = func(d *sdk.Driver, s *v1.TaskStatus) {
			switch {
			case s.State == v1.TaskState_TASK_STATE_RUNNING && len(order) == 0:
				d.Kill(s.Task.Sequence, time.Second, "for a test")
			case s.State == v1.TaskState_TASK_STATE_KILLED:
				d.Unregister(&v1.Unregister{Phase: v1.JobPhase_JOB_PHASE_KILLED})
			}
		}
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(order, []string{"lost", "sent"}) {
			t.Errorf("kills: %v", order)
		}
	})
}

type loseKill struct {
	api.FrameworkSession
	b     *sdktest.Broker
	order *[]string
}

func (s *loseKill) Send(c *v1.FrameworkCall) error {
	if c.GetKill() != nil {
		if len(*s.order) == 0 {
			*s.order = append(*s.order, "lost")
			s.b.DropSessions(api.ErrUnavailable)
			return nil
		}
		*s.order = append(*s.order, "sent")
	}
	return s.FrameworkSession.Send(c)
}

// full refuses the first sends, as a broker with a full mailbox.
type full struct {
	api.FrameworkSession
	left int
}

func (s *full) Send(c *v1.FrameworkCall) error {
	if s.left > 0 && c.GetRegister() == nil {
		s.left--
		return fmt.Errorf("mailbox: %w", api.ErrUnavailable)
	}
	return s.FrameworkSession.Send(c)
}

func TestFullMailboxIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(time.Second), agents(1, 2)...)
		defer b.Close()
		c := &counting{n: 6}
		d := sdk.New(sdk.Config{Scheduler: c, Register: &v1.RegisterFramework{Name: "test"}, Dial: func(ctx context.Context) (api.FrameworkSession, error) {
			s, err := b.Dial(ctx)
			return &full{FrameworkSession: s, left: 7}, err
		}})
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.once(t)
		if c.registered != 1 || c.states[v1.TaskState_TASK_STATE_FINISHED] != 6 {
			t.Errorf("registered %d times, states %v", c.registered, c.states)
		}
	})
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(0))
		defer b.Close()
		b.SetDown(true)
		began := time.Now()
		d := sdk.New(sdk.Config{Dial: b.Dial, Scheduler: sdk.Base{}, Register: &v1.RegisterFramework{Name: "test"}, GiveUp: time.Minute})
		if err := d.Run(t.Context()); !errors.Is(err, api.ErrUnavailable) {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(began); took < time.Minute || took > 70*time.Second {
			t.Errorf("gave up after %s", took)
		}
		if err := d.Post(func() {}); !errors.Is(err, sdk.ErrStopped) {
			t.Errorf("post after the end: %v", err)
		}
	})
}

func TestUnknownFrameworkEndsTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(0))
		defer b.Close()
		d := sdk.New(sdk.Config{Dial: b.Dial, Scheduler: sdk.Base{}, Register: &v1.RegisterFramework{Name: "test", FrameworkId: "f99"}})
		if err := d.Run(t.Context()); err == nil {
			t.Error("no error")
		}
	})
}

func TestKillJobAndTimersAndPosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(time.Hour), agents(1, 1)...)
		defer b.Close()
		var heard []string
		d := driver(b, sdk.Base{})
		go func() {
			d.Post(func() {
				d.After(3*time.Second, func() { heard = append(heard, "late") })
				d.After(time.Second, func() { heard = append(heard, "soon") })
				d.After(2*time.Second, func() { heard = append(heard, "never") })()
			})
			time.Sleep(5 * time.Second)
			b.Kill("enough")
		}()
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(heard, []string{"soon", "late"}) {
			t.Errorf("heard %v", heard)
		}
		if u := b.Ended(t.Context(), "f1"); u.Phase != v1.JobPhase_JOB_PHASE_KILLED || u.Message != "enough" {
			t.Errorf("last word %v", u)
		}
	})
}

// TestProgressIsCoalesced counts the messages of a scheduler that speaks all the time.
func TestProgressIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(0))
		defer b.Close()
		sent := 0
		s := sdk.New(sdk.Config{Scheduler: sdk.Base{}, Register: &v1.RegisterFramework{Name: "test"}, Dial: func(ctx context.Context) (api.FrameworkSession, error) {
			x, err := b.Dial(ctx)
			return &counted{FrameworkSession: x, n: &sent}, err
		}})
		go func() {
			for i := range 1000 {
				s.Post(func() { s.Progress(&v1.JobProgress{Status: fmt.Sprint(i)}) })
				time.Sleep(time.Millisecond)
			}
			s.Post(func() { s.Unregister(&v1.Unregister{Phase: v1.JobPhase_JOB_PHASE_SUCCEEDED}) })
		}()
		if err := s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sent < 5 || sent > 7 {
			t.Errorf("%d messages in a second", sent)
		}
		if p := b.Progress("f1"); p.Status != "999" {
			t.Errorf("last progress %q", p.Status)
		}
	})
}

type counted struct {
	api.FrameworkSession
	n *int
}

func (s *counted) Send(c *v1.FrameworkCall) error {
	if c.GetProgress() != nil {
		*s.n++
	}
	return s.FrameworkSession.Send(c)
}

// TestVersionsGrow holds that every statement is newer than the one before and names the last offer seen.
func TestVersionsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(time.Second), agents(1, 1)...)
		defer b.Close()
		var last uint64
		var lastOffer uint64
		c := &counting{n: 3}
		d := sdk.New(sdk.Config{Scheduler: c, Register: &v1.RegisterFramework{Name: "test"}, Dial: func(ctx context.Context) (api.FrameworkSession, error) {
			s, err := b.Dial(ctx)
			return &watched{FrameworkSession: s, see: func(u *v1.UpdateRequests) {
				for _, g := range u.Groups {
					if g.Version <= last {
						t.Errorf("version %d after %d", g.Version, last)
					}
					last = g.Version
				}
				lastOffer = u.LastOffer
			}}, err
		}})
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if last < 3 || lastOffer != 3 {
			t.Errorf("last version %d, last offer %d", last, lastOffer)
		}
	})
}

type watched struct {
	api.FrameworkSession
	see func(*v1.UpdateRequests)
}

func (s *watched) Send(c *v1.FrameworkCall) error {
	if u := c.GetRequests(); u != nil {
		s.see(u)
	}
	return s.FrameworkSession.Send(c)
}

// TestStatesOutstandingTotalsAgain reconnects a framework that states its requests only once: what it was offered and
// used does not count again, what it gave back does.
func TestStatesOutstandingTotalsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sdktest.New(after(time.Hour), agents(1, 3)...)
		defer b.Close()
		var totals []uint32
		s := &lazy{}
		d := sdk.New(sdk.Config{Scheduler: s, Register: &v1.RegisterFramework{Name: "test"}, Dial: func(ctx context.Context) (api.FrameworkSession, error) {
			x, err := b.Dial(ctx)
			return &watched{FrameworkSession: x, see: func(u *v1.UpdateRequests) {
				for _, g := range u.Groups {
					totals = append(totals, g.Total)
				}
			}}, err
		}})
		go func() {
			time.Sleep(time.Second)
			b.DropSessions(api.ErrUnavailable)
			time.Sleep(time.Second)
			b.Kill("enough")
		}()
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(totals, []uint32{5, 3}) { // of 3 offers two were used
			t.Errorf("totals %v", totals)
		}
	})
}

// lazy states its wants once, and declines every second offer for long.
type lazy struct {
	sdk.Base
	offers int
	asked  bool
}

func (s *lazy) Registered(d *sdk.Driver, _ *v1.FrameworkRegistered) {
	if !s.asked {
		s.asked = true
		d.Request(&v1.RequestGroup{Id: 1, Total: 5, Shape: &v1.Resources{CpuMilli: 1000, MemoryBytes: 1}})
	}
}

func (s *lazy) Offers(d *sdk.Driver, offers []*v1.Offer) {
	for _, o := range offers {
		if s.offers++; s.offers == 2 {
			d.Suppress()
			d.Decline(time.Hour, o.Id)
			continue
		}
		if s.offers <= 3 {
			d.Accept(o.Id, 0, &v1.TaskSpec{Name: "t", Resources: o.Resources})
		}
	}
}
