package nodemanager

import (
	"errors"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"fairway/adapters/hadooprpc"
)

// refusals logs what was refused once a minute for each peer, attempt, and class of what it did not get: whoever tries again
// and again does not fill the log.
type refusals struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

const (
	refusalQuiet = time.Minute
	maxRefusals  = 1000
)

// log takes what the attempt wanted to do, such as "stop", and why it may not.
func (r *refusals) log(log *zap.Logger, peer net.Addr, attempt, wanted string, err error) {
	address := ""
	if peer != nil {
		address = peer.String()
	}
	host, _, e := net.SplitHostPort(address)
	if e != nil {
		host = address
	}
	class := ""
	if x := (*hadooprpc.Exception)(nil); errors.As(err, &x) {
		class = x.Class
	}
	if r.first(host+" "+attempt+" "+wanted+" "+class, time.Now()) {
		log.Warn("refused a request for a container", zap.String("peer", address), zap.String("attempt", attempt), zap.String("wanted", wanted), zap.Error(err))
	}
}

func (r *refusals) first(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.seen[key]; ok && now.Sub(at) < refusalQuiet {
		return false
	}
	if r.seen == nil || len(r.seen) >= maxRefusals {
		r.seen = map[string]time.Time{}
	}
	r.seen[key] = now
	return true
}
