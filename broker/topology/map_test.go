package topology

import "testing"

func TestNames(t *testing.T) {
	var m Map
	a := m.Host("Node-1.Example.")
	if a == 0 || m.Host("node-1.example") != a || m.Name(a) != "node-1.example" {
		t.Fatal(a, m.Name(a))
	}
	if m.Host("") != 0 || m.Name(0) != "" || m.Name(99) != "" || m.RackName(99) != "" {
		t.Error("nothing has a name")
	}
	if r := m.Rack("rack1/"); m.RackName(r) != "/rack1" || m.Rack("/rack1") != r {
		t.Error(m.RackName(r))
	}
	if r := m.Rack(""); m.RackName(r) != DefaultRack {
		t.Error(m.RackName(r))
	}
	if m.Hosts() != 1 || m.Racks() != 2 {
		t.Error(m.Hosts(), m.Racks())
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "10.0.0.1:9866": "10.0.0.1", "::ffff:10.0.0.1": "10.0.0.1", "[2001:db8::1]:80": "2001:db8::1", "2001:DB8:0::1": "2001:db8::1",
		"127.0.0.1": "", "127.5.0.1:80": "", "::1": "", "[::1]:80": "", "0.0.0.0": "", "::": "", "224.0.0.1": "", "::ffff:127.0.0.1": "",
		"localhost": "", "LocalHost:80": "", "localhost.localdomain": "", "Host.": "host", "dn1:9866": "dn1", "": "",
	} {
		if got := Address(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// TestFind: an address counts only while exactly one host bears it and it is not a loopback address.
func TestFind(t *testing.T) {
	var m Map
	a, b, c := m.Host("a"), m.Host("b"), m.Host("c")
	r1, r2 := m.Rack("/r1"), m.Rack("/r2")
	m.Place(a, []string{"10.0.0.1", "127.0.0.1", "192.168.0.1", "a.internal"}, r1)
	m.Place(b, []string{"10.0.0.2", "127.0.0.1", "192.168.0.1"}, r1)
	m.Place(c, nil, r2)
	for _, x := range []struct {
		name, address string
		want          HostID
	}{
		{"A", "", a}, {"b", "10.0.0.1", b}, {"", "10.0.0.1", a}, {"dn1", "10.0.0.2:9866", b}, {"dn1", "192.168.0.1", 0}, {"dn1", "127.0.0.1", 0},
		{"a.internal", "", a}, {"10.0.0.2", "", b}, {"c", "10.0.0.1", c}, {"", "", 0}, {"nowhere", "", 0},
	} {
		if got := m.Find(x.name, x.address); got != x.want {
			t.Errorf("%q at %q is %d, want %d", x.name, x.address, got, x.want)
		}
	}
	// One of the two that shared an address leaves: now it stands for the other.
	m.Displace(b)
	if got := m.Find("dn1", "192.168.0.1"); got != a {
		t.Errorf("%d, want %d", got, a)
	}
	// A host that is wanted before its agent comes.
	d := m.Want("later", "10.0.0.9")
	if d == 0 || m.Find("later", "") != d {
		t.Error(d)
	}
	m.Place(d, []string{"10.0.0.9"}, r2)
	if m.Want("x", "10.0.0.9") != d || m.Want("", "127.0.0.1") != 0 {
		t.Error("not found by address, or loopback found")
	}
	// The wanted name is that of no agent, its address that of one.
	alias := m.Host("alias")
	if got := m.Find("alias", "10.0.0.1"); got != a || alias == a {
		t.Errorf("%d, want %d", got, a)
	}
	m.Place(a, []string{"10.0.0.7"}, r2)
	if m.Find("", "10.0.0.1") != 0 || m.Find("", "10.0.0.7") != a || m.RackOf(a) != r2 {
		t.Error("the old addresses still count")
	}
	m.Place(0, []string{"10.0.0.8"}, r1)
	m.Displace(0)
}

func TestDistance(t *testing.T) {
	var m Map
	a, b, c, d := m.Host("a"), m.Host("b"), m.Host("c"), m.Host("d")
	m.Place(a, nil, m.Rack("/r1"))
	m.Place(b, nil, m.Rack("/r1"))
	m.Place(c, nil, m.Rack("/r2"))
	for _, x := range []struct {
		a, b HostID
		want Distance
	}{{a, a, SameHost}, {a, b, SameRack}, {a, c, OffRack}, {a, d, OffRack}, {d, d, SameHost}, {0, 0, OffRack}} {
		if got := m.Distance(x.a, x.b); got != x.want {
			t.Errorf("%d to %d: %d, want %d", x.a, x.b, got, x.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	a := Attributes{"zone": "1", "disk": "ssd"}
	if !a.Match(nil) || !a.Match(Attributes{"zone": "1"}) || a.Match(Attributes{"zone": "2"}) || a.Match(Attributes{"x": ""}) {
		t.Error("match")
	}
}
