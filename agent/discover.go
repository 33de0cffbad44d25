package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"fairway/agent/container"
	"fairway/agent/sandbox"
	v1 "fairway/broker/api/fairwayv1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// The reserve for the host's own daemons (a DataNode, the system): a part of memory, and a fixed amount.
const (
	reservePart  = 10 // one tenth
	reserveBytes = 1 << 30
)

// discover finds what the host has, less the reserve, and lets the options overrule it.
func (a *Agent) discover() (*v1.AgentInfo, error) {
	limits := a.runtime.Limits()
	info := &v1.AgentInfo{
		Host: a.o.Host, Addresses: a.o.Addresses, Rack: a.o.Rack, Attributes: a.o.Attributes, Version: a.o.Version, BootId: container.BootID(),
		IsolatesMemory: limits.Memory, IsolatesCpu: limits.CPU, SwitchesUsers: os.Geteuid() == 0, AdminAddress: a.o.AdminAddress,
	}
	if limits.Why != "" {
		a.log.Warn("not all limits are enforced", zap.String("cgroups", limits.Mode), zap.String("why", limits.Why))
	}
	if !info.SwitchesUsers {
		a.log.Warn("not root: all tasks run as the agent's own user")
	}
	if info.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("find host name: %w", err)
		}
		info.Host = name
	}
	if info.Addresses == nil {
		info.Addresses = interfaceAddresses()
	}
	total, err := found(a.o.WorkDir, a.o.DiskPressure)
	if err != nil {
		return nil, err
	}
	declare(total, a.o.Resources)
	info.Total = total

	if info.SwitchesUsers {
		if closed := unreachable(a.o.WorkDir); closed != "" {
			a.log.Warn("tasks of other users than the agent's cannot reach their sandboxes", zap.String("closed_folder", closed))
		}
	}

	advertise, err := advertised(a.listener.Addr().String(), a.o.DataAdvertise, info.Host)
	if err != nil {
		return nil, err
	}
	info.DataAddress = advertise
	return info, nil
}

// Discover returns what this host would offer, less the reserve: cpu, memory, and the disk that holds workDir (or the
// nearest folder above it that exists). What cannot be found out is 0.
func Discover(workDir string) *v1.Resources {
	for dir := workDir; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			workDir = dir
			break
		}
	}
	total, err := found(workDir, defaultDiskPressure)
	if err != nil {
		return &v1.Resources{CpuMilli: int64(runtime.NumCPU()) * 1000}
	}
	return total
}

func found(dir string, pressure float64) (*v1.Resources, error) {
	memory, err := memoryTotal()
	if err != nil {
		return nil, fmt.Errorf("find memory: %w", err)
	}
	disk, err := sandbox.DiskOf(dir)
	if err != nil {
		return nil, fmt.Errorf("find disk: %w", err)
	}
	return &v1.Resources{
		CpuMilli:    int64(runtime.NumCPU()) * 1000,
		MemoryBytes: offeredMemory(memory),
		// What the tasks of an earlier life of this agent have filled is theirs again, so the total counts, not what is free.
		DiskBytes: int64(float64(disk.Total) * pressure),
	}, nil
}

// offeredMemory takes the reserve off, but never more than half, so that a small machine is of some use.
func offeredMemory(found int64) int64 {
	return max(found-found/reservePart-reserveBytes, found/2)
}

// declare lets what the operator said take the place of what was found.
func declare(total, said *v1.Resources) {
	if said == nil {
		return
	}
	said = proto.CloneOf(said)
	for _, f := range []struct{ to, from *int64 }{
		{&total.CpuMilli, &said.CpuMilli}, {&total.MemoryBytes, &said.MemoryBytes}, {&total.DiskBytes, &said.DiskBytes}, {&total.Gpus, &said.Gpus},
	} {
		if *f.from > 0 {
			*f.to = *f.from
		}
	}
	total.Named, total.PortRanges, total.Ports = said.Named, said.PortRanges, 0
	for _, r := range said.PortRanges {
		if r.Last >= r.First {
			total.Ports += int64(r.Last-r.First) + 1
		}
	}
}

// memoryTotal is the host's memory in bytes.
func memoryTotal() (int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	total := meminfo(string(b), "MemTotal")
	if total <= 0 {
		return 0, fmt.Errorf("no MemTotal in /proc/meminfo")
	}
	return total, nil
}

// meminfo is one line of /proc/meminfo in bytes, or 0.
func meminfo(text, name string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// interfaceAddresses lists the host's addresses that others may know it by.
func interfaceAddresses() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var l []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			l = append(l, n.IP.String())
		}
	}
	return l
}

// advertised is the address of the data server for others: what the operator said, else where it listens, and the host's
// name if it listens everywhere.
func advertised(listening, said, host string) (string, error) {
	name, port, err := net.SplitHostPort(listening)
	if err != nil {
		return "", err
	}
	if said != "" {
		if h, p, err := net.SplitHostPort(said); err == nil {
			if p != "0" {
				port = p
			}
			return net.JoinHostPort(h, port), nil
		}
		return net.JoinHostPort(strings.Trim(said, "[]"), port), nil
	}
	if ip := net.ParseIP(name); ip != nil && ip.IsUnspecified() {
		name = host
	}
	return net.JoinHostPort(name, port), nil
}
