package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
)

// Bounds of what a framework may ask for.
const (
	maxGroups = 1 << 16 // live ones of a framework
	maxWants  = 1 << 16 // wanted hosts or racks of a group
	maxTotal  = 1 << 24 // outstanding tasks of a group
	maxPlaces = 1 << 20 // hosts, and racks, that are remembered because somebody named them
)

func sortedGroups(f *framework) []allocator.GroupID {
	all := make([]allocator.GroupID, 0, len(f.groups))
	for id := range f.groups {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// updateRequests takes the totals that a framework wants.
func (m *machine) updateRequests(f *framework, x *v1.UpdateRequests) {
	for _, id := range x.Removed {
		g := f.groups[allocator.GroupID(id)]
		if g == nil {
			continue
		}
		m.touch(f)
		m.event(allocator.Event{Kind: allocator.RequestRemove, Framework: allocator.FrameworkID(f.num), Group: allocator.GroupID(id)})
		for _, o := range f.offers {
			if o.group == allocator.GroupID(id) {
				o.dead = true
			}
		}
		delete(f.groups, allocator.GroupID(id))
		delete(m.unplaced, g)
	}
	for _, s := range x.Groups {
		if err := m.updateGroup(f, s, x.LastOffer); err != nil {
			m.refuse(f, &v1.Refused{Call: "requests", Message: err.Error(), Group: s.GetId()})
		}
	}
	m.changed = true
	if f.job != nil {
		m.soil(f.job)
	}
}

func (m *machine) updateGroup(f *framework, s *v1.RequestGroup, last uint64) error {
	id := allocator.GroupID(s.GetId())
	g := f.groups[id]
	switch {
	case id == 0:
		return fmt.Errorf("%w: group 0 stands for offers without a request", api.ErrInvalid)
	case f.classic:
		return fmt.Errorf("%w: a classic framework takes whole agents and states no requests", api.ErrInvalid)
	case g != nil && s.Version <= g.stated.Version:
		return nil // overtaken
	case g == nil && len(f.groups) >= maxGroups:
		return fmt.Errorf("%w: more than %d groups", api.ErrInvalid, maxGroups)
	case s.Minimum > s.Total:
		return fmt.Errorf("%w: group %d is to begin with %d tasks at once and wants %d in all", api.ErrInvalid, id, s.Minimum, s.Total)
	case len(s.Hosts) > maxWants || len(s.Racks) > maxWants || s.Total > maxTotal || len(s.ExcludedAgents) > maxWants || len(s.ExcludedHosts) > maxWants:
		return fmt.Errorf("%w: group %d wants more than %d hosts or %d tasks", api.ErrInvalid, id, maxWants, maxTotal)
	}
	shape, err := vector(s.Shape, &m.kinds)
	if err != nil {
		return fmt.Errorf("group %d: %w", id, err)
	}
	if n := len(s.Shape.GetPortRanges()); n > 0 {
		return fmt.Errorf("%w: group %d names ports; a request states how many", api.ErrInvalid, id)
	}
	if shape.IsZero() {
		return fmt.Errorf("%w: group %d asks for nothing", api.ErrInvalid, id)
	}
	fresh := g == nil
	if fresh {
		g = &group{}
		f.groups[id] = g
	}
	if g.shape != shape {
		g.refused = false
	}
	g.shape, g.stated, g.last = shape, s, last
	m.requestGroup(f, g)
	m.met.requests.Inc()
	if why := m.tooLarge(shape); why != "" && !g.refused && s.Total > 0 {
		g.refused = true
		m.refuse(f, &v1.Refused{Call: "requests", Message: why, Group: uint64(id)})
	}
	return nil
}

// requestGroup puts a group before the allocator, with its places as they are known now.
func (m *machine) requestGroup(f *framework, g *group) {
	s := g.stated
	m.versions++
	r := &allocator.Request{
		Group: allocator.GroupID(s.Id), Version: m.versions, LastOffer: allocator.OfferID(g.last), Shape: g.shape, Total: s.Total, Minimum: s.Minimum,
		Priority: s.Priority, Strict: s.Strict, NodeWait: s.NodeWaitNanos, RackWait: s.RackWaitNanos,
	}
	g.unplaced = false
	r.Hosts = make([]allocator.HostCount, 0, len(s.Hosts))
	for _, h := range s.Hosts {
		host := m.places.Find(h.Host, h.Address)
		if host == 0 && len(h.Host) <= 255 && m.places.Hosts() < maxPlaces {
			host = m.places.Want(h.Host, h.Address)
		}
		if host == 0 || h.Count == 0 {
			continue
		}
		rack := m.places.RackOf(host)
		if len(m.hostAgents[host]) == 0 {
			g.unplaced = true
		}
		if m.knownRack(h.Rack) {
			named := m.places.Rack(h.Rack)
			m.learnRack(host, named)
			if rack == 0 {
				rack = named
			}
		}
		r.Hosts = append(r.Hosts, allocator.HostCount{Host: host, Rack: rack, Count: h.Count})
	}
	for _, k := range s.Racks {
		if k.Count > 0 && m.knownRack(k.Rack) {
			r.Racks = append(r.Racks, allocator.RackCount{Rack: m.places.Rack(k.Rack), Count: k.Count})
		}
	}
	for _, id := range s.ExcludedAgents {
		if a := m.st.AgentByID(id); a != nil {
			r.Excluded = append(r.Excluded, allocator.AgentID(a.Number))
		}
	}
	for _, name := range s.ExcludedHosts {
		for _, a := range m.hostAgents[m.places.Find(name, "")] {
			r.Excluded = append(r.Excluded, allocator.AgentID(a.num))
		}
	}
	if g.unplaced {
		m.unplaced[g] = f
	} else {
		delete(m.unplaced, g)
	}
	m.touch(f)
	m.event(allocator.Event{Kind: allocator.RequestSet, Framework: allocator.FrameworkID(f.num), Group: r.Group, Request: r})
}

// knownRack tells whether a rack is known, or may become so: nobody makes the broker remember places without end.
func (m *machine) knownRack(name string) bool {
	return name != "" && len(name) <= 1024 && m.places.Racks() < maxPlaces
}

// learnRack takes the word of the storage system for the rack of agents that named none. The first word counts, until
// the agent registers anew.
func (m *machine) learnRack(host allocator.HostID, rack allocator.RackID) {
	for _, a := range m.hostAgents[host] {
		if a.info.Rack != "" || a.learned || a.rack == rack {
			continue
		}
		a.rack, a.learned = rack, true
		m.placeHost(a)
		m.event(allocator.Event{Kind: allocator.AgentUpdate, Agent: allocator.AgentID(a.num), Resources: a.total, Rack: rack})
	}
}

// replaceWants looks again for the hosts that groups want and that bore no agent, after agents have come.
func (m *machine) replaceWants() {
	if len(m.unplaced) == 0 {
		return
	}
	all := make([]*group, 0, len(m.unplaced))
	for g, f := range m.unplaced {
		for _, h := range g.stated.Hosts {
			if len(m.hostAgents[m.places.Find(h.Host, h.Address)]) > 0 && f.groups[allocator.GroupID(g.stated.Id)] == g {
				all = append(all, g)
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b *group) int {
		return cmp.Or(cmp.Compare(m.unplaced[a].num, m.unplaced[b].num), cmp.Compare(a.stated.Id, b.stated.Id))
	})
	for _, g := range all {
		m.requestGroup(m.unplaced[g], g)
	}
}

// tooLarge says in one line why no agent could ever hold a shape; "" if one could, or if there is no agent yet to tell.
func (m *machine) tooLarge(shape resource.Vector) string {
	if m.paused || m.total.IsZero() {
		return ""
	}
	fits, known := m.fits[shape]
	if !known {
		for _, a := range m.agents {
			if a.placed && shape.Fits(a.total) {
				fits = true
				break
			}
		}
		if len(m.fits) > 4096 {
			clear(m.fits)
		}
		m.fits[shape] = fits
	}
	if fits {
		return ""
	}
	var largest resource.Vector
	for _, a := range m.agents {
		if a.placed {
			largest = largest.Max(a.total)
		}
	}
	var over []string
	for slot, n := range shape {
		if n > largest[slot] {
			over = append(over, fmt.Sprintf("%s %s, and the largest agent has %s",
				resource.FormatQuantity(slot, n), m.kinds.Name(slot), resource.FormatQuantity(slot, largest[slot])))
		}
	}
	if len(over) == 0 {
		return fmt.Sprintf("a request of %s is larger than any agent; no agent has all of it at once", shape.Format(&m.kinds))
	}
	return "a request is larger than any agent: it asks for " + strings.Join(over, "; and for ")
}
