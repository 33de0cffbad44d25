package allocator

import (
	"errors"
	"fmt"

	"fairway/broker/resource"
)

// Errors of refused events, wrapped with detail.
var (
	ErrUnknown  = errors.New("not known")
	ErrExists   = errors.New("exists already")
	ErrInvalid  = errors.New("not valid")
	ErrBusy     = errors.New("still in use")
	ErrStale    = errors.New("older than what is known")
	ErrTooLarge = errors.New("larger than what is there")
)

const (
	maxID     = 1 << 22 // of agents, roles, frameworks; racks and hosts: dense tables are as long as the largest id
	maxHostID = 1 << 24
	maxAmount = 1 << 50 // in any slot of one agent, shape or task
	maxTotal  = 1 << 61 // of the cluster, and of what one framework holds
	maxCount  = 1 << 30 // tasks of a group
)

func (m *Machine) apply(e *Event) error {
	switch e.Kind {
	case AgentAdd:
		return m.agentAdd(e)
	case AgentUpdate:
		return m.agentUpdate(e)
	case AgentPause, AgentResume:
		return m.agentAway(e.Agent, cutOff, e.Kind == AgentPause)
	case AgentDrain, AgentUndrain:
		return m.agentAway(e.Agent, draining, e.Kind == AgentDrain)
	case AgentRemove:
		return m.agentRemove(e.Agent)
	case RoleSet:
		return m.roleSet(e)
	case RoleRemove:
		return m.roleRemove(e.Role)
	case FrameworkAdd:
		return m.frameworkAdd(e)
	case FrameworkRemove:
		return m.frameworkRemove(e.Framework)
	case RequestSet:
		return m.requestSet(e)
	case RequestRemove:
		return m.requestRemove(e)
	case Accept:
		return m.accept(e)
	case Decline:
		return m.decline(e)
	case Suppress, Revive:
		return m.suppress(e.Framework, e.Kind == Suppress)
	case TaskStart:
		return m.taskStart(e)
	case TaskEnd:
		return m.taskEnd(e)
	case Rescind:
		o := m.offerIDs.get(uint64(e.Offer))
		if o < 0 {
			return fmt.Errorf("rescind offer %d: %w", e.Offer, ErrUnknown)
		}
		m.end(o, OfferRescinded)
		return nil
	case Pause:
		m.halted = true
		return nil
	case Resume:
		m.halted = false
		return nil
	case Reclaimable:
		return m.reclaimable(e.Framework, e.Flag)
	}
	return fmt.Errorf("event of kind %d: %w", e.Kind, ErrInvalid)
}

func (m *Machine) agentOf(id AgentID) (*agent, error) {
	if int(id) >= len(m.agents) || !m.agents[id].live {
		return nil, fmt.Errorf("agent %d: %w", id, ErrUnknown)
	}
	return &m.agents[id], nil
}

func (m *Machine) agentAdd(e *Event) error {
	if e.Agent >= maxID || e.Host >= maxHostID || e.Rack >= maxID {
		return fmt.Errorf("agent %d: id: %w", e.Agent, ErrInvalid)
	}
	if int(e.Agent) < len(m.agents) && m.agents[e.Agent].live {
		return fmt.Errorf("agent %d: %w", e.Agent, ErrExists)
	}
	if err := m.checkTotal(&e.Resources, &resource.Vector{}); err != nil {
		return fmt.Errorf("agent %d: %w", e.Agent, err)
	}
	for int(e.Agent) >= len(m.agents) {
		m.agents = append(m.agents, agent{offers: none, kept: none, next: none})
		m.fits = append(m.fits, fit{})
	}
	a := &m.agents[e.Agent]
	a.live, a.away, a.shrunk = true, 0, false
	a.gen++
	a.host, a.rack = e.Host, e.Rack
	a.total, a.free = e.Resources, e.Resources
	a.slot = m.takeSlot(e.Agent, e.Rack)
	m.hostList(e.Host)
	a.next = m.hostAgent[e.Host]
	m.hostAgent[e.Host] = int32(e.Agent)
	m.live++
	m.addTotal(&e.Resources, 1)
	m.refit(e.Agent)
	m.touch(e.Agent)
	return nil
}

