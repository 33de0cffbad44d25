package nodemanager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/nodemanager/localize"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
)

// addition is a resource that a master asked for while its container ran.
type addition struct {
	Key         string // as the master says it
	Resource    []byte // LocalResourceProto
	State       wire.LocalizationStateProto
	Diagnostics string `json:",omitempty"`
}

const (
	maxAddedBytes  = 4 << 20 // of keys and addresses of what is added to one container
	maxWhy         = 1 << 10 // bytes of why a resource is not there
	maxStatusBytes = 16 << 20
	addAtOnce      = 16 // resources of one call
)

func (m *Manager) localize(_ context.Context, c *hadooprpc.Caller, q *wire.ResourceLocalizationRequestProto) (proto.Message, error) {
	return &wire.ResourceLocalizationResponseProto{}, m.order(c, q.GetContainerId(), "localize", func(who token.NM, cid id.ContainerID) error {
		return m.extend(who, cid, q.GetLocalResources())
	})
}

// extend takes what a running container is to get besides. It is kept before the master hears that it is taken.
func (m *Manager) extend(who token.NM, cid id.ContainerID, said []*wire.StringLocalResourceMapProto) error {
	if cid.Application() != who.Attempt.Application {
		return hadooprpc.Errorf(hadooprpc.YarnException, "ApplicationMaster not authorized to perform [LOCALIZE] on Container [%s]!!", cid)
	}
	more, err := additions(said)
	if err != nil {
		return hadooprpc.Errorf(hadooprpc.YarnException, "localize for %s: %v", cid, err)
	}
	m.mu.Lock()
	c := m.containers[cid]
	if c == nil {
		m.mu.Unlock()
		return hadooprpc.Errorf(hadooprpc.YarnException, "Specified %s does not exist!", cid)
	}
	err = c.runs()
	launch := c.said()
	m.mu.Unlock()
	if err != nil || len(more) == 0 {
		return err
	}
	launched := len(resourceKeys(launch))
	c.disk.Lock()
	defer c.disk.Unlock()
	m.mu.Lock()
	k := c.kept
	m.mu.Unlock()
	all, fresh := extended(k.Added, more)
	size := 0
	for _, a := range all {
		size += len(a.Key) + len(a.Resource)
	}
	if max(launched+len(all), len(k.Held)+len(fresh)) > maxLinks || size > maxAddedBytes {
		return hadooprpc.Errorf(hadooprpc.YarnException, "localize for %s: a container has at most %d local resources, and %d bytes of names and addresses of those that are added to it", cid, maxLinks, maxAddedBytes)
	}
	if len(fresh) == 0 {
		return nil
	}
	k.Added = all
	if err := m.keepRunning(c, k); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := c.runs(); err != nil { // its record is removed next
		return err
	}
	c.kept.Added = all
	m.add(c, fresh)
	return nil
}

// keepRunning keeps the record of a container, unless it has ended. Under disk.
func (m *Manager) keepRunning(c *container, k keptContainer) error {
	m.mu.Lock()
	err := c.runs()
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if err := m.keepContainer(c.id, k); err != nil {
		return hadooprpc.Errorf(hadooprpc.YarnException, "what is added to %s cannot be kept: %v", c.id, err)
	}
	return nil
}

// runs says in YARN's words that a container does not. Under mu.
func (c *container) runs() error {
	state := "NEW"
	switch {
	case c.outcome != nil:
		state = "DONE"
	case c.process != nil:
		return nil
	case c.kept.Started != 0:
		state = "SCHEDULED"
	case c.begun || c.grant.GetMaster():
		state = "LOCALIZING"
	}
	return hadooprpc.Errorf(hadooprpc.YarnException, "Cannot perform LOCALIZE on [%s]. Current state is [%s, isReInitializing=false]. Container Execution Type is [GUARANTEED].", c.id, state)
}

// said is the launch context of a container; nil: it has none yet. Under mu.
func (c *container) said() []byte {
	if c.grant.GetMaster() {
		return c.grant.GetLaunchContext()
	}
	return c.kept.Context
}

