package hosts

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// subnet of the bridge; from the block for benchmarks between networks (RFC 2544), which nobody routes.
const subnet = "198.19.77."

// network is a bridge, which the broker's side listens on, and hosts behind it.
type network struct {
	gateway string
	hosts   []host
}

type host struct {
	name, address string
	namespace     string
	cable         string // the bridge's end of it
}

// enter is what a command is prefixed with to run on the host. Not ip netns exec: that one hides the cgroups.
func (h host) enter() []string { return []string{"nsenter", "--net=/run/netns/" + h.namespace, "--"} }

// lay builds a network of n hosts and takes it down with the test.
func lay(t *testing.T, n int) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s command", tool)
		}
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if strings.HasPrefix(a.String(), subnet) {
				t.Skipf("%s0/24 is in use here", subnet)
			}
		}
	}
	bridge := fmt.Sprintf("fwb%d", os.Getpid())
	w := &network{gateway: subnet + "1"}
	if out, err := exec.Command("ip", "link", "add", bridge, "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("this system makes no bridges: %s", out)
	}
	t.Cleanup(func() { ip(t, "link", "del", bridge) })
	ip(t, "addr", "add", w.gateway+"/24", "dev", bridge)
	ip(t, "link", "set", bridge, "up")
	for i := range n {
		h := host{name: fmt.Sprintf("host%d", i+1), address: fmt.Sprint(subnet, i+11), namespace: fmt.Sprintf("%sn%d", bridge, i), cable: fmt.Sprintf("fwv%dx%d", os.Getpid(), i)}
		ip(t, "netns", "add", h.namespace)
		t.Cleanup(func() { ip(t, "netns", "del", h.namespace) })
		ip(t, "link", "add", h.cable, "type", "veth", "peer", "name", "eth0", "netns", h.namespace)
		ip(t, "link", "set", h.cable, "master", bridge, "up")
		ip(t, "-n", h.namespace, "addr", "add", h.address+"/24", "dev", "eth0")
		ip(t, "-n", h.namespace, "link", "set", "eth0", "up")
		ip(t, "-n", h.namespace, "link", "set", "lo", "up")
		w.hosts = append(w.hosts, h)
	}
	return w
}

func (w *network) pull(t *testing.T, h host) { t.Helper(); ip(t, "link", "set", h.cable, "down") }
func (w *network) plug(t *testing.T, h host) { t.Helper(); ip(t, "link", "set", h.cable, "up") }

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