func (m *Machine) checkTotal(v, instead *resource.Vector) error {
	if err := checkAmount(v); err != nil {
		return err
	}
	for i := range v {
		if m.total[i]-instead[i]+v[i] > maxTotal {
			return fmt.Errorf("cluster too large: %w", ErrInvalid)
		}
	}
	return nil
}

func (m *Machine) addTotal(v *resource.Vector, sign int64) {
	for i := range v {
		m.total[i] += sign * v[i]
	}
	m.totalChanged = true
}

func (m *Machine) agentUpdate(e *Event) error {
	a, err := m.agentOf(e.Agent)
	if err != nil {
		return err
	}
	if e.Rack >= maxID {
		return fmt.Errorf("agent %d: rack: %w", e.Agent, ErrInvalid)
	}
	if err := m.checkTotal(&e.Resources, &a.total); err != nil {
		return fmt.Errorf("agent %d: %w", e.Agent, err)
	}
	m.addTotal(&a.total, -1)
	m.addTotal(&e.Resources, 1)
	a.free = a.free.Add(e.Resources).Sub(a.total)
	a.total = e.Resources
	a.shrunk = a.shrunk || a.free.Negative()
	if e.Rack != a.rack {
		m.hide(e.Agent)
		m.dropSlot(a)
		a.rack = e.Rack
		a.slot = m.takeSlot(e.Agent, e.Rack)
	}
	m.refit(e.Agent)
	m.publish(e.Agent)
	m.touch(e.Agent)
	return nil
}

// hide takes an agent out of the bitmaps.
func (m *Machine) hide(id AgentID) {
	m.fits[id].now = 0
	m.publish(id)
}

// rescindAll takes back all offers of an agent.
func (m *Machine) rescindAll(id AgentID, why Reason) {
	for m.agents[id].offers >= 0 {
		m.end(m.agents[id].offers, why)
	}
}

// agentAway sets or clears a reason why nothing is offered of an agent.
func (m *Machine) agentAway(id AgentID, why away, on bool) error {
	a, err := m.agentOf(id)
	if err != nil {
		return err
	}
	now := a.away &^ why
	if on {
		now |= why
	}
	was := a.away
	a.away = now
	if (was == 0) == (now == 0) {
		return nil // nothing was offered of it, or is still
	}
	if on {
		reason := AgentLost
		if why == draining {
			reason = AgentDraining
		}
		m.rescindAll(id, reason)
		m.unkeep(id)
	}
	m.refit(id)
	m.publish(id)
	m.touch(id)
	m.wakeHost(a.host)
	return nil
}

// wakeHost has groups that wait for a host looked at again, because an agent there went: maybe there is nothing left to
// wait for.
func (m *Machine) wakeHost(h HostID) {
	for i := 0; i < len(m.hostWants[h]); i++ {
		at := m.hostWants[h][i].g
		if g := &m.groups[at]; g.settled && !g.strict {
			m.consider(at)
		}
	}
}

func (m *Machine) agentRemove(id AgentID) error {
	a, err := m.agentOf(id)
	if err != nil {
		return err
	}
	m.rescindAll(id, AgentLost)
	m.unkeep(id)
	for fw := range m.fws {
		if at := m.holdings.find(holdKey(id, uint32(fw))); at >= 0 {
			held := m.holdings.at(at)
			m.holdings.sub(at, &held)
			m.charge(m.fws[fw].node, &held, -1)
			m.reap(int32(fw))
		}
	}
	m.hide(id)
	m.dropSlot(a)
	p := &m.hostAgent[a.host]
	for *p != int32(id) {
		p = &m.agents[*p].next
	}
	*p = a.next
	a.next = none
	a.live = false
	m.live--
	m.addTotal(&a.total, -1)
	m.wakeHost(a.host)
	return nil
}

