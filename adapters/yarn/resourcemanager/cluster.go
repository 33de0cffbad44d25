package resourcemanager

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

// Attributes that an agent with the service declares.
const (
	addressAttribute = "yarn.address" // host:port of its ContainerManagement server
	httpAttribute    = "yarn.http"    // host:port of its logs
	logsAttribute    = "yarn.logs"    // logsAggregated: they are aggregated when an application has ended
	logsAggregated   = "aggregated"
)

// snapshot is the cluster as it was a moment ago. It does not change once it is made: calls read it without a lock.
type snapshot struct {
	at      time.Time
	due     time.Time // when the next node is lost or forgotten; zero: none is to be
	nodes   []*node   // by name
	byAgent map[string]*node
	split   *partitions
	racks   map[string]bool // of agents that may run containers
	total   amount          // of active nodes
	used    amount
	free    amount
	freeOf  map[string]amount // by label
	largest amount            // of any node in each kind
	active  int
	lost    int
	leaving int // nodes that are being decommissioned
	left    int // that are
	keeping int // of the nodes: they do not aggregate logs
	roles   map[string]*roleState
}

type node struct {
	Node
	agent string
	gone  bool // the agent
	host  string
	names []string // of its host, lower case
	total *v1.Resources
	used  *v1.Resources // by tasks
}

// free is what no task used on a node when its snapshot was taken.
func (n *node) free() parts {
	free := partsOf(n.total)
	for kind, used := range partsOf(n.used) {
		free[kind] -= used
	}
	return free
}

// roleState is a role in a snapshot.
type roleState struct {
	role     *v1.Role
	used     amount
	absolute float64 // part of the cluster that is its by weight
	maximum  float64 // part of the cluster that it may take
	headroom amount  // what it could take now
}

func newSnapshot(at time.Time) *snapshot {
	return &snapshot{
		at: at, byAgent: map[string]*node{}, split: newPartitions(), racks: map[string]bool{}, freeOf: map[string]amount{}, roles: map[string]*roleState{},
	}
}

func (s *snapshot) role(path string) *roleState { return s.roles[path] }

// cluster is the newest snapshot.
func (m *Manager) cluster() *snapshot { return m.snap.Load() }

// operator is who the manager is toward the broker.
var operator = api.Caller{User: "yarn", UID: -1, Operator: true}

// lookPace is how far apart snapshots are while the cluster keeps changing.
const lookPace = time.Second

// watchCluster takes a snapshot when the broker says that the cluster has changed, when a node's time is over, and at once
// when somebody asks for one. While nothing changes it does nothing.
func (m *Manager) watchCluster(ctx context.Context) error {
	changes := make(chan struct{}, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		m.listen(ctx, changes)
		return nil
	})
	group.Go(func() error {
		m.listenForLogs(ctx)
		return nil
	})
	group.Go(func() error {
		m.lookAtChanges(ctx, changes)
		return nil
	})
	return group.Wait()
}

// listen passes the broker's word of changes on, also when the broker ends and begins again.
func (m *Manager) listen(ctx context.Context, changes chan<- struct{}) {
	for ctx.Err() == nil {
		err := m.watcher.WatchCluster(ctx, operator, func() error {
			select {
			case changes <- struct{}{}:
			default:
			}
			return nil
		})
		if ctx.Err() == nil {
			m.o.Log.Debug("the broker tells no changes", zap.Error(err))
			sleep(ctx, resend)
		}
	}
}

func (m *Manager) lookAtChanges(ctx context.Context, changes <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	pending := false
	for {
		wake := m.cluster().due
		if next := last.Add(lookPace); pending && (wake.IsZero() || next.Before(wake)) {
			wake = next
		}
		if timer.Stop(); !wake.IsZero() {
			timer.Reset(max(time.Until(wake), 0))
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
			if pending = true; time.Since(last) < lookPace {
				continue
			}
		case <-m.look:
		case <-timer.C:
		}
		last, pending = time.Now(), false
		if err := m.refresh(ctx); err != nil && ctx.Err() == nil {
			m.o.Log.Debug("the broker did not describe the cluster", zap.Error(err))
			pending = true
			if !sleep(ctx, resend) { // a deadline that is over does not spin
				return
			}
		}
	}
}

