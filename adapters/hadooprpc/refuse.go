package hadooprpc

import (
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	refusalQuiet = time.Minute // the same reason, with the same class of exception, from the same host is logged once in it
	maxRefusals  = 1024        // hosts and reasons that are remembered
)

// refusals logs what was refused, with the peer: a peer that repeats itself, or thousands of them, must not fill the log.
type refusals struct {
	log *zap.Logger

	mu     sync.Mutex
	seen   map[refusal]*repeated
	silent int // not logged as the memory was full
}

type refusal struct{ host, reason, class string }

type repeated struct {
	logged time.Time
	more   int
}

// note logs, unless the same was logged less than refusalQuiet ago. class is that of the exception that the peer gets, "" if
// it gets none.
func (r *refusals) note(peer net.Addr, reason, class, detail string) {
	host := ""
	if peer != nil {
		host = peer.String()
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
	}
	now, key := time.Now(), refusal{host, reason, class}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.seen[key]
	if e != nil && now.Sub(e.logged) < refusalQuiet {
		e.more++
		return
	}
	if e == nil {
		if len(r.seen) >= maxRefusals {
			for k, old := range r.seen {
				if now.Sub(old.logged) >= refusalQuiet {
					delete(r.seen, k)
				}
			}
			if len(r.seen) >= maxRefusals {
				r.silent++
				return
			}
		}
		e = &repeated{}
		r.seen[key] = e
	}
	r.log.Warn("refused", zap.Stringer("peer", stringer{peer}), zap.String("reason", reason), zap.String("class", class), zap.String("detail", detail),
		zap.Int("before", e.more), zap.Int("other_peers_before", r.silent))
	e.logged, e.more, r.silent = now, 0, 0
}

type stringer struct{ net.Addr }

func (s stringer) String() string {
	if s.Addr == nil {
		return "unknown"
	}
	return s.Addr.String()
}
