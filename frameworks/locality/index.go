package locality

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	v1 "fairway/broker/api/fairwayv1"
)

// Place is where a copy of an item's data lies.
type Place struct {
	Host    string
	Address string // IP; used where no agent bears the host's name
	Rack    string // "" if unknown
}

// Item is a piece of work with placed data. Places may be empty.
type Item struct {
	ID     int // chosen by the caller; unique in an Index
	Places []Place
}

// Host is the place of an offer.
type Host struct {
	Name      string
	Addresses []string // further names and addresses
	Rack      string
}

// Index holds the items that wait for a place. The zero value is not usable; see New.
type Index struct {
	items map[int]*item
	hosts map[string]*host // by lower-case name
	// byAddress finds hosts that an offer may name by address only; loopback addresses name nobody.
	byAddress map[string][]*host
	racks     map[string]*rack
	bare      heapInts // items without places
	order     []*host  // by name once sorted
	sorted    bool
	waiting   int
}

type item struct {
	id      int
	hosts   []*host
	racks   []*rack // distinct
	waiting bool
}

type host struct {
	name, address string
	rack          *rack
	// queue[k] holds items with k+1 copies (the last one: that many or more), oldest id first; ended ones are skipped
	// when they come up.
	queue   [4]heapInts
	waiting int
}

type rack struct {
	name    string
	hosts   []*host
	waiting int // items with a copy in it
}

// New returns an empty index.
func New() *Index {
	return &Index{items: make(map[int]*item), hosts: make(map[string]*host),
		byAddress: make(map[string][]*host), racks: make(map[string]*rack)}
}

// Add makes an item wait. An item that was picked or removed may be added again; its places stay those first given.
func (x *Index) Add(it Item) {
	e := x.items[it.ID]
	if e == nil {
		e = &item{id: it.ID}
		x.items[it.ID] = e
		for _, p := range it.Places {
			h := x.host(p)
			if h == nil || slices.Contains(e.hosts, h) {
				continue
			}
			e.hosts = append(e.hosts, h)
			if h.rack != nil && !slices.Contains(e.racks, h.rack) {
				e.racks = append(e.racks, h.rack)
			}
		}
	}
	if e.waiting {
		return
	}
	e.waiting = true
	x.waiting++
	if len(e.hosts) == 0 {
		x.bare.push(it.ID)
	}
	for _, h := range e.hosts {
		h.waiting++
		h.queue[min(len(e.hosts), len(h.queue))-1].push(it.ID)
	}
	for _, r := range e.racks {
		r.waiting++
	}
}

func (x *Index) host(p Place) *host {
	name := strings.ToLower(p.Host)
	if name == "" {
		name = p.Address
	}
	if name == "" {
		return nil
	}
	h := x.hosts[name]
	if h == nil {
		h = &host{name: name, address: p.Address}
		x.hosts[name] = h
		x.order, x.sorted = append(x.order, h), false
		if global(p.Address) {
			x.byAddress[p.Address] = append(x.byAddress[p.Address], h)
		}
		if p.Rack != "" {
			r := x.racks[p.Rack]
			if r == nil {
				r = &rack{name: p.Rack}
				x.racks[p.Rack] = r
			}
			r.hosts = append(r.hosts, h)
			h.rack = r
		}
	}
	return h
}

// global reports whether an address names one host for all: neither empty nor loopback.
func global(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && !a.IsLoopback() && !a.IsUnspecified()
}

// Remove stops an item from waiting; one that does not wait is no error.
func (x *Index) Remove(id int) {
	e := x.items[id]
	if e == nil || !e.waiting {
		return
	}
	e.waiting = false
	x.waiting--
	for _, h := range e.hosts {
		h.waiting--
	}
	for _, r := range e.racks {
		r.waiting--
	}
	// Queues drop it when it comes up; a second Add of the same id while the old entry is queued is harmless.
}

// Waiting is the number of items that wait.
func (x *Index) Waiting() int { return x.waiting }

// Pick takes the item for an offer at a place out of the index, and tells how near its data is. ok is false if nothing
// waits.
func (x *Index) Pick(at Host) (id int, level v1.Locality, ok bool) {
	if h := x.busiest(x.find(at)); h != nil {
		if id, ok := x.first(h); ok {
			return x.take(id), v1.Locality_LOCALITY_NODE, true
		}
	}
	if r := x.racks[at.Rack]; r != nil && r.waiting > 0 {
		if id, ok := x.spare(r.hosts); ok {
			return x.take(id), v1.Locality_LOCALITY_RACK, true
		}
	}
	if id, ok := x.bareFirst(); ok {
		return x.take(id), v1.Locality_LOCALITY_UNSPECIFIED, true
	}
	if id, ok := x.spare(x.order); ok {
		return x.take(id), v1.Locality_LOCALITY_ANY, true
	}
	return 0, v1.Locality_LOCALITY_UNSPECIFIED, false
}

