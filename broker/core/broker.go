package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/broker/api"
	"fairway/broker/core/launcher"
	"fairway/broker/state"
)

// Broker is a broker in this process. It answers ErrUnavailable until Run serves.
type Broker struct {
	o        Options
	log      *zap.Logger
	met      *metrics
	box      *mailbox
	sessions sessions
	key      atomic.Pointer[[]byte]
	ready    chan struct{}
	isReady  sync.Once
	serving  atomic.Pointer[serving]
}

// serving is one stretch of owning the state.
type serving struct{ over chan struct{} }

var (
	_ api.Broker         = (*Broker)(nil)
	_ api.ClusterWatcher = (*Broker)(nil)
)

// errLost is why the owner drops its state: the journal does not append any more.
var errLost = errors.New("the journal was lost")

// New checks the options. The Broker serves while Run runs.
func New(o Options) (*Broker, error) {
	if o.Journal == nil {
		return nil, errors.New("core: a broker needs a journal")
	}
	o.Config = o.Config.withDefaults()
	if err := o.Config.check(); err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Clock.Now == nil {
		start := time.Now()
		o.Clock.Now = func() int64 { return int64(time.Since(start)) }
	}
	if o.Clock.Wall == nil {
		o.Clock.Wall = time.Now
	}
	b := &Broker{o: o, log: o.Log, box: newMailbox(o.Config.MailboxSize), ready: make(chan struct{})}
	b.met = newMetrics(o.Registerer, b.box.length)
	return b, nil
}

// Ready is closed once the broker serves for the first time.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Run serves until ctx ends or the journal fails for good. When only leadership was lost, it drops its state, ends all
// sessions, and begins again from what is durable. It returns nil when ctx has ended.
func (b *Broker) Run(ctx context.Context) error {
	for {
		st, err := b.o.Journal.Lead(ctx)
		if err == nil {
			err = b.serve(ctx, st)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, errLost):
			return fmt.Errorf("broker: %w", err)
		}
		b.log.Warn("the broker begins again from what is durable", zap.Error(err))
	}
}

// serve owns a state until ctx ends or the journal fails.
func (b *Broker) serve(ctx context.Context, st *state.State) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	now := &serving{over: make(chan struct{})}
	b.box.open()
	b.sessions.open()
	m := newMachine(b, st)
	m.launcher = launcher.New(launcher.Options{
		Open: func(ctx context.Context) (api.FrameworkSession, error) {
			return b.openFramework(ctx, api.Caller{User: launcherName, UID: -1, Operator: true}, true)
		},
		Failed: func(job uint32, why string) {
			_ = b.box.put(message{do: func(m *machine) { m.launchRefused(job, why) }}, true) // nobody to tell when it stops
		},
		Log: b.log.Named("launcher"),
	})
	b.serving.Store(now)
	group.Go(func() error { return m.launcher.Run(ctx) })
	group.Go(func() error { return b.own(ctx, m) })
	err = group.Wait()
	cancel()
	b.serving.Store(nil)
	b.box.close(errNotServing)
	close(now.over)
	b.sessions.close(errNotServing)
	return err
}

// own is the owner's loop.
func (b *Broker) own(ctx context.Context, m *machine) (err error) {
	defer func() {
		if p := recover(); p != nil {
			broken, ok := p.(brokenError)
			if !ok {
				panic(p)
			}
			b.log.Error("the broker stops", zap.Error(broken))
			err = broken
		}
	}()
	m.begin()
	m.then(func() { b.isReady.Do(func() { close(b.ready) }) })
	m.turn(nil)
	b.key.Store(&m.cluster.Key)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var messages []message
	for {
		wake, alarm := b.box.wake, (<-chan time.Time)(nil)
		if len(m.inFlight) >= maxInFlight {
			wake = nil
		} else if d, ok := m.wake(); ok {
			timer.Reset(d)
			alarm = timer.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-m.durable:
			if err := m.settled(err); err != nil {
				return err
			}
			continue
		case <-wake:
		case <-alarm:
		}
		messages = b.box.take(messages)
		begun := time.Now()
		m.turn(messages)
		b.met.turn.Observe(time.Since(begun).Seconds())
		b.met.messages.Add(float64(len(messages)))
	}
}

// ask has the owner run f and waits for the answer that f gives to reply, now or later. An answer is held back until
// all that it may rest upon is durable.
func ask[T any](ctx context.Context, b *Broker, f func(m *machine, reply func(T, error))) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	now := b.serving.Load()
	if now == nil {
		return none, errNotServing
	}
	answers := make(chan answer, 1)
	err := b.box.put(message{do: func(m *machine) {
		f(m, func(value T, err error) {
			m.then(func() { answers <- answer{value, err} })
		})
	}}, false)
	if err != nil {
		return none, err
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-now.over:
		return none, errNotServing
	}
}