// refresh takes a snapshot and tells applications of nodes that were lost or are back.
func (m *Manager) refresh(ctx context.Context) error {
	m.refreshing.Lock()
	defer m.refreshing.Unlock()
	s, err := m.survey(ctx)
	if err != nil {
		return err
	}
	m.headrooms(s)
	before := m.cluster()
	m.snap.Store(s)
	m.divide(before, s)
	m.judgeNodes(s)
	m.masters.settle(m)
	return nil
}

func (m *Manager) survey(ctx context.Context) (*snapshot, error) {
	s := newSnapshot(time.Now())
	for page := ""; ; {
		r, err := m.o.Broker.ListAgents(ctx, operator, &v1.ListAgentsRequest{PageSize: 1000, PageToken: page})
		if err != nil {
			return nil, fmt.Errorf("list agents: %w", err)
		}
		for _, a := range r.Agents {
			s.add(m, a)
		}
		if page = r.NextPageToken; page == "" {
			break
		}
	}
	slices.SortFunc(s.nodes, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.ID.Host, b.ID.Host), cmp.Compare(a.ID.Port, b.ID.Port), cmp.Compare(a.agent, b.agent))
	})
	s.dedupe()
	s.split.settle()
	roles, err := m.o.Broker.ListRoles(ctx, operator)
	if err != nil {
		return nil, fmt.Errorf("list roles: %w", err)
	}
	for _, r := range roles {
		s.roles[r.Path] = &roleState{role: r, used: amountOf(r.Used)}
	}
	if len(s.nodes) == 0 {
		s.largest = amount{memory: 8192, vcores: 4} // YARN's own default, until an agent comes
	}
	return s, nil
}

// dedupe drops agents that are gone where another one has their address now.
func (s *snapshot) dedupe() {
	live := map[id.NodeID]bool{}
	for _, n := range s.nodes {
		live[n.ID] = live[n.ID] || !n.gone && n.State != wire.NodeStateProto_NS_LOST
	}
	s.nodes = slices.DeleteFunc(s.nodes, func(n *node) bool {
		switch {
		case !live[n.ID]:
			return false
		case n.State == wire.NodeStateProto_NS_LOST:
			s.lost--
		case n.gone:
			s.left--
		default:
			return false
		}
		return true
	})
}

func (s *snapshot) add(m *Manager, a *v1.Agent) {
	info := a.GetInfo()
	where, err := id.ParseNode(info.GetAttributes()[addressAttribute])
	label := info.GetAttributes()[labelAttribute]
	if err != nil || label != "" && !labelPattern.MatchString(label) {
		if a.State != "gone" {
			s.split.foreign = append(s.split.foreign, a.Id)
		}
		return
	}
	if a.State != "gone" {
		s.split.add(a.Id, label)
	}
	total, used := amountOf(info.Total), amountOf(a.Used)
	n := &node{
		agent: a.Id, gone: a.State == "gone", host: info.Host, names: hostNames(where, info.Host, info.Addresses), total: info.Total, used: a.Used,
		Node: Node{
			ID: where, HTTP: info.Attributes[httpAttribute], Rack: rackName(info.Rack), State: wire.NodeStateProto_NS_RUNNING, Containers: int(a.Tasks),
			Memory: total.memory, VCores: int64(total.vcores), UsedMemory: used.memory, UsedVCores: int64(used.vcores), Version: m.o.Version, Label: label,
		},
	}
	switch a.State {
	case "unreachable":
		since := time.Unix(0, a.SinceUnixNanos)
		n.Heard = since.Add(-m.o.AgentTimeout)
		n.Health = "cut off since " + n.Heard.UTC().Format(time.RFC3339)
		if s.expired(n.Heard.Add(m.o.NodeExpiry)) {
			n.State = wire.NodeStateProto_NS_LOST
		}
	case "gone":
		if s.byAgent[a.Id] != nil || s.expired(time.Unix(0, a.SinceUnixNanos).Add(time.Hour)) {
			return
		}
		n.State, n.Heard = wire.NodeStateProto_NS_LOST, time.Unix(0, a.SinceUnixNanos)
		n.Health = "gone since " + n.Heard.UTC().Format(time.RFC3339)
	}
	if a.Draining {
		s.leave(n, a)
	}
	s.nodes = append(s.nodes, n)
	if info.Attributes[logsAttribute] != logsAggregated {
		s.keeping++
	}
	s.byAgent[a.Id] = n
	s.largest.memory, s.largest.vcores = max(s.largest.memory, total.memory), max(s.largest.vcores, total.vcores)
	s.largest.further = most(s.largest.further, total.further)
	if n.State == wire.NodeStateProto_NS_LOST {
		s.lost++
		return
	}
	switch n.State {
	case wire.NodeStateProto_NS_DECOMMISSIONED:
		s.left++
		return
	case wire.NodeStateProto_NS_DECOMMISSIONING:
		s.leaving++
	default:
		s.active++
	}
	s.racks[n.Rack] = true
	s.total = s.total.plus(total)
	s.used = s.used.plus(used)
	if a.State == "active" {
		free := amountOf(&v1.Resources{
			MemoryBytes: info.Total.GetMemoryBytes() - a.Used.GetMemoryBytes(), CpuMilli: info.Total.GetCpuMilli() - a.Used.GetCpuMilli(),
		})
		s.free, s.freeOf[label] = s.free.plus(free), s.freeOf[label].plus(free)
	}
}