// Level tells how near an item's data is to a place, whether it waits or not.
func (x *Index) Level(id int, at Host) v1.Locality {
	e := x.items[id]
	if e == nil || len(e.hosts) == 0 {
		return v1.Locality_LOCALITY_UNSPECIFIED
	}
	for _, h := range x.find(at) {
		if slices.Contains(e.hosts, h) {
			return v1.Locality_LOCALITY_NODE
		}
	}
	if r := x.racks[at.Rack]; r != nil && slices.Contains(e.racks, r) {
		return v1.Locality_LOCALITY_RACK
	}
	return v1.Locality_LOCALITY_ANY
}

func (x *Index) take(id int) int {
	x.Remove(id)
	return id
}

// find returns the storage hosts that an offer's host is.
func (x *Index) find(at Host) []*host {
	var found []*host
	add := func(h *host) {
		if h != nil && !slices.Contains(found, h) {
			found = append(found, h)
		}
	}
	add(x.hosts[strings.ToLower(at.Name)])
	for _, a := range at.Addresses {
		add(x.hosts[strings.ToLower(a)])
	}
	if len(found) > 0 {
		return found // a name says more than an address
	}
	for _, a := range at.Addresses {
		for _, h := range x.byAddress[a] {
			add(h)
		}
	}
	return found
}

// busiest is the host with the most waiting items, the first of several; nil if none has any.
func (x *Index) busiest(hosts []*host) *host {
	var best *host
	for _, h := range hosts {
		if h.waiting > 0 && (best == nil || h.waiting > best.waiting || h.waiting == best.waiting && h.name < best.name) {
			best = h
		}
	}
	return best
}

// first is the waiting item of a host that the fewest hosts hold, the lowest id of several.
func (x *Index) first(h *host) (int, bool) {
	for k := range h.queue {
		if id, ok := x.top(&h.queue[k]); ok {
			return id, true
		}
	}
	return 0, false
}

// spare is the item to give to a place that holds no copy: of the busiest host, one that many hold.
func (x *Index) spare(hosts []*host) (int, bool) {
	h := x.busiest(hosts)
	if h == nil {
		return 0, false
	}
	for k := len(h.queue) - 1; k >= 0; k-- {
		if id, ok := x.top(&h.queue[k]); ok {
			return id, true
		}
	}
	return 0, false
}

func (x *Index) bareFirst() (int, bool) { return x.top(&x.bare) }

// top is the lowest waiting id of a queue; those that ended meanwhile are dropped.
func (x *Index) top(q *heapInts) (int, bool) {
	for len(*q) > 0 {
		id := (*q)[0]
		if x.items[id].waiting {
			return id, true
		}
		q.pop()
	}
	return 0, false
}

// Wants is how many waiting items have a copy on each host, for a request group; hosts by name, those without work
// left out. An item counts on each of its hosts.
func (x *Index) Wants() []*v1.HostWant {
	if !x.sorted {
		slices.SortFunc(x.order, func(a, b *host) int { return cmp.Compare(a.name, b.name) })
		x.sorted = true
	}
	if x.waiting == 0 {
		return nil
	}
	wants := make([]*v1.HostWant, 0, len(x.order))
	block := make([]v1.HostWant, len(x.order)) // one allocation for all: this is asked for at every offer
	for _, h := range x.order {
		if h.waiting > 0 {
			w := &block[len(wants)]
			w.Host, w.Address, w.Count = h.name, h.address, uint32(h.waiting)
			if h.rack != nil {
				w.Rack = h.rack.name
			}
			wants = append(wants, w)
		}
	}
	return wants
}

// Racks is how many waiting items have a copy in each rack.
func (x *Index) Racks() []*v1.RackWant {
	var wants []*v1.RackWant
	for _, r := range x.racks {
		if r.waiting > 0 {
			wants = append(wants, &v1.RackWant{Rack: r.name, Count: uint32(r.waiting)})
		}
	}
	slices.SortFunc(wants, func(a, b *v1.RackWant) int { return cmp.Compare(a.Rack, b.Rack) })
	return wants
}

// Of returns the wants of one item alone, for a request group of one.
func (x *Index) Of(id int) []*v1.HostWant {
	e := x.items[id]
	if e == nil {
		return nil
	}
	var wants []*v1.HostWant
	for _, h := range e.hosts {
		w := &v1.HostWant{Host: h.name, Address: h.address, Count: 1}
		if h.rack != nil {
			w.Rack = h.rack.name
		}
		wants = append(wants, w)
	}
	return wants
}
