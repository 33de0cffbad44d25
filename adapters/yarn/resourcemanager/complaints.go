package resourcemanager

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
)

const (
	complainEvery = time.Minute
	maxComplaints = 4096
)

// complaints logs refused calls with their peer, each kind of a user's from one host at most once a minute.
type complaints struct {
	mu   sync.Mutex
	last map[complaint]time.Time
}

type complaint struct{ method, user, class, host string }

func (x *complaints) fresh(c complaint, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if at, ok := x.last[c]; ok && now.Sub(at) < complainEvery {
		return false
	}
	if x.last == nil || len(x.last) >= maxComplaints {
		x.last = map[complaint]time.Time{}
	}
	x.last[c] = now
	return true
}

// hostOf is a peer without its port, which is another one each time.
func hostOf(peer net.Addr) string {
	if peer == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(peer.String())
	if err != nil {
		return peer.String()
	}
	return host
}

// guarded holds a protocol's calls back until the applications of before are known, and logs those that are refused.
func (m *Manager) guarded(methods map[string]hadooprpc.Method) map[string]hadooprpc.Method {
	for name, f := range methods {
		methods[name] = func(ctx context.Context, c *hadooprpc.Caller, request []byte) (proto.Message, error) {
			if err := m.wait(ctx); err != nil {
				return nil, err
			}
			x, err := f(ctx, c, request)
			var e *hadooprpc.Exception
			if err != nil && errors.As(err, &e) && m.complaints.fresh(complaint{name, c.User, e.Class, hostOf(c.Remote)}, time.Now()) {
				m.o.Log.Info("a call was refused", zap.String("method", name), zap.String("user", c.User), zap.Stringer("peer", c.Remote), zap.String("class", e.Class),
					zap.String("why", cut(e.Message, 500)))
			}
			return x, err
		}
	}
	return methods
}