// leave makes a node one that is being decommissioned, or that is. It stays so when its host is cut off or switched off, which
// is what it was done for; only one that is lost before it was done is lost.
func (s *snapshot) leave(n *node, a *v1.Agent) {
	over := false
	if a.DrainUntilUnixNanos != 0 {
		until := time.Unix(0, a.DrainUntilUnixNanos)
		n.Draining = until.Sub(time.Unix(0, a.DrainSinceUnixNanos))
		over = s.expired(until)
	}
	switch {
	case a.Tasks == 0 && (len(a.Jobs) == 0 || over):
		// A master runs maps again whose output is on a decommissioned node, so that it is one only when no application that
		// has not ended can want any of it, or when the time for it is over.
		n.State, n.Health = wire.NodeStateProto_NS_DECOMMISSIONED, strings.TrimPrefix(n.Health+", drained", ", ")
	case n.State == wire.NodeStateProto_NS_RUNNING:
		n.State, n.Health = wire.NodeStateProto_NS_DECOMMISSIONING, strings.TrimPrefix(n.Health+", draining", ", ")
	}
}

// expired tells whether a time is over; if not, a snapshot is due then.
func (s *snapshot) expired(at time.Time) bool {
	if !at.After(s.at) {
		return true
	}
	if s.due.IsZero() || at.Before(s.due) {
		s.due = at
	}
	return false
}

// heard is when a node was heard of last. The broker says when one is cut off; until then it hears of it.
func (n *Node) heard() time.Time {
	if n.Heard.IsZero() {
		return time.Now()
	}
	return n.Heard
}

// most is the larger count of each further kind.
func most(a, b string) string {
	counts := map[string]int64{}
	for _, s := range []string{a, b} {
		amount{further: s}.each(func(name string, n int64) { counts[name] = max(counts[name], n) })
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		lines = append(lines, fmt.Sprintf("%s=%d", name, counts[name]))
	}
	return strings.Join(lines, "\n")
}

// rackName is a rack as YARN writes it.
func rackName(r string) string {
	if r == "" {
		return "/default-rack"
	}
	return r
}

