package heartbeat

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	rpc "fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
)

// stub is a resource manager that grants every ask at once, and holds masters to the protocol.
type stub struct {
	t    *testing.T
	keys token.Keyring

	mu       sync.Mutex
	apps     int32
	response map[string]int32
	owed     map[string]*wire.ContainerIdProto // granted, to be released with the next call
	granted  int
	finished int
	fail     bool
}

func (s *stub) client() rpc.Protocol {
	return rpc.Protocol{Name: clientProtocol, Methods: map[string]rpc.Method{
		"getNewApplication": rpc.Handle(func(context.Context, *rpc.Caller, *wire.GetNewApplicationRequestProto) (proto.Message, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.apps++
			return &wire.GetNewApplicationResponseProto{ApplicationId: id.ApplicationID{Timestamp: 1, Number: s.apps}.Proto()}, nil
		}),
		"submitApplication": rpc.Handle(func(_ context.Context, _ *rpc.Caller, q *wire.SubmitApplicationRequestProto) (proto.Message, error) {
			if !q.GetApplicationSubmissionContext().GetUnmanagedAm() {
				return nil, errors.New("a managed master")
			}
			return &wire.SubmitApplicationResponseProto{}, nil
		}),
		"getApplicationReport": rpc.Handle(func(_ context.Context, _ *rpc.Caller, q *wire.GetApplicationReportRequestProto) (proto.Message, error) {
			a, err := id.ApplicationFrom(q.GetApplicationId())
			if err != nil {
				return nil, err
			}
			t := token.Issue(token.KindAMRM, "", s.keys.AMRM, token.AMRM{Attempt: id.AttemptID{Application: a, Number: 1}, KeyID: token.KeyID}.Marshal())
			return &wire.GetApplicationReportResponseProto{ApplicationReport: &wire.ApplicationReportProto{AmRmToken: t.Proto()}}, nil
		}),
	}}
}

func (s *stub) master() rpc.Protocol {
	return rpc.Protocol{Name: masterProtocol, Methods: map[string]rpc.Method{
		"registerApplicationMaster": rpc.Handle(func(context.Context, *rpc.Caller, *wire.RegisterApplicationMasterRequestProto) (proto.Message, error) {
			return &wire.RegisterApplicationMasterResponseProto{}, nil
		}),
		"finishApplicationMaster": rpc.Handle(func(context.Context, *rpc.Caller, *wire.FinishApplicationMasterRequestProto) (proto.Message, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.finished++
			return &wire.FinishApplicationMasterResponseProto{IsUnregistered: proto.Bool(true)}, nil
		}),
		"allocate": rpc.Handle(func(_ context.Context, c *rpc.Caller, q *wire.AllocateRequestProto) (proto.Message, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.fail {
				return nil, rpc.Errorf(rpc.AttemptNotFound, "gone")
			}
			if q.GetResponseId() != s.response[c.User] {
				s.t.Errorf("%s: response id %d, want %d", c.User, q.GetResponseId(), s.response[c.User])
			}
			s.response[c.User]++
			a := &wire.AllocateResponseProto{ResponseId: proto.Int32(s.response[c.User])}
			if owed := s.owed[c.User]; owed != nil && (len(q.GetRelease()) != 1 || !proto.Equal(q.GetRelease()[0], owed)) {
				s.t.Errorf("%s: does not give %v back but %v", c.User, owed, q.GetRelease())
			}
			delete(s.owed, c.User)
			if len(q.GetAsk()) > 0 {
				x, err := id.ParseAttempt(c.User)
				if err != nil {
					return nil, err
				}
				s.granted++
				s.owed[c.User] = id.NewContainer(x, 0, int64(s.granted)).Proto()
				a.AllocatedContainers = []*wire.ContainerProto{{Id: s.owed[c.User]}}
			}
			return a, nil
		}),
	}}
}

func (s *stub) serve(t *testing.T, o rpc.Options) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func newStub(t *testing.T) (*stub, Options) {
	s := &stub{t: t, keys: token.Keys([]byte("s")), response: map[string]int32{}, owed: map[string]*wire.ContainerIdProto{}}
	return s, Options{
		Client: s.serve(t, rpc.Options{Simple: true, Protocols: []rpc.Protocol{s.client()}}),
		Scheduler: s.serve(t, rpc.Options{Protocols: []rpc.Protocol{s.master()}, Secrets: func(_ context.Context, identifier []byte) (rpc.Secret, error) {
			x, err := token.ParseAMRM(identifier)
			return rpc.Secret{Password: token.Password(s.keys.AMRM, identifier), User: x.User(), Kind: token.KindAMRM}, err
		}}),
		Pid: os.Getpid(), Masters: 200, Warm: 100 * time.Millisecond, For: 2 * time.Second, User: "alice", MemoryMB: 1024,
	}
}

func TestLoad(t *testing.T) {
	s, o := newStub(t)
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Calls < 396 || r.Calls > 404 || r.Asks < 2 || r.Asks > 6 || r.Containers != r.Asks || r.Cores <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 {
		t.Errorf("%+v", r)
	}
	if s.finished != 200 {
		t.Errorf("%d masters have unregistered", s.finished)
	}
}

func TestLoadFails(t *testing.T) {
	s, o := newStub(t)
	s.fail = true
	_, err := Run(context.Background(), o)
	var e *rpc.Exception
	if !errors.As(err, &e) || e.Class != rpc.AttemptNotFound {
		t.Error(err)
	}
	if s.finished != 200 {
		t.Errorf("%d masters have unregistered", s.finished)
	}
}
