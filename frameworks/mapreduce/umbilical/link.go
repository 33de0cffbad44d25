package umbilical

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "fairway/frameworks/mapreduce/umbilical/umbilicalv1"
)

// Times of an attempt's end of the umbilical.
const (
	reportEvery     = 200 * time.Millisecond
	giveUp          = time.Minute     // without a coordinator
	refusedPatience = 5 * time.Second // with one that refuses
	firstPause      = 50 * time.Millisecond
	longPause       = 2 * time.Second
)

// errStopped is why an attempt's context ends when the coordinator does not want it any more.
var errStopped = errors.New("stopped by the coordinator")

// link is an attempt's end of the umbilical. It calls again when the stream breaks, and repeats what was not answered.
type link struct {
	conn     *grpc.ClientConn
	secret   []byte
	task     string // framework/sequence
	hello    *pb.Hello
	reporter *reporter

	assigned chan *pb.Assignment // gets one
	outputs  *outputQueue
	commits  chan *pb.CommitAnswer
	finished chan struct{}   // closed when the final report was taken
	stop     func(why error) // ends the attempt
	once     sync.Once

	mu       sync.Mutex
	got      bool // an assignment
	asking   bool // a commit answer is awaited
	failures []*pb.TaskMessage
	final    *pb.TaskMessage
	wake     chan struct{} // capacity 1: something is to be sent
}

// send queues what must reach the coordinator.
func (l *link) change(f func()) {
	l.mu.Lock()
	f()
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run keeps a stream until the final report is taken or ctx ends. It fails when no coordinator was there for long.
func (l *link) run(ctx context.Context) error {
	lost := time.Now()
	pause := firstPause
	for {
		spoke, err := l.stream(ctx)
		select {
		case <-l.finished:
			return nil
		default:
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if spoke {
			lost, pause = time.Now(), firstPause
		}
		patience := giveUp
		if permanent(err) {
			patience = refusedPatience
		}
		if time.Since(lost) > patience {
			err = fmt.Errorf("no coordinator for %s: %w", time.Since(lost).Round(time.Second), err)
			l.stop(err)
			return err
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		pause = min(2*pause, longPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// stream is one call: it says hello, repeats what is open, and then sends and receives until the stream ends.
// spoke tells that the coordinator answered.
func (l *link) stream(ctx context.Context) (spoke bool, err error) {
	ctx, cancel := context.WithCancel(withCredentials(ctx, l.secret, l.task))
	defer cancel()
	s, err := pb.NewUmbilicalServiceClient(l.conn).Attempt(ctx)
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	h := &pb.Hello{Framework: l.hello.Framework, Sequence: l.hello.Sequence, DataAddress: l.hello.DataAddress, Host: l.hello.Host, Resumed: l.got}
	l.mu.Unlock()
	if err := s.Send(&pb.TaskMessage{Message: &pb.TaskMessage_Hello{Hello: h}}); err != nil {
		_, err = s.Recv()
		return false, err
	}
	type received struct {
		m   *pb.CoordinatorMessage
		err error
	}
	in := make(chan received)
	go func() { // ends with the stream's context
		for {
			m, err := s.Recv()
			select {
			case in <- received{m, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()

	sent := struct {
		asked, final bool
		failures     int
		report       time.Time
	}{}
	for {
		// Send what is open.
		l.mu.Lock()
		var out []*pb.TaskMessage
		if l.got {
			for ; sent.failures < len(l.failures); sent.failures++ {
				out = append(out, l.failures[sent.failures])
			}
			if l.asking && !sent.asked {
				out = append(out, &pb.TaskMessage{Message: &pb.TaskMessage_CommitAsk{CommitAsk: &pb.CommitAsk{}}})
			}
			sent.asked = l.asking
			if l.final != nil && !sent.final {
				sent.final = true
				out = append(out, l.final)
			}
		}
		got := l.got
		l.mu.Unlock()
		var due <-chan time.Time
		if got && !sent.final && l.reporter.dirty.Load() {
			if wait := reportEvery - time.Since(sent.report); wait <= 0 {
				sent.report = time.Now()
				out = append(out, &pb.TaskMessage{Message: &pb.TaskMessage_Report{Report: l.reporter.report()}})
			} else {
				due = time.After(wait)
			}
		}
		for _, m := range out {
			if err := s.Send(m); err != nil {
				break // the receiver has the cause
			}
		}
		select {
		case r := <-in:
			if r.err != nil {
				return spoke, r.err
			}
			spoke = true
			if l.take(r.m) {
				s.CloseSend()
				return true, nil
			}
		case <-l.wake:
		case <-l.reporter.wake:
		case <-due: // a report
		case <-ctx.Done():
			return spoke, ctx.Err()
		}
	}
}

// take handles what the coordinator says; true ends the umbilical.
func (l *link) take(m *pb.CoordinatorMessage) bool {
	switch m := m.Message.(type) {
	case *pb.CoordinatorMessage_Assignment:
		l.mu.Lock()
		first := !l.got
		l.got = true
		l.mu.Unlock()
		if first {
			l.assigned <- m.Assignment
		}
	case *pb.CoordinatorMessage_Outputs:
		l.outputs.add(m.Outputs.GetOutputs())
	case *pb.CoordinatorMessage_Commit:
		l.mu.Lock()
		asked := l.asking
		l.asking = false
		l.mu.Unlock()
		if asked {
			l.commits <- m.Commit
		}
	case *pb.CoordinatorMessage_Stop:
		l.stop(fmt.Errorf("%w: %s", errStopped, m.Stop.GetReason()))
		l.mu.Lock()
		nothing := !l.got || l.final != nil
		l.mu.Unlock()
		if nothing {
			l.once.Do(func() { close(l.finished) })
			return true
		}
	case *pb.CoordinatorMessage_Finished:
		l.once.Do(func() { close(l.finished) })
		return true
	}
	return false
}

// commit asks for the grant and waits for the answer.
func (l *link) commit(ctx context.Context) error {
	l.change(func() { l.asking = true })
	select {
	case a := <-l.commits:
		if !a.GetGranted() {
			err := fmt.Errorf("%w: %s", errStopped, a.GetReason())
			l.stop(err)
			return err
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fetchFailed reports a map output that could not be had.
func (l *link) fetchFailed(f *pb.FetchFailure) {
	l.change(func() {
		l.failures = append(l.failures, &pb.TaskMessage{Message: &pb.TaskMessage_FetchFailure{FetchFailure: f}})
	})
}

// finish sends the final report and waits until it was taken.
func (l *link) finish(ctx context.Context, final *pb.TaskMessage, hungUp chan error) error {
	l.change(func() { l.final, l.got = final, true })
	select {
	case <-l.finished:
		return nil
	case err := <-hungUp:
		hungUp <- err
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// outputQueue hands map outputs on without a bound, so that the umbilical's receiver never waits for a reduce.
type outputQueue struct {
	mu   sync.Mutex
	q    []*pb.MapOutput
	wake chan struct{}
}

func (q *outputQueue) add(o []*pb.MapOutput) {
	q.mu.Lock()
	q.q = append(q.q, o...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *outputQueue) take() []*pb.MapOutput {
	q.mu.Lock()
	defer q.mu.Unlock()
	o := q.q
	q.q = nil
	return o
}

// permanent reports a refusal that will likely be repeated.
func permanent(err error) bool {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.InvalidArgument, codes.Unimplemented:
		return true
	}
	return false
}