func (m *Machine) roleOf(id RoleID) (int32, error) {
	if int(id) >= len(m.roles) || m.roles[id] < 0 {
		return none, fmt.Errorf("role %d: %w", id, ErrUnknown)
	}
	return m.roles[id], nil
}

func (m *Machine) roleSet(e *Event) error {
	if e.Role >= maxID {
		return fmt.Errorf("role %d: id: %w", e.Role, ErrInvalid)
	}
	if e.Weight <= 0 || e.Weight > 1e9 {
		return fmt.Errorf("role %d: weight of %d thousandths: %w", e.Role, e.Weight, ErrInvalid)
	}
	at := none
	if int(e.Role) < len(m.roles) {
		at = m.roles[e.Role]
	}
	if e.Role != 0 {
		parent, err := m.roleOf(e.Parent)
		if err != nil {
			return fmt.Errorf("parent of role %d: %w", e.Role, err)
		}
		if at >= 0 && m.nodes[at].parent != parent {
			return fmt.Errorf("role %d: another parent: %w", e.Role, ErrInvalid)
		}
		if at < 0 {
			at = m.newNode(parent, true, uint32(e.Role))
			for int(e.Role) >= len(m.roles) {
				m.roles = append(m.roles, none)
			}
			m.roles[e.Role] = at
		}
	}
	n := &m.nodes[at]
	n.weight = e.Weight
	n.cost = max(1, (1000<<costBits)/uint64(e.Weight))
	n.guarantee, n.limit = e.Guarantee, e.Limit
	if n.limited {
		m.limits--
	}
	n.guaranteed, n.limited = false, false
	for i := range e.Limit {
		n.guaranteed = n.guaranteed || e.Guarantee[i] > 0
		n.limited = n.limited || e.Limit[i] >= 0
	}
	if n.limited {
		m.limits++
	}
	n.forced = !n.alloc.Within(n.limit)
	if n.parent >= 0 {
		m.nodes[n.parent].keys[n.pos] = m.key(n)
	}
	m.relimit(at)
	m.touchFree()
	return nil
}

// touchFree has the next pass look at every agent with room: who may use it has changed in a way that the tree alone
// does not show, because classic frameworks and groups in the lists of hosts are found from the agent's side.
func (m *Machine) touchFree() {
	for id := range m.agents {
		if m.fits[id].now != 0 {
			m.touch(AgentID(id))
		}
	}
}

func (m *Machine) roleRemove(id RoleID) error {
	at, err := m.roleOf(id)
	if err != nil {
		return err
	}
	if id == 0 {
		return fmt.Errorf("root role: %w", ErrInvalid)
	}
	if n := len(m.nodes[at].kids); n > 0 {
		return fmt.Errorf("role %d has %d roles and frameworks: %w", id, n, ErrBusy)
	}
	m.freeNode(at)
	m.roles[id] = none
	return nil
}

func (m *Machine) frameworkOf(id FrameworkID) (*framework, error) {
	if int(id) >= len(m.fws) || !m.fws[id].live {
		return nil, fmt.Errorf("framework %d: %w", id, ErrUnknown)
	}
	return &m.fws[id], nil
}

func (m *Machine) frameworkAdd(e *Event) error {
	if e.Framework >= maxID {
		return fmt.Errorf("framework %d: id: %w", e.Framework, ErrInvalid)
	}
	role, err := m.roleOf(e.Role)
	if err != nil {
		return fmt.Errorf("framework %d: %w", e.Framework, err)
	}
	for int(e.Framework) >= len(m.fws) {
		m.fws = append(m.fws, framework{node: none, filters: none, sole: none})
	}
	fw := &m.fws[e.Framework]
	switch {
	case fw.live:
		return fmt.Errorf("framework %d: %w", e.Framework, ErrExists)
	case fw.gone && fw.role != e.Role:
		return fmt.Errorf("framework %d: its tasks run in role %d: %w", e.Framework, fw.role, ErrBusy)
	case !fw.gone:
		fw.node = m.newNode(role, false, uint32(e.Framework))
	}
	fw.live, fw.gone, fw.suppressed, fw.yields = true, false, false, false
	fw.classic, fw.role = e.Flag, e.Role
	m.showDemand(fw)
	if fw.classic {
		m.touchFree()
	}
	return nil
}

