package launcher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

const (
	// maxRefusals is how often in a row the broker may refuse to launch a coordinator before its job fails.
	maxRefusals = 5
	// reopenAfter is the pause before a session that was lost is opened again.
	reopenAfter = 100 * time.Millisecond
)

// Options of a launcher; all but Log are needed.
type Options struct {
	Open   func(ctx context.Context) (api.FrameworkSession, error)
	Failed func(job uint32, why string) // a coordinator cannot be launched
	Log    *zap.Logger
}

// Order asks for a job's coordinator to be launched. One without a job only opens the role's session.
type Order struct {
	Role  string
	Job   uint32
	ID    string // of the job
	Shape *v1.Resources
}

// Launcher runs while Run does.
type Launcher struct {
	o    Options
	wake chan struct{}

	mu     sync.Mutex
	orders []order
}

type order struct {
	Order
	cancel bool
}

// New makes a launcher. Orders may come before Run.
func New(o Options) *Launcher {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Launcher{o: o, wake: make(chan struct{}, 1)}
}

// Order asks for a coordinator. It never waits.
func (l *Launcher) Order(o Order) { l.put(order{Order: o}) }

// Cancel takes an order back. It may come too late.
func (l *Launcher) Cancel(role string, job uint32) {
	l.put(order{Order: Order{Role: role, Job: job}, cancel: true})
}

func (l *Launcher) put(o order) {
	l.mu.Lock()
	l.orders = append(l.orders, o)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Launcher) take() []order {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.orders
	l.orders = nil
	return o
}

// Run hands orders to the roles' lanes until ctx ends. It returns nil then.
func (l *Launcher) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	lanes := map[string]*lane{}
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-l.wake:
			}
			for _, o := range l.take() {
				n := lanes[o.Role]
				if n == nil || !n.put(o) {
					n = &lane{l: l, role: o.Role, wake: make(chan struct{}, 1), wanted: map[uint64]*want{}, tried: map[uint64]*want{}}
					n.put(o)
					lanes[o.Role] = n
					group.Go(func() error { return n.run(ctx) })
				}
			}
		}
	})
	return group.Wait()
}

// lane is the launcher's framework of one role.
type lane struct {
	l    *Launcher
	role string
	wake chan struct{}

	mu     sync.Mutex
	orders []order
	closed bool

	next    uint64           // sequence of the next task
	version uint64           // of requests
	seen    uint64           // newest offer
	wanted  map[uint64]*want // by group, which is the job's number
	tried   map[uint64]*want // by offer that was accepted for it
}

type want struct {
	Order
	refusals int
}

func (n *lane) put(o order) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.orders = append(n.orders, o)
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return true
}

func (n *lane) take() []order {
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.orders
	n.orders = nil
	return o
}

// run holds a session until ctx ends or the role is gone.
func (n *lane) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := n.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, api.ErrSessionEnded) || errors.Is(err, api.ErrNotFound) {
			n.mu.Lock()
			n.closed = true
			n.mu.Unlock()
			for _, w := range n.wanted {
				n.l.o.Failed(w.Job, err.Error())
			}
			return nil
		}
		n.l.o.Log.Warn("the launcher opens its session again", zap.String("role", n.role), zap.Error(err))
		select {
		case <-ctx.Done():
		case <-time.After(reopenAfter):
		}
	}
	return nil
}

func (n *lane) session(ctx context.Context) error {
	s, err := n.l.o.Open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Register{Register: &v1.RegisterFramework{Name: "launcher", Role: n.role, NoJob: true}}}); err != nil {
		return err
	}
	registered := false
	for {
		wake := n.wake
		if !registered {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
			if err := n.obey(s); err != nil {
				return err
			}
		case e, ok := <-s.Events():
			if !ok {
				return cmpErr(s.Err())
			}
			if r := e.GetRegistered(); r != nil {
				registered = true
				n.next = max(n.next, r.NextSequence)
				clear(n.tried)
				if err := n.request(s, n.wanted); err != nil {
					return err
				}
				continue
			}
			if err := n.hear(s, e); err != nil {
				return err
			}
		}
	}
}

