package hadooprpc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

// made is a call that came to a server.
type made struct {
	addr string
	conn int // of all servers, from 1
	*Request
}

// What becomes of a call besides an answer.
var (
	errCut  = errors.New("the connection is closed without an answer")
	errHang = errors.New("it is never answered")
	errJunk = errors.New("what is answered is no answer")
)

// servers are servers whose answers a test decides.
type servers struct {
	act  func(m made) error // nil: the call is answered with the server's address; an *Exception: with that
	down map[string]bool

	mu    sync.Mutex
	dials []string
	calls []made
	open  int
}

func (s *servers) dial(_ context.Context, addr string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials = append(s.dials, addr)
	if s.down[addr] {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	near, far := net.Pipe()
	s.open++
	go s.serve(addr, len(s.dials), far)
	return near, nil
}

func (s *servers) serve(addr string, number int, c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}()
	if _, err := io.ReadFull(c, make([]byte, preambleLength)); err != nil {
		return
	}
	for {
		q, err := ReadRequest(c, 1<<20)
		if err != nil {
			return
		}
		if q.ID < 0 {
			continue
		}
		m := made{addr, number, q}
		s.mu.Lock()
		s.calls = append(s.calls, m)
		s.mu.Unlock()
		var e *Exception
		err = s.act(m)
		switch {
		case errors.Is(err, errCut):
			return
		case errors.Is(err, errHang):
			continue
		case errors.Is(err, errJunk):
			_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
			return
		case err != nil:
			errors.As(err, &e)
		}
		text, _ := proto.Marshal(say(addr))
		if _, err := c.Write(AppendAnswer(nil, q, text, e)); err != nil {
			return
		}
	}
}

func (s *servers) made() []made {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]made(nil), s.calls...)
}

func (s *servers) opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *servers) dialled() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.dials, " ")
}

// proxied runs a test with a Proxy of servers, in virtual time.
func proxied(t *testing.T, o ProxyOptions, f func(t *testing.T, p *Proxy, s *servers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &servers{act: func(made) error { return nil }, down: make(map[string]bool)}
		o.ClientOptions = ClientOptions{Protocol: testProtocol, User: "u", Dial: s.dial}
		p := NewProxy(o)
		f(t, p, s)
		p.Close()
		synctest.Wait()
		if s.opened() != 0 {
			t.Errorf("%d connections are left", s.opened())
		}
	})
}

// by calls and says who answered, and after how long.
func by(ctx context.Context, p *Proxy) (addr string, took time.Duration, err error) {
	begin := time.Now()
	var a answer
	err = p.Call(ctx, "echo", ask("x"), &a)
	return a.GetKind(), time.Since(begin), err
}

func standby(addrs ...string) func(made) error {
	return func(m made) error {
		for _, a := range addrs {
			if a == m.addr {
				return Errorf(StandbyException, "not here")
			}
		}
		return nil
	}
}

func TestProxyFailsOver(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a", "b", "c"}}, func(t *testing.T, p *Proxy, s *servers) {
		s.down["a"] = true
		s.act = standby("b")
		for range 2 { // once the active one is known, it is asked first
			if got, took, err := by(t.Context(), p); got != "c" || took != 0 || err != nil {
				t.Errorf("%q after %v, %v", got, took, err)
			}
		}
		s.act = standby("a", "c") // the roles change
		if got, took, err := by(t.Context(), p); got != "b" || took != 0 || err != nil {
			t.Errorf("%q after %v, %v", got, took, err)
		}
		if got := s.dialled(); got != "a b c a b" {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestNobodyIsActive(t *testing.T) {
	for _, addrs := range [][]string{{"a"}, {"a", "b"}} {
		proxied(t, ProxyOptions{Servers: addrs, Timeout: 10 * time.Second}, func(t *testing.T, p *Proxy, s *servers) {
			s.act = standby(addrs...)
			var e *Exception
			var failed *CallError
			_, took, err := by(t.Context(), p)
			if !errors.As(err, &e) || e.Class != StandbyException || !errors.As(err, &failed) || failed.Addr == "" {
				t.Error(err)
			}
			if want := time.Duration(len(addrs)-1) * 10 * time.Second; took != want {
				t.Errorf("after %v instead of %v", took, want)
			}
		})
	}
}

// A call that may have been done is repeated as the same call.
func TestProxyRepeatsCallsAsTheSame(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a"}}, func(t *testing.T, p *Proxy, s *servers) {
		for range 2 {
			s.act = func(m made) error {
				if m.Retry == 0 {
					return errCut
				}
				return nil
			}
			if got, _, err := by(t.Context(), p); got != "a" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		}
		calls := s.made()
		if len(calls) != 4 {
			t.Fatalf("%d calls", len(calls))
		}
		for i := 0; i < 4; i += 2 {
			a, b := calls[i], calls[i+1]
			if a.ID != b.ID || b.Retry != 1 || string(a.ClientID) != string(b.ClientID) || len(a.ClientID) != 16 || a.conn == b.conn {
				t.Errorf("%+v and %+v", a, b)
			}
		}
		if calls[0].ID == calls[2].ID || string(calls[0].ClientID) != string(calls[2].ClientID) {
			t.Errorf("%+v and %+v", calls[0], calls[2])
		}
	})
}

