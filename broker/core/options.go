package core

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	v1 "fairway/broker/api/fairwayv1"
)

// DefaultRole is the role that always exists, and that jobs and frameworks get which name none.
const DefaultRole = "default"

// Options are what a Broker is made of. Journal is required.
type Options struct {
	Journal    Journal
	Clock      Clock
	Log        *zap.Logger           // nil: none
	Registerer prometheus.Registerer // nil: none
	Config     Config
	Version    string // of the program, shown to callers
}

// Clock is where time comes from; a nil function means the system's.
type Clock struct {
	Now  func() int64     // nanoseconds since any origin, never goes back
	Wall func() time.Time // for display only
}

// Role is a role from the configuration. Such roles are set again at each start.
type Role struct {
	Path      string
	Weight    float64 // 0: 1
	Guarantee *v1.Resources
	Limit     *v1.Resources // a dimension of 0 has no limit
}

// Config is what an operator may set. Zero values mean the default in brackets.
type Config struct {
	Roles []Role

	OfferTimeout  time.Duration // an offer not answered comes back [30 s]
	DeclineFilter time.Duration // [5 s]
	NodeWait      time.Duration // how long a group waits for a node-local place [3 s]
	RackWait      time.Duration // and then for a rack-local one [3 s]

	ReclaimAfter    time.Duration // how long a role waits below its fair share until resources are reclaimed from others [30 s; below 0: never]
	ReclaimDeadline time.Duration // how long a framework has to give back what is reclaimed [30 s]

	Heartbeat    time.Duration // agents are told to send one at least so often [5 s]
	AgentTimeout time.Duration // silence after which an agent is unreachable [30 s]
	AgentGone    time.Duration // time unreachable after which its tasks are lost [10 min]
	AgentRate    int           // registrations of agents a second, so that many that come back at once leave time for others [1000]

	Failover         time.Duration // of frameworks that do not say [1 min]
	RecoveryPause    time.Duration // no offers after a start, at most [1 min]
	RecoveryFraction float64       // ... or until this part of the known agents is back [0.8]

	CoordinatorShare float64       // of a role's share that its coordinators may take, at least one runs [0.2]
	KillGrace        time.Duration // a job asked to stop is ended by force after it [15 s]
	JobRetention     time.Duration // ended jobs are kept so long [24 h]
	JobsKept         int           // and at most so many of them [10000]
	TicketLife       time.Duration // how long a ticket for logs opens them [10 min]

	MailboxSize int // messages that wait for the owner before new requests are refused [65536]
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.OfferTimeout, 30*time.Second)
	def(&c.DeclineFilter, 5*time.Second)
	def(&c.NodeWait, 3*time.Second)
	def(&c.RackWait, 3*time.Second)
	def(&c.ReclaimAfter, 30*time.Second)
	def(&c.ReclaimDeadline, 30*time.Second)
	def(&c.Heartbeat, 5*time.Second)
	def(&c.AgentTimeout, 30*time.Second)
	def(&c.AgentGone, 10*time.Minute)
	def(&c.Failover, time.Minute)
	def(&c.RecoveryPause, time.Minute)
	def(&c.KillGrace, 15*time.Second)
	def(&c.JobRetention, 24*time.Hour)
	def(&c.TicketLife, 10*time.Minute)
	if c.RecoveryFraction == 0 {
		c.RecoveryFraction = 0.8
	}
	if c.CoordinatorShare == 0 {
		c.CoordinatorShare = 0.2
	}
	if c.AgentRate == 0 {
		c.AgentRate = 1000
	}
	if c.JobsKept == 0 {
		c.JobsKept = 10_000
	}
	if c.MailboxSize == 0 {
		c.MailboxSize = 1 << 16
	}
	return c
}

func (c Config) check() error {
	for name, d := range map[string]time.Duration{
		"offer timeout": c.OfferTimeout, "heartbeat": c.Heartbeat, "agent timeout": c.AgentTimeout, "agent gone": c.AgentGone,
		"failover": c.Failover, "kill grace": c.KillGrace, "job retention": c.JobRetention, "ticket life": c.TicketLife, "reclaim deadline": c.ReclaimDeadline,
	} {
		if d < 0 {
			return fmt.Errorf("%s is negative: %v", name, d)
		}
	}
	if c.AgentRate < 0 || c.AgentRate > 1_000_000 {
		return fmt.Errorf("agent rate is %d, want 1 to a million a second", c.AgentRate)
	}
	if c.AgentTimeout < 2*c.Heartbeat {
		return fmt.Errorf("agent timeout %v is less than two heartbeats of %v", c.AgentTimeout, c.Heartbeat)
	}
	if c.RecoveryFraction < 0 || c.RecoveryFraction > 1 || c.CoordinatorShare < 0 || c.CoordinatorShare > 1 {
		return errors.New("recovery fraction and coordinator share lie between 0 and 1")
	}
	for _, r := range c.Roles {
		if err := checkRolePath(r.Path); err != nil {
			return err
		}
	}
	return nil
}

// checkRolePath holds role names to what can be shown, stored and written in a URL: letters, digits, - _ and ., in up
// to 8 levels of at most 64 bytes.
func checkRolePath(path string) error {
	parts := strings.Split(path, "/")
	if len(parts) > 8 {
		return fmt.Errorf("role %q has more than 8 levels", path)
	}
	for _, p := range parts {
		if p == "" || p == "." || p == ".." || len(p) > 64 {
			return fmt.Errorf("role %q: each level has 1 to 64 letters, digits, dots, hyphens or underscores", path)
		}
		for _, r := range p {
			if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
				return fmt.Errorf("role %q: %q is neither a letter nor a digit, dot, hyphen or underscore", path, r)
			}
		}
	}
	return nil
}
