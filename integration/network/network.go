package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
)

// ErrUnavailable is why no network can be laid here; the error that wraps it says what is missing.
var ErrUnavailable = errors.New("no hosts of their own can be made here")

// subnet of the bridge; from the block for benchmarks between networks (RFC 2544), which nobody routes.
const subnet = "198.19.77."

// Network is a bridge with this machine's address on it, and hosts behind it.
type Network struct {
	Gateway string // this machine's address
	Hosts   []Host

	bridge string
}

// Host is a network namespace with an address on the bridge.
type Host struct {
	Name    string // host1
	Address string

	namespace string
	cable     string // the bridge's end of it
}

// Enter is what a command is prefixed with to run on the host. Not ip netns exec: that one hides the cgroups.
func (h Host) Enter() []string { return []string{"nsenter", "--net=/run/netns/" + h.namespace, "--"} }

// Lay makes a network of n hosts, at most 200.
func Lay(n int) (w *Network, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: network namespaces need root", ErrUnavailable)
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: no %s command", ErrUnavailable, tool)
		}
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if strings.HasPrefix(a.String(), subnet) {
				return nil, fmt.Errorf("%w: %s0/24 is in use", ErrUnavailable, subnet)
			}
		}
	}
	w = &Network{Gateway: subnet + "1", bridge: fmt.Sprintf("fwb%d", os.Getpid())}
	if err := ip("link", "add", w.bridge, "type", "bridge"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := errors.Join(ip("addr", "add", w.Gateway+"/24", "dev", w.bridge), ip("link", "set", w.bridge, "up")); err != nil {
		return w, err
	}
	for i := range n {
		h := Host{Name: fmt.Sprintf("host%d", i+1), Address: fmt.Sprint(subnet, i+11), namespace: fmt.Sprintf("%sn%d", w.bridge, i), cable: fmt.Sprintf("fwv%dx%d", os.Getpid(), i)}
		if err := ip("netns", "add", h.namespace); err != nil {
			return w, err
		}
		w.Hosts = append(w.Hosts, h)
		for _, args := range [][]string{
			{"link", "add", h.cable, "type", "veth", "peer", "name", "eth0", "netns", h.namespace},
			{"link", "set", h.cable, "master", w.bridge, "up"},
			{"-n", h.namespace, "addr", "add", h.Address + "/24", "dev", "eth0"},
			{"-n", h.namespace, "link", "set", "eth0", "up"},
			{"-n", h.namespace, "link", "set", "lo", "up"},
		} {
			if err := ip(args...); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

// Close takes the network down; what runs on its hosts should have ended.
func (w *Network) Close() error {
	var errs []error
	for _, h := range w.Hosts {
		errs = append(errs, ip("netns", "del", h.namespace))
	}
	return errors.Join(append(errs, ip("link", "del", w.bridge))...)
}

// Pull pulls a host's cable.
func (h Host) Pull() error { return ip("link", "set", h.cable, "down") }

// Plug plugs it in again.
func (h Host) Plug() error { return ip("link", "set", h.cable, "up") }

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
