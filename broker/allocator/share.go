package allocator

import (
	"slices"

	"fairway/broker/resource"
)

// Share is what a role, with all below it, or a framework holds and wants.
type Share struct {
	Used       resource.Vector
	Offered    resource.Vector
	Dominant   float64 // largest share of the cluster, 0 to 1; used and offered
	Fair       float64 // of the cluster, by weight among those that hold or want something
	Waiting    uint64  // outstanding count of all requests
	Groups     int     // with something outstanding
	Frameworks int
}

// RoleShare says what a role holds and wants. ok is false for a role that is not there. It reads all frameworks below;
// use Shares for more than one role.
func (m *Machine) RoleShare(role RoleID) (s Share, ok bool) {
	at, err := m.roleOf(role)
	if err != nil {
		return Share{}, false
	}
	return m.share(at), true
}

// Shares calls each with every role, parents first and siblings in order of id.
func (m *Machine) Shares(each func(RoleID, Share)) {
	sums := make([]Share, len(m.nodes))
	var sum func(at int32)
	sum = func(at int32) {
		sums[at] = m.own(at)
		for _, kid := range m.nodes[at].kids {
			sum(kid)
			sums[at].add(&sums[kid])
		}
	}
	sum(0)
	var tell func(at int32)
	tell = func(at int32) {
		if !m.nodes[at].isRole {
			return
		}
		m.finish(at, &sums[at])
		each(RoleID(m.nodes[at].id), sums[at])
		for _, kid := range m.nodes[at].kids {
			tell(kid)
		}
	}
	tell(0)
}

// FrameworkShare says what a framework holds and wants.
func (m *Machine) FrameworkShare(framework FrameworkID) (s Share, ok bool) {
	if int(framework) >= len(m.fws) || m.fws[framework].node < 0 {
		return Share{}, false
	}
	return m.share(m.fws[framework].node), true
}

// AgentShare says what an agent has.
func (m *Machine) AgentShare(id AgentID) (total, used, offered resource.Vector, ok bool) {
	a, err := m.agentOf(id)
	if err != nil {
		return total, used, offered, false
	}
	offered = m.offered(a)
	return a.total, a.total.Sub(offered).Sub(a.free), offered, true
}

// Total is what all agents have.
func (m *Machine) Total() resource.Vector { return m.total }

// AtOnce is how many tasks a group that waits whole begins with; 0 for others.
func (m *Machine) AtOnce(framework FrameworkID, group GroupID) uint32 {
	at := m.find(framework, group)
	if at < 0 {
		return 0
	}
	return uint32(m.groups[at].missing)
}

// Outstanding is how many tasks of a group still wait for an offer.
func (m *Machine) Outstanding(framework FrameworkID, group GroupID) (n uint32, ok bool) {
	at := m.find(framework, group)
	if at < 0 {
		return 0, false
	}
	return uint32(max(m.groups[at].left, 0)), true
}

// Groups calls each with every group of a framework, in order of id.
func (m *Machine) Groups(framework FrameworkID, each func(GroupID)) {
	fw, err := m.frameworkOf(framework)
	if err != nil {
		return
	}
	var ids []GroupID
	fw.groups.each(func(at int32) { ids = append(ids, m.groups[at].id) })
	slices.Sort(ids)
	for _, id := range ids {
		each(id)
	}
}

func (m *Machine) find(framework FrameworkID, group GroupID) int32 {
	fw, err := m.frameworkOf(framework)
	if err != nil {
		return none
	}
	return fw.groups.get(uint64(group))
}

func (m *Machine) share(at int32) Share {
	var s Share
	m.collect(at, &s)
	m.finish(at, &s)
	return s
}

func (m *Machine) collect(at int32, s *Share) {
	own := m.own(at)
	s.add(&own)
	for _, kid := range m.nodes[at].kids {
		m.collect(kid, s)
	}
}

// own is the part of a framework; nothing for a role.
func (m *Machine) own(at int32) Share {
	n := &m.nodes[at]
	if n.isRole {
		return Share{}
	}
	fw := &m.fws[n.id]
	s := Share{Offered: fw.offered, Used: n.alloc.Sub(fw.offered), Waiting: uint64(fw.waiting)}
	if fw.live {
		s.Frameworks = 1
	}
	fw.groups.each(func(at int32) {
		if m.groups[at].left > 0 {
			s.Groups++
		}
	})
	return s
}

func (s *Share) add(o *Share) {
	s.Used, s.Offered = s.Used.Add(o.Used), s.Offered.Add(o.Offered)
	s.Waiting += o.Waiting
	s.Groups += o.Groups
	s.Frameworks += o.Frameworks
}

func (m *Machine) finish(at int32, s *Share) {
	both := s.Used.Add(s.Offered)
	for i := range m.scales {
		slot := m.scales[i].slot
		s.Dominant = max(s.Dominant, float64(both[slot])/float64(m.total[slot]))
	}
	s.Fair = 1
	for m.nodes[at].parent >= 0 {
		n := &m.nodes[at]
		var sum int64
		for _, kid := range m.nodes[n.parent].kids {
			if k := &m.nodes[kid]; kid == at || !k.alloc.IsZero() || m.nodes[n.parent].effs[k.pos] != 0 || m.wants(kid) {
				sum += k.weight
			}
		}
		s.Fair *= float64(n.weight) / float64(sum)
		at = n.parent
	}
}

// wants says whether anybody below a node has something outstanding.
func (m *Machine) wants(at int32) bool {
	n := &m.nodes[at]
	if !n.isRole {
		return m.fws[n.id].waiting > 0
	}
	return n.wanting > 0
}
