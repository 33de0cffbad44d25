package nodemanager

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
	"google.golang.org/protobuf/proto"
)

// container is one from its grant, or its launch context if that comes first, until its application has ended. Its fields
// are guarded by Manager.mu.
type container struct {
	id    id.ContainerID
	app   *application // nil: no grant yet
	grant *grant.Grant
	task  *v1.TaskID

	context chan *wire.ContainerLaunchContextProto // capacity one: what the master said
	begun   bool                                   // the master has said it
	seen    time.Time

	state   wire.ContainerStateProto
	since   time.Time // running
	failure *failure  // why it could not be prepared
	outcome *grant.Outcome
	kept    keptContainer
	process service.Process
	pid     int
	limit   int64 // bytes of memory
	vcores  int32
	version int32         // of its resources
	resized chan struct{} // closed at the next change of version; nil: nobody waits
	over    string        // diagnostics of its end for memory
	stopped bool          // the master wanted it to end before its grant came

	disk      sync.Mutex      // held while it runs and its record or a link of it is changed; taken before mu
	adding    context.Context // ends with it; nil: nothing was added since the agent began
	endAdding context.CancelFunc
}

// keptContainer is what is kept of a container over a restart.
type keptContainer struct {
	Context []byte     // what the master said
	Held    []int64    // localised files
	Started int64      // Unix milliseconds
	Added   []addition `json:",omitempty"` // asked for while it ran, each key once
}

// failure is why a container could not be started, in YARN's words.
type failure struct {
	status int32
	text   string
}

func (f *failure) Error() string { return f.text }

// Exit statuses of YARN.
const (
	statusInvalid         = -1000
	statusAborted         = -100
	statusMemory          = -104
	statusByMaster        = -105
	statusByManager       = -106
	statusAfterApp        = -107
	statusLost      int32 = 154
)

// waiting returns the container of an id, made if need be. Under mu.
func (m *Manager) waiting(cid id.ContainerID) *container {
	c := m.containers[cid]
	if c == nil {
		c = &container{id: cid, context: make(chan *wire.ContainerLaunchContextProto, 1), state: wire.ContainerStateProto_C_NEW, seen: time.Now()}
		m.containers[cid] = c
	}
	return c
}

// granted takes a grant.
func (m *Manager) granted(a *application, g *grant.Grant, spec *v1.TaskSpec) (*container, error) {
	cid, err := id.ParseContainer(g.Container)
	if err != nil {
		return nil, err
	}
	if cid.Application() != a.id {
		return nil, &failure{statusInvalid, g.Container + " is none of " + g.Application}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.waiting(cid)
	c.app, c.grant, c.task = a, g, spec.Task
	c.size(spec)
	return c, nil
}

func (m *Manager) containerFile(cid id.ContainerID) string {
	return filepath.Join(m.private, "containers", cid.String())
}

func (m *Manager) keepContainer(cid id.ContainerID, k keptContainer) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return replace(m.containerFile(cid), b)
}

// loadContainer reads what an earlier agent kept; nil: nothing.
func (m *Manager) loadContainer(cid id.ContainerID) *keptContainer {
	b, err := os.ReadFile(m.containerFile(cid))
	if err != nil {
		return nil
	}
	k := &keptContainer{}
	if json.Unmarshal(b, k) != nil {
		return nil
	}
	return k
}

// begin takes what the master says how its container is to be started.
func (m *Manager) begin(cid id.ContainerID, lc *wire.ContainerLaunchContextProto) error {
	b, err := proto.Marshal(lc)
	if err != nil {
		return err
	}
	m.mu.Lock()
	if len(m.containers) > maxContainers {
		m.mu.Unlock()
		return hadooprpc.Errorf(hadooprpc.YarnException, "this node holds too many containers")
	}
	c := m.waiting(cid)
	if c.begun || c.outcome != nil {
		m.mu.Unlock()
		return hadooprpc.Errorf(hadooprpc.YarnException, "Container %s already is running on this node!!", cid)
	}
	c.begun = true
	c.kept.Context = b
	k := c.kept
	m.mu.Unlock()
	// Before the master hears that it is taken: it will not say it again.
	if err := m.keepContainer(cid, k); err != nil {
		m.mu.Lock()
		c.begun = false
		m.mu.Unlock()
		return hadooprpc.Errorf(hadooprpc.YarnException, "the launch context cannot be kept: %v", err)
	}
	c.context <- lc // it has room: begun was not set before
	return nil
}

const maxContainers = 200_000

// await waits for the launch context of a container.
func (m *Manager) await(ctx context.Context, c *container) (*wire.ContainerLaunchContextProto, error) {
	if c.grant.GetMaster() {
		lc := &wire.ContainerLaunchContextProto{}
		if err := proto.Unmarshal(c.grant.LaunchContext, lc); err != nil {
			return nil, &failure{statusInvalid, "the launch context cannot be read: " + err.Error()}
		}
		return lc, nil
	}
	m.mu.Lock()
	begun := c.begun
	m.mu.Unlock()
	if k := m.loadContainer(c.id); !begun && k != nil && k.Context != nil {
		lc := &wire.ContainerLaunchContextProto{}
		if err := proto.Unmarshal(k.Context, lc); err == nil {
			m.mu.Lock()
			c.begun, c.kept.Context = true, k.Context
			m.mu.Unlock()
			return lc, nil
		}
	}
	m.mu.Lock()
	stopped := c.stopped
	m.mu.Unlock()
	if stopped {
		return nil, &failure{statusByMaster, whyMaster}
	}
	patience := time.NewTimer(m.o.StartWait)
	defer patience.Stop()
	select {
	case lc := <-c.context:
		return lc, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		m.mu.Lock()
		c.begun = true // what comes now is too late
		m.mu.Unlock()
		return nil, &failure{statusAborted, "Container expired since it was unused"}
	}
}

var errUnknown = errors.New("unknown container")
