package topology

import (
	"net/netip"
	"slices"
	"strings"
)

// HostID is an interned host, RackID an interned rack; 0 is none.
type (
	HostID uint32
	RackID uint32
)

// DefaultRack is where a host is whose rack nobody knows, as Hadoop names it.
const DefaultRack = "/default-rack"

// Distance says how near two places are, nearest first.
type Distance uint8

// Distances.
const (
	SameHost Distance = iota
	SameRack
	OffRack
)

// Attributes are an agent's free tags.
type Attributes map[string]string

// Match says whether a has every tag of want with the same value.
func (a Attributes) Match(want Attributes) bool {
	for k, v := range want {
		if got, ok := a[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Map holds the hosts and racks of a cluster. The zero value is empty and ready.
type Map struct {
	hosts     []host
	racks     []string
	byName    map[string]HostID
	byRack    map[string]RackID
	byAddress map[string][]HostID // every host that bears it, in order of HostID
}

type host struct {
	name      string
	addresses []string
	rack      RackID
	placed    bool // an agent is there
}

// Host interns a host by its name, which need not bear an agent. An empty name is no host.
func (m *Map) Host(name string) HostID {
	name = normal(name)
	if name == "" {
		return 0
	}
	if id, ok := m.byName[name]; ok {
		return id
	}
	if m.byName == nil {
		m.byName = map[string]HostID{}
		m.hosts = append(m.hosts, host{})
	}
	id := HostID(len(m.hosts))
	m.hosts = append(m.hosts, host{name: name})
	m.byName[name] = id
	return id
}

// Rack interns a rack by its path; an empty path is DefaultRack.
func (m *Map) Rack(path string) RackID {
	path = rackPath(path)
	if id, ok := m.byRack[path]; ok {
		return id
	}
	if m.byRack == nil {
		m.byRack = map[string]RackID{}
		m.racks = append(m.racks, "")
	}
	id := RackID(len(m.racks))
	m.racks = append(m.racks, path)
	m.byRack[path] = id
	return id
}

// Place says that an agent is on a host, which addresses it bears and in which rack it is; it replaces what was said
// before.
func (m *Map) Place(id HostID, addresses []string, rack RackID) {
	h := m.host(id)
	if h == nil {
		return
	}
	m.Displace(id)
	h.rack, h.placed = rack, true
	for _, a := range addresses {
		a = Address(a)
		if a == "" || slices.Contains(h.addresses, a) {
			continue
		}
		h.addresses = append(h.addresses, a)
		if m.byAddress == nil {
			m.byAddress = map[string][]HostID{}
		}
		ids := m.byAddress[a]
		at, _ := slices.BinarySearch(ids, id)
		m.byAddress[a] = slices.Insert(ids, at, id)
	}
}

// Displace forgets the addresses of a host whose agents have gone; its name and rack stay.
func (m *Map) Displace(id HostID) {
	h := m.host(id)
	if h == nil {
		return
	}
	for _, a := range h.addresses {
		ids := slices.DeleteFunc(m.byAddress[a], func(other HostID) bool { return other == id })
		if len(ids) == 0 {
			delete(m.byAddress, a)
		} else {
			m.byAddress[a] = ids
		}
	}
	h.addresses, h.placed = nil, false
}

// Find is the host of a name, else of an address that exactly one host bears, else 0. Either may be empty.
func (m *Map) Find(name, address string) HostID {
	if id, ok := m.byName[normal(name)]; ok && m.hosts[id].placed {
		return id
	}
	// A storage system may know the host by another of its names, or name it by address.
	for _, a := range [...]string{address, name} {
		if ids := m.byAddress[Address(a)]; len(ids) == 1 {
			return ids[0]
		}
	}
	return m.byName[normal(name)]
}

// Want is Find for a host that is wanted: one that nobody has named yet is interned, so that an agent that comes later
// is found there. A want with neither name nor usable address is 0.
func (m *Map) Want(name, address string) HostID {
	if id := m.Find(name, address); id != 0 {
		return id
	}
	if normal(name) != "" {
		return m.Host(name)
	}
	return m.Host(Address(address))
}

// Name is a host's name; empty for 0 and for what was never interned.
func (m *Map) Name(id HostID) string {
	if h := m.host(id); h != nil {
		return h.name
	}
	return ""
}

// RackName is a rack's path; empty for 0 and for what was never interned.
func (m *Map) RackName(id RackID) string {
	if int(id) < len(m.racks) {
		return m.racks[id]
	}
	return ""
}

// RackOf is the rack of a host, 0 if nobody said.
func (m *Map) RackOf(id HostID) RackID {
	if h := m.host(id); h != nil {
		return h.rack
	}
	return 0
}

// Distance between two hosts. Hosts whose rack is unknown are far from each other.
func (m *Map) Distance(a, b HostID) Distance {
	switch ra := m.RackOf(a); {
	case a == b && a != 0:
		return SameHost
	case ra != 0 && ra == m.RackOf(b):
		return SameRack
	}
	return OffRack
}

// Hosts is the number of interned hosts, Racks of racks; ids run from 1 to it.
func (m *Map) Hosts() int { return max(len(m.hosts)-1, 0) }

// Racks is the number of interned racks.
func (m *Map) Racks() int { return max(len(m.racks)-1, 0) }

func (m *Map) host(id HostID) *host {
	if id == 0 || int(id) >= len(m.hosts) {
		return nil
	}
	return &m.hosts[id]
}

// Address brings an address or further name into the form in which it is compared: lower-case, without a port; an IPv4
// address inside IPv6 is IPv4. It is empty for what cannot stand for one host: loopback, unspecified, multicast.
func Address(text string) string {
	text = normal(text)
	if ap, err := netip.ParseAddrPort(text); err == nil {
		text = ap.Addr().String()
	}
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		if host, _, ok := strings.Cut(text, ":"); ok {
			text = host
		}
		if text == "localhost" || strings.HasPrefix(text, "localhost.") || strings.HasSuffix(text, ".localhost") {
			return ""
		}
		return text
	}
	ip = ip.Unmap()
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsMulticast() {
		return ""
	}
	return ip.String()
}

func normal(name string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), ".")
}

func rackPath(path string) string {
	path = strings.TrimRight(strings.TrimSpace(path), "/")
	if path == "" {
		return DefaultRack
	}
	if path[0] != '/' {
		path = "/" + path
	}
	return path
}