// A connection that was in use is replaced at once; a server that breaks off is asked once more, after a pause; one that
// cannot be reached is not.
func TestBrokenConnection(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a"}}, func(t *testing.T, p *Proxy, s *servers) {
		if _, _, err := by(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		s.act = func(m made) error {
			if m.conn == 1 {
				return errCut
			}
			return nil
		}
		if _, took, err := by(t.Context(), p); took != 0 || err != nil {
			t.Errorf("after %v, %v", took, err)
		}
		s.act = func(made) error { return errCut }
		var failed *CallError
		if _, took, err := by(t.Context(), p); took != firstBackoff || !errors.As(err, &failed) || !errors.Is(err, io.EOF) {
			t.Errorf("after %v, %v", took, err)
		}
		if got := s.dialled(); got != "a a a a" {
			t.Errorf("dialled %s", got)
		}
		s.down["a"] = true
		if _, took, err := by(t.Context(), p); took != 0 || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after %v, %v", took, err)
		}
	})
}

func TestProxyRetriesWhatIsRetriable(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a"}, Timeout: 10 * time.Second}, func(t *testing.T, p *Proxy, s *servers) {
		s.act = func(m made) error {
			if m.Retry < 3 {
				return Errorf(RetriableException, "starting")
			}
			return nil
		}
		if _, took, err := by(t.Context(), p); took != 7*firstBackoff || err != nil {
			t.Errorf("after %v, %v", took, err)
		}
		s.act = func(made) error { return Errorf(RetriableException, "starting") }
		var e *Exception
		if _, took, err := by(t.Context(), p); took != 10*time.Second || !errors.As(err, &e) {
			t.Errorf("after %v, %v", took, err)
		}
		s.act = func(made) error { return Errorf(IOException, "no") }
		before := len(s.made())
		if _, took, err := by(t.Context(), p); took != 0 || !errors.As(err, &e) || e.Class != IOException || len(s.made()) != before+1 {
			t.Errorf("after %v, %v", took, err)
		}
		s.act = func(made) error { return errJunk }
		var strange *PeerError
		if _, took, err := by(t.Context(), p); took != 0 || !errors.As(err, &strange) || len(s.made()) != before+2 {
			t.Errorf("after %v, %v", took, err)
		}
		if got := s.dialled(); got != "a" {
			t.Errorf("dialled %s", got)
		}
	})
}

// A server that does not answer is given up after the timeout, and so is the connection, on which nothing may arrive any
// more: the calls that wait on it too are made again on another.
func TestProxyGivesUpSilentConnections(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a"}, Timeout: 30 * time.Second}, func(t *testing.T, p *Proxy, s *servers) {
		s.act = func(m made) error {
			if m.conn == 1 {
				return errHang
			}
			return nil
		}
		begin := time.Now()
		second := make(chan error, 1)
		go func() {
			time.Sleep(10 * time.Second)
			_, _, err := by(t.Context(), p)
			second <- err
		}()
		var failed *CallError
		if _, took, err := by(t.Context(), p); took != 30*time.Second || !errors.As(err, &failed) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v, %v", took, err)
		}
		if err := <-second; err != nil || time.Since(begin) > 31*time.Second {
			t.Errorf("after %v, %v", time.Since(begin), err)
		}
		if got := s.dialled(); got != "a a" {
			t.Errorf("dialled %s", got)
		}
	})
}

// A caller that gives up harms no other.
func TestProxyCallerGivesUp(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a"}}, func(t *testing.T, p *Proxy, s *servers) {
		s.act = func(made) error { return errHang }
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			cancel()
		}()
		if _, took, err := by(ctx, p); took != 0 || err != context.Canceled {
			t.Errorf("after %v, %v", took, err)
		}
		s.act = func(made) error { return nil }
		if _, _, err := by(t.Context(), p); err != nil {
			t.Error(err)
		}
		if got := s.dialled(); got != "a" {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestProxySharesOneConnection(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a"}, Calls: 3, Idle: 10 * time.Second}, func(t *testing.T, p *Proxy, s *servers) {
		s.act = func(made) error { return errHang }
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _, _, _ = by(ctx, p) })
		}
		synctest.Wait()
		if n := len(s.made()); n != 3 {
			t.Errorf("%d calls are under way", n)
		}
		time.Sleep(15 * time.Second)
		if s.opened() != 1 {
			t.Errorf("%d connections for calls under way", s.opened())
		}
		cancel()
		wg.Wait()
		time.Sleep(9 * time.Second)
		if s.opened() != 1 {
			t.Errorf("%d connections when it is idle for a moment", s.opened())
		}
		time.Sleep(2 * time.Second)
		if s.opened() != 0 {
			t.Errorf("%d connections when it is idle", s.opened())
		}
		s.act = func(made) error { return nil }
		if _, took, err := by(t.Context(), p); took != 0 || err != nil {
			t.Errorf("after %v, %v", took, err)
		}
		if got := s.dialled(); got != "a a" {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestProxyCloses(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a", "b"}}, func(t *testing.T, p *Proxy, s *servers) {
		s.act = func(made) error { return errHang }
		go func() {
			synctest.Wait()
			p.Close()
		}()
		for range 2 {
			if _, took, err := by(t.Context(), p); took != 0 || !errors.Is(err, ErrClosed) {
				t.Errorf("after %v, %v", took, err)
			}
		}
	})
}

func TestProxyAnswerDoesNotParse(t *testing.T) {
	proxied(t, ProxyOptions{Servers: []string{"a"}}, func(t *testing.T, p *Proxy, s *servers) {
		var strange *PeerError
		if err := p.Call(t.Context(), "echo", ask("x"), new(wire.RenewDelegationTokenResponseProto)); !errors.As(err, &strange) {
			t.Error(err)
		}
	})
}