// resourceKeys are the keys of a launch context's resources, each once.
func resourceKeys(launchContext []byte) []string {
	lc := &wire.ContainerLaunchContextProto{}
	if proto.Unmarshal(launchContext, lc) != nil {
		return nil // and so it was never launched
	}
	seen := make(map[string]bool, len(lc.GetLocalResources()))
	var keys []string
	for _, r := range lc.GetLocalResources() {
		if key := r.GetKey(); !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// additions checks what a master asks for. Of several with one key the last counts, as in the map that YARN makes of them.
func additions(said []*wire.StringLocalResourceMapProto) ([]addition, error) {
	if len(said) > maxLinks {
		return nil, fmt.Errorf("more than %d local resources", maxLinks)
	}
	at := make(map[string]int, len(said))
	var out []addition
	for _, s := range said {
		key := s.GetKey()
		if _, err := linkKey(key); err != nil {
			return nil, err
		}
		if !utf8.ValidString(key) {
			return nil, fmt.Errorf("link %.200q is not UTF-8", key)
		}
		if _, err := resource(s.GetValue()); err != nil {
			return nil, err
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.GetValue())
		if err != nil {
			return nil, err
		}
		a := addition{Key: key, Resource: b, State: wire.LocalizationStateProto_L_PENDING}
		if i, again := at[key]; again {
			out[i] = a
			continue
		}
		at[key] = len(out)
		out = append(out, a)
	}
	return out, nil
}

// extended returns what was added and what is added now, and what of the latter is not on its way yet.
func extended(had, more []addition) (all, fresh []addition) {
	all = slices.Clone(had)
	at := make(map[string]int, len(all))
	for i, a := range all {
		at[a.Key] = i
	}
	for _, a := range more {
		i, known := at[a.Key]
		switch {
		case !known:
			at[a.Key] = len(all)
			all = append(all, a)
		case all[i].State == wire.LocalizationStateProto_L_PENDING && bytes.Equal(all[i].Resource, a.Resource):
			continue
		default:
			all[i] = a
		}
		fresh = append(fresh, a)
	}
	return all, fresh
}

func pending(all []addition) []addition {
	return slices.DeleteFunc(slices.Clone(all), func(a addition) bool { return a.State != wire.LocalizationStateProto_L_PENDING })
}

// add fetches and links what is pending of a running container. Under mu.
func (m *Manager) add(c *container, fresh []addition) {
	if len(fresh) == 0 {
		return
	}
	if c.adding == nil {
		c.adding, c.endAdding = context.WithCancel(m.ctx)
	}
	ctx := c.adding
	m.work.Go(func() error {
		var g errgroup.Group
		g.SetLimit(addAtOnce)
		for _, a := range fresh {
			g.Go(func() error {
				m.addOne(ctx, c, a)
				return nil
			})
		}
		err := g.Wait()
		// Once for all: an agent that dies before finds them pending, and the copies at hand.
		c.disk.Lock()
		defer c.disk.Unlock()
		m.mu.Lock()
		k := c.kept
		k.Added = slices.Clone(k.Added)
		m.mu.Unlock()
		if problem := m.keepRunning(c, k); problem != nil && ctx.Err() == nil {
			m.log.Warn("what is added to a container is not kept", zap.Stringer("container", c.id), zap.Error(problem))
		}
		return err
	})
}

// addOne brings one resource. If ctx ends it stays pending: the container has ended, or the next agent goes on.
func (m *Manager) addOne(ctx context.Context, c *container, a addition) {
	if ctx.Err() != nil {
		return
	}
	p := &wire.LocalResourceProto{}
	err := proto.Unmarshal(a.Resource, p)
	var r localize.Resource
	if err == nil {
		r, err = resource(p)
	}
	var held localize.Held
	if err == nil {
		held, err = m.cache.Fetch(ctx, r, localize.User{Name: c.app.kept.User, Account: c.app.kept.Account, Application: c.app.kept.Application})
	}
	if err != nil && ctx.Err() != nil {
		return
	}
	c.disk.Lock()
	defer c.disk.Unlock()
	m.mu.Lock()
	wanted := c.outcome == nil && c.added(a) != nil
	m.mu.Unlock()
	if wanted && err == nil {
		err = m.link(c, a.Key, held)
	}
	m.mu.Lock()
	keep := false
	if now := c.added(a); c.outcome == nil && now != nil {
		if err != nil {
			now.State, now.Diagnostics = wire.LocalizationStateProto_L_FAILED, why(err)
		} else {
			now.State = wire.LocalizationStateProto_L_COMPLETED
			if keep = !slices.Contains(c.kept.Held, held.ID); keep {
				c.kept.Held = append(c.kept.Held, held.ID)
			}
		}
	}
	m.mu.Unlock()
	if held.ID == 0 {
		return
	}
	if !keep {
		m.cache.Release([]int64{held.ID})
	}
	from := "fetched"
	if held.Cached {
		from = "cached"
	}
	m.metrics.bytes.WithLabelValues(from).Add(float64(held.Bytes))
}

// added finds the entry of what is on its way; nil: the master wants something else by now, or it has come. Under mu.
func (c *container) added(a addition) *addition {
	for i := range c.kept.Added {
		if now := &c.kept.Added[i]; now.Key == a.Key && now.State == wire.LocalizationStateProto_L_PENDING && bytes.Equal(now.Resource, a.Resource) {
			return now
		}
	}
	return nil
}

func why(err error) string {
	s := err.Error()
	return strings.ToValidUTF8(s[:min(len(s), maxWhy)], "?")
}

// link links a name in a running container's folder to a copy, with the rights of its account, since the folder is the
// container's by now: what it has put there can lead nowhere but where it could write itself, and os.Root keeps to the
// folder even so. A name that is there already is left as it is and counts, as in YARN.
func (m *Manager) link(c *container, said string, held localize.Held) error {
	var err error
	if problem := localize.As(c.app.kept.Account, func() { err = linkInto(m.appDir(c.app), c.id.String(), said, held.Path) }); problem != nil {
		err = problem
	}
	if err != nil {
		return fmt.Errorf("error when creating symlink %.200s -> %s: %w", said, held.Path, err)
	}
	return nil
}

func linkInto(app, name, said, target string) error {
	key, err := linkKey(said)
	if err != nil {
		return err
	}
	folder, err := os.OpenRoot(app)
	if err != nil {
		return err
	}
	defer folder.Close()
	root, err := folder.OpenRoot(name)
	if err != nil {
		return err
	}
	defer root.Close()
	if path.Base(key) != "*" {
		return linkOne(root, key, target)
	}
	entries, err := os.ReadDir(target)
	if err != nil {
		return err
	}
	if len(entries) > maxLinks {
		return fmt.Errorf("more than %d links", maxLinks)
	}
	for _, e := range entries {
		if err := linkOne(root, e.Name(), filepath.Join(target, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func linkOne(root *os.Root, key, target string) error {
	if dir := path.Dir(key); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := root.Symlink(target, key); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (m *Manager) getLocalizationStatuses(_ context.Context, caller_ *hadooprpc.Caller, q *wire.GetLocalizationStatusesRequestProto) (proto.Message, error) {
	who, err := caller(caller_)
	if err != nil {
		return nil, err
	}
	r := &wire.GetLocalizationStatusesResponseProto{}
	answered := map[id.ContainerID]bool{} // the answer is a map by container: each comes once
	size := 0
	for _, p := range q.GetContainerId() {
		cid, err := id.ContainerFrom(p)
		if err != nil {
			return nil, hadooprpc.Errorf(hadooprpc.YarnException, "%v", err)
		}
		if answered[cid] {
			continue
		}
		answered[cid] = true
		c, err := m.of(who, cid, "get status for")
		switch {
		case err == nil && size > maxStatusBytes:
			err = hadooprpc.Errorf(hadooprpc.YarnException, "the answer is too long: ask for fewer containers than with %s", cid)
		case err == nil:
			var l []*wire.LocalizationStatusProto
			if l, err = m.localizations(c); err == nil {
				s := &wire.ContainerLocalizationStatusesProto{ContainerId: cid.Proto(), LocalizationStatuses: l}
				size += proto.Size(s)
				r.CntnLocalizationStatuses = append(r.CntnLocalizationStatuses, s)
			}
		case errors.Is(err, errUnknown): // its own, and gone: no offence
			err = notHandled(cid)
		default:
			m.refusals.log(m.log, caller_.Remote, who.Attempt.String(), "status", err)
		}
		if err != nil {
			r.FailedRequests = append(r.FailedRequests, failed(cid, err))
		}
	}
	return r, nil
}

// localizations tells how far all resources of a container are: those of its launch context, and those that were added.
func (m *Manager) localizations(c *container) ([]*wire.LocalizationStatusProto, error) {
	m.mu.Lock()
	ended, said, added := c.outcome != nil, c.said(), slices.Clone(c.kept.Added)
	launched := wire.LocalizationStateProto_L_PENDING
	if c.kept.Started != 0 {
		launched = wire.LocalizationStateProto_L_COMPLETED
	}
	m.mu.Unlock()
	if ended {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Container %s was recently stopped on node manager.", c.id)
	}
	again := make(map[string]bool, len(added))
	for _, a := range added {
		again[a.Key] = true
	}
	var out []*wire.LocalizationStatusProto
	for _, key := range resourceKeys(said) {
		if !again[key] {
			out = append(out, &wire.LocalizationStatusProto{ResourceKey: proto.String(key), LocalizationState: launched.Enum()})
		}
	}
	for _, a := range added {
		s := &wire.LocalizationStatusProto{ResourceKey: proto.String(a.Key), LocalizationState: a.State.Enum()}
		if a.Diagnostics != "" {
			s.Diagnostics = proto.String(a.Diagnostics)
		}
		out = append(out, s)
	}
	return out, nil
}