func (m *Machine) frameworkRemove(id FrameworkID) error {
	fw, err := m.frameworkOf(id)
	if err != nil {
		return err
	}
	m.stopReclaim(int32(id))
	m.showGiving(fw, false)
	fw.live, fw.yields = false, false
	m.showDemand(fw)
	for o := m.oldest; o >= 0 && fw.offers > 0; {
		newer := m.offers[o].newer
		if m.offers[o].fw == int32(id) {
			m.end(o, FrameworkGone)
		}
		o = newer
	}
	var groups []int32
	fw.groups.each(func(at int32) { groups = append(groups, at) })
	for _, at := range groups {
		m.forget(at)
	}
	m.clearFilters(&fw.filters)
	fw.groups = table{}
	fw.queues, fw.mask = nil, 0
	fw.gone = true
	m.reap(int32(id))
	return nil
}

// reap frees the node of a framework that is gone once its tasks hold nothing.
func (m *Machine) reap(id int32) {
	fw := &m.fws[id]
	if !fw.gone || !isZero(&m.nodes[fw.node].alloc) {
		return
	}
	m.freeNode(fw.node)
	m.fws[id] = framework{node: none, filters: none, sole: none}
}

func (m *Machine) suppress(id FrameworkID, on bool) error {
	fw, err := m.frameworkOf(id)
	if err != nil {
		return err
	}
	fw.suppressed = on
	m.showDemand(fw)
	if on {
		return nil
	}
	m.clearFilters(&fw.filters)
	fw.groups.each(func(at int32) {
		m.clearFilters(&m.groups[at].filters)
		m.consider(at)
	})
	if fw.classic {
		m.touchFree()
	}
	return nil
}

func (m *Machine) taskStart(e *Event) error {
	a, err := m.agentOf(e.Agent)
	if err != nil {
		return fmt.Errorf("task start: %w", err)
	}
	if int(e.Framework) >= len(m.fws) || m.fws[e.Framework].node < 0 {
		return fmt.Errorf("task start: framework %d: %w", e.Framework, ErrUnknown)
	}
	if err := checkAmount(&e.Resources); err != nil {
		return fmt.Errorf("task start: %w", err)
	}
	fw := &m.fws[e.Framework]
	for i, n := range e.Resources {
		if m.nodes[0].alloc[i]+n > maxTotal {
			return fmt.Errorf("task start: too much in use: %w", ErrInvalid)
		}
	}
	if isZero(&e.Resources) {
		return nil
	}
	sub(&a.free, &e.Resources)
	m.holdings.add(holdKey(e.Agent, uint32(e.Framework)), &e.Resources)
	a.shrunk = a.shrunk || a.free.Negative()
	for at := m.nodes[fw.node].parent; at >= 0; at = m.nodes[at].parent {
		if n := &m.nodes[at]; n.limited {
			n.forced = true
		}
	}
	m.charge(fw.node, &e.Resources, 1)
	m.refit(e.Agent)
	m.publish(e.Agent)
	return nil
}

func (m *Machine) taskEnd(e *Event) error {
	a, err := m.agentOf(e.Agent)
	if err != nil {
		return fmt.Errorf("task end: %w", err)
	}
	if err := checkAmount(&e.Resources); err != nil {
		return fmt.Errorf("task end: %w", err)
	}
	if isZero(&e.Resources) {
		return nil
	}
	h := m.holdings.find(holdKey(e.Agent, uint32(e.Framework)))
	if h < 0 || !m.holdings.holds(h, &e.Resources) {
		return fmt.Errorf("task end: framework %d on agent %d: %w", e.Framework, e.Agent, ErrTooLarge)
	}
	add(&a.free, &e.Resources)
	m.holdings.sub(h, &e.Resources)
	m.charge(m.fws[e.Framework].node, &e.Resources, -1)
	m.refit(e.Agent)
	m.touch(e.Agent)
	m.reap(int32(e.Framework))
	return nil
}