func cmpErr(err error) error {
	if err == nil {
		return api.ErrSessionEnded
	}
	return err
}

// obey takes new orders.
func (n *lane) obey(s api.FrameworkSession) error {
	fresh := map[uint64]*want{}
	for _, o := range n.take() {
		g := uint64(o.Job)
		switch {
		case o.Job == 0:
		case o.cancel:
			delete(fresh, g)
			if n.wanted[g] != nil {
				delete(n.wanted, g)
				if err := n.drop(s, g); err != nil {
					return err
				}
			}
		default:
			w := &want{Order: o.Order}
			fresh[g], n.wanted[g] = w, w
		}
	}
	return n.request(s, fresh)
}

func (n *lane) request(s api.FrameworkSession, wanted map[uint64]*want) error {
	if len(wanted) == 0 {
		return nil
	}
	n.version++
	u := &v1.UpdateRequests{LastOffer: n.seen}
	for _, g := range slices.Sorted(maps.Keys(wanted)) { // older jobs first
		u.Groups = append(u.Groups, &v1.RequestGroup{Id: g, Version: n.version, Shape: wanted[g].Shape, Total: 1})
	}
	return s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: u}})
}

func (n *lane) drop(s api.FrameworkSession, group uint64) error {
	return s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{Removed: []uint64{group}, LastOffer: n.seen}}})
}

// hear takes one event.
func (n *lane) hear(s api.FrameworkSession, e *v1.FrameworkEvent) error {
	switch x := e.Event.(type) {
	case *v1.FrameworkEvent_Offers:
		for _, o := range x.Offers.Offers {
			if err := n.offered(s, o); err != nil {
				return err
			}
		}
	case *v1.FrameworkEvent_Status:
		if x.Status.Sequence != 0 {
			return s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Acknowledge{
				Acknowledge: &v1.AcknowledgeStatus{Task: x.Status.Task, Sequence: x.Status.Sequence},
			}})
		}
	case *v1.FrameworkEvent_Refused:
		return n.refused(s, x.Refused)
	}
	return nil
}

// offered launches the coordinator that an offer is for.
func (n *lane) offered(s api.FrameworkSession, o *v1.Offer) error {
	n.seen = max(n.seen, o.Id)
	w := n.wanted[o.Group]
	if w == nil {
		return s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Decline{Decline: &v1.DeclineOffers{Offers: []uint64{o.Id}, FilterNanos: -1}}})
	}
	delete(n.wanted, o.Group)
	n.tried[o.Id] = w
	t := &v1.TaskSpec{
		Task: &v1.TaskID{Sequence: n.next}, JobId: w.ID, Resources: w.Shape,
		Command: &v1.Command{Argv: []string{"coordinator"}}, // the broker puts the job's own in its place
	}
	n.next++
	err := s.Send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: &v1.AcceptOffer{Offer: o.Id, Tasks: []*v1.TaskSpec{t}}}})
	if err != nil {
		return err
	}
	return n.drop(s, o.Group)
}

// refused tries again what was refused, a few times; a request that cannot be served fails its job.
func (n *lane) refused(s api.FrameworkSession, r *v1.Refused) error {
	if w := n.tried[r.Offer]; w != nil && r.Call == "accept" {
		delete(n.tried, r.Offer)
		if w.refusals++; w.refusals > maxRefusals {
			n.l.o.Failed(w.Job, r.Message)
			return nil
		}
		g := uint64(w.Job)
		n.wanted[g] = w
		return n.request(s, map[uint64]*want{g: w})
	}
	if w := n.wanted[r.Group]; w != nil && r.Call == "requests" {
		delete(n.wanted, r.Group)
		n.l.o.Failed(w.Job, r.Message)
		return n.drop(s, r.Group)
	}
	if r.Fatal {
		return fmt.Errorf("%w: %s", api.ErrInvalid, r.Message)
	}
	return nil
}