// hostNames are all names that a row may name a host by, lower case; the one that masters see comes first.
func hostNames(n id.NodeID, host string, addresses []string) []string {
	out := []string{strings.ToLower(n.Host)}
	for _, h := range append([]string{host}, addresses...) {
		if h = strings.ToLower(h); h != "" && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// plus adds memory and vcores; further kinds are not summed.
func (a amount) plus(b amount) amount {
	return amount{memory: a.memory + b.memory, vcores: a.vcores + b.vcores}
}

// minus subtracts memory and vcores, no further than to 0.
func (a amount) minus(b amount) amount {
	return amount{memory: max(a.memory-b.memory, 0), vcores: max(a.vcores-b.vcores, 0)}
}

// dominant is the larger of the parts of total that a is, 0 if there is nothing.
func dominant(a, total amount) (d float64) {
	if total.memory > 0 {
		d = float64(a.memory) / float64(total.memory)
	}
	if total.vcores > 0 {
		d = max(d, float64(a.vcores)/float64(total.vcores))
	}
	return d
}

// headrooms works out what each role is entitled to and could take now: what is free, less what the guarantees of others
// still call for, within its limit and those above it.
func (m *Manager) headrooms(s *snapshot) {
	children := map[string][]*roleState{}
	for path, r := range s.roles {
		up := parentOf(path)
		children[up] = append(children[up], r)
	}
	var walk func(parent string, absolute, maximum float64, room amount)
	walk = func(parent string, absolute, maximum float64, room amount) {
		weights, unmet := 0.0, amount{}
		for _, r := range children[parent] {
			weights += r.role.Weight
			unmet = unmet.plus(amountOf(r.role.Guarantee).minus(r.used))
		}
		for _, r := range children[parent] {
			mine := amountOf(r.role.Guarantee).minus(r.used)
			r.headroom = room.minus(unmet.minus(mine))
			r.absolute, r.maximum = absolute, maximum
			if weights > 0 {
				r.absolute = absolute * r.role.Weight / weights
			}
			r.absolute = max(r.absolute, dominant(amountOf(r.role.Guarantee), s.total))
			if l := r.role.Limit; l.GetMemoryBytes() > 0 {
				r.headroom.memory = min(r.headroom.memory, max(l.MemoryBytes/mib-r.used.memory, 0))
				r.maximum = min(r.maximum, part(l.MemoryBytes/mib, s.total.memory))
			}
			if l := r.role.Limit; l.GetCpuMilli() > 0 {
				r.headroom.vcores = min(r.headroom.vcores, max(int32(min(l.CpuMilli/1000, maxVCores))-r.used.vcores, 0))
				r.maximum = min(r.maximum, part(l.CpuMilli/1000, int64(s.total.vcores)))
			}
			r.absolute = min(r.absolute, r.maximum)
			walk(r.role.Path, r.absolute, r.maximum, r.headroom)
		}
	}
	walk("", 1, 1, s.free)
}

func part(a, b int64) float64 {
	if b <= 0 {
		return 1
	}
	return float64(a) / float64(b)
}

func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// judgeNodes tells applications once of each node that was lost or is taken out of service, and of those again that are back.
func (m *Manager) judgeNodes(s *snapshot) {
	for _, n := range s.nodes {
		was, is := m.told[n.agent], n.State
		switch {
		case is == was || is == wire.NodeStateProto_NS_RUNNING && was == 0:
			continue
		case is == wire.NodeStateProto_NS_RUNNING:
			delete(m.told, n.agent)
			m.o.Log.Info("node is back", zap.Stringer("node", n.ID))
		case is == wire.NodeStateProto_NS_LOST:
			m.told[n.agent] = is
			m.o.Log.Warn("node lost", zap.Stringer("node", n.ID), zap.String("why", n.Health))
		default:
			m.told[n.agent] = is
			m.o.Log.Info("node is taken out of service", zap.Stringer("node", n.ID), zap.String("state", n.Health))
		}
		m.tellNode(n)
	}
	for agent := range m.told {
		if s.byAgent[agent] == nil {
			delete(m.told, agent)
		}
	}
}

// tellNode tells the applications that have or had containers on a node.
func (m *Manager) tellNode(n *node) {
	m.mu.Lock()
	var all []*application
	for a := range m.touched[n.agent] {
		all = append(all, a)
	}
	m.mu.Unlock()
	for _, a := range all {
		a.nodeChanged(n)
	}
}

// touch notes that an application has a container on an agent.
func (m *Manager) touch(agent string, a *application) {
	m.mu.Lock()
	defer m.mu.Unlock()
	set := m.touched[agent]
	if set == nil {
		set = map[*application]struct{}{}
		m.touched[agent] = set
	}
	set[a] = struct{}{}
}

// askLook has a new snapshot taken soon.
func (m *Manager) askLook() {
	select {
	case m.look <- struct{}{}:
	default:
	}
}
