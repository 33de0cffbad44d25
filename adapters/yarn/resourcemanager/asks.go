package resourcemanager

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

const anywhere = "*"

// askKey is what containers of one group have in common.
type askKey struct {
	priority  int32
	requestID int64 // allocation_request_id, -1: none
	amount    amount
}

// row is a wanted count at one place.
type row struct {
	count int64
	relax bool // less local places will do
}

// askGroup is the rows of one key, and the broker's request group for them.
type askGroup struct {
	id      uint64
	version uint64
	key     askKey
	label   string // of the agents that may serve it; "": those without one
	any     row
	hosts   map[string]*row // by lower-case name
	racks   map[string]*row
	dirty   bool
	since   time.Time // of the call that last wanted more
	tag     *tagAsk   // of a scheduling request; nil: of rows
	begins  int64     // of a gang: so many are on their way to its master, which is to have them at once; 0: none is
}

// askTable is what a master wants, in the absolute counts that it states. A count falls when a container is granted; as the
// master cannot know of containers that it was not handed yet, they are taken from whatever it states meanwhile.
type askTable struct {
	groups map[askKey]*askGroup
	byID   map[uint64]*askGroup
	tagged []*askGroup // of scheduling requests, oldest first
	rows   int
}

func newAskTable() *askTable {
	return &askTable{groups: map[askKey]*askGroup{}, byID: map[uint64]*askGroup{}}
}

// place is the rows that a grant was counted in.
type place struct {
	host, rack string // names of rows, "" none
}

// waiting tells how many of the containers that their master does not know of were counted in a row.
func waiting(undelivered []*container, group uint64, name string) (n int64) {
	for _, c := range undelivered {
		if c.group == group && (name == anywhere || c.placed.host == name || c.placed.rack == name) {
			n++
		}
	}
	return n
}

// set states a row; it tells whether more is wanted than before.
func (t *askTable) set(k askKey, name string, count int64, relax bool, undelivered []*container, newID func() uint64) bool {
	g := t.groups[k]
	if g == nil {
		if count == 0 {
			return false
		}
		g = &askGroup{id: newID(), key: k, any: row{relax: true}, hosts: map[string]*row{}, racks: map[string]*row{}}
		t.groups[k], t.byID[g.id] = g, g
	}
	g.dirty = true
	if name == anywhere {
		before := g.any.count
		g.any = row{max(count-waiting(undelivered, g.id, name), 0), relax}
		return g.any.count > before
	}
	rows := g.hosts
	if strings.HasPrefix(name, "/") {
		rows = g.racks
	} else {
		name = strings.ToLower(name)
	}
	old := rows[name]
	if count == 0 {
		if old != nil {
			delete(rows, name)
			t.rows--
		}
		return false
	}
	if old == nil {
		old = &row{}
		rows[name] = old
		t.rows++
	}
	before := old.count
	*old = row{max(count-waiting(undelivered, g.id, name), 0), relax}
	return old.count > before && g.any.count > 0
}

// grant counts one container that was placed, and says in which rows.
func (g *askGroup) grant(hosts []string, rack string, locality v1.Locality) (p place) {
	g.any.count--
	if locality == v1.Locality_LOCALITY_NODE {
		for _, h := range hosts {
			if r := g.hosts[h]; r != nil && r.count > 0 {
				r.count--
				p.host = h
				break
			}
		}
	}
	if locality == v1.Locality_LOCALITY_NODE || locality == v1.Locality_LOCALITY_RACK {
		if r := g.racks[rack]; r != nil && r.count > 0 {
			r.count--
			p.rack = rack
		}
	}
	return p
}

// restore takes a grant back that came to nothing before its master knew of it.
func (g *askGroup) restore(p place) {
	g.any.count++
	if r := g.hosts[p.host]; r != nil {
		r.count++
	}
	if r := g.racks[p.rack]; r != nil {
		r.count++
	}
	g.dirty = true
}

// request is the group as the broker takes it. Racks that no agent is in are left out. policy, if any, says which hosts are wanted
// in place of those of the rows.
func (g *askGroup) request(racks map[string]bool, excludedHosts, excludedAgents []string, policy placer) *v1.RequestGroup {
	g.version++
	total := min(max(g.any.count, 0), 1<<24)
	r := &v1.RequestGroup{
		Id: g.id, Version: g.version, Shape: g.key.amount.shape(), Priority: -max(g.key.priority, -math.MaxInt32), Total: uint32(total), Strict: !g.any.relax,
		ExcludedHosts: excludedHosts, ExcludedAgents: excludedAgents,
	}
	if total == 0 {
		return r
	}
	names := slices.Sorted(maps.Keys(g.hosts))
	counts := make([]int64, len(names))
	for i, name := range names {
		counts[i] = g.hosts[name].count
	}
	if policy != nil {
		names, counts = policy(g, total, names, counts)
	}
	for i, name := range names {
		if counts[i] > 0 {
			w := &v1.HostWant{Host: name, Count: uint32(min(counts[i], total))}
			if _, err := netip.ParseAddr(name); err == nil {
				w.Address = name
			}
			r.Hosts = append(r.Hosts, w)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.racks)) {
		// With a strict group a rack's row that does not relax only leads to its hosts.
		if k := g.racks[name]; k.count > 0 && racks[name] && (g.any.relax || k.relax) {
			r.Racks = append(r.Racks, &v1.RackWant{Rack: name, Count: uint32(min(k.count, total))})
		}
	}
	return r
}

// update is what the broker is to be told: groups that have changed, and groups of which nothing is left.
func (t *askTable) update(racks map[string]bool, hosts []string, agents func(label string) []string, undelivered []*container, policy placer) *v1.UpdateRequests {
	u := &v1.UpdateRequests{}
	for _, g := range t.byID {
		if !g.dirty {
			continue
		}
		g.dirty = false
		if g.any.count <= 0 && len(g.hosts) == 0 && len(g.racks) == 0 && waiting(undelivered, g.id, anywhere) == 0 {
			u.Removed = append(u.Removed, g.id)
			delete(t.byID, g.id)
			if t.groups[g.key] == g {
				delete(t.groups, g.key)
			}
			continue
		}
		r := g.request(racks, hosts, agents(g.label), policy)
		if g.tag != nil {
			g.tag.restrict(r)
		}
		u.Groups = append(u.Groups, r)
	}
	if len(u.Groups) == 0 && len(u.Removed) == 0 {
		return nil
	}
	slices.Sort(u.Removed)
	slices.SortFunc(u.Groups, func(a, b *v1.RequestGroup) int { return cmp.Compare(a.Id, b.Id) })
	return u
}

// soil has all groups stated again.
func (t *askTable) soil() {
	for _, g := range t.byID {
		g.dirty = true
	}
}

// outstanding is how many containers are wanted; nil wants none.
func (t *askTable) outstanding() (n int64) {
	if t == nil {
		return 0
	}
	for _, g := range t.byID {
		n += max(g.any.count, 0)
	}
	return n
}

// wanted is the resources of what is outstanding.
func (t *askTable) wanted() (memory, vcores int64) {
	if t == nil {
		return 0, 0
	}
	for _, g := range t.byID {
		n := min(max(g.any.count, 0), 1<<24)
		memory += n * g.key.amount.memory
		vcores += n * int64(g.key.amount.vcores)
	}
	return memory, vcores
}
