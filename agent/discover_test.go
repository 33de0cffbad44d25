package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	v1 "fairway/broker/api/fairwayv1"
)

// An agent that is told nothing finds its host's cpu, memory and disk, and keeps the reserve back.
func TestDiscover(t *testing.T) {
	dir := t.TempDir()
	r := Discover(filepath.Join(dir, "not", "made", "yet"))
	if r.CpuMilli != int64(runtime.NumCPU())*1000 {
		t.Errorf("cpu %d", r.CpuMilli)
	}
	var s syscall.Sysinfo_t
	if err := syscall.Sysinfo(&s); err != nil {
		t.Fatal(err)
	}
	memory := int64(s.Totalram) * int64(s.Unit)
	if r.MemoryBytes < memory/2 || r.MemoryBytes > memory-memory/reservePart {
		t.Errorf("memory %d of %d", r.MemoryBytes, memory)
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	if total := int64(disk.Blocks) * disk.Bsize; r.DiskBytes <= 0 || r.DiskBytes >= total {
		t.Errorf("disk %d of %d", r.DiskBytes, total)
	}
	if got, want := offeredMemory(20<<30), int64(17<<30); got != want {
		t.Errorf("of 20 GiB %d are offered, want %d", got, want)
	}
	if got := offeredMemory(1 << 30); got != 1<<29 {
		t.Errorf("of 1 GiB %d are offered", got)
	}
	if n := meminfo("MemFree: 3 kB\nMemTotal:       5 kB\n", "MemTotal"); n != 5<<10 {
		t.Errorf("MemTotal %d", n)
	}
	for _, text := range []string{"", "MemTotal: x kB", "MemTotal"} {
		if n := meminfo(text, "MemTotal"); n != 0 {
			t.Errorf("%q: %d", text, n)
		}
	}
}

// What the operator declares takes the place of what was found, kind by kind.
func TestDeclared(t *testing.T) {
	total := &v1.Resources{CpuMilli: 4000, MemoryBytes: 8 << 30, DiskBytes: 1 << 40}
	declare(total, &v1.Resources{MemoryBytes: 1 << 30, Named: map[string]int64{"fpga": 1}, PortRanges: []*v1.PortRange{{First: 31000, Last: 31009}, {First: 5, Last: 4}}})
	if total.CpuMilli != 4000 || total.MemoryBytes != 1<<30 || total.DiskBytes != 1<<40 || total.Ports != 10 || total.Named["fpga"] != 1 {
		t.Errorf("%v", total)
	}
}

// An agent that is not told its host's name bears the system's, and its data server is reached by it.
func TestHostName(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	b := newFakeBroker(t)
	b.start(Options{}, false)
	s := b.accept(nil)
	if s.register.Info.Host != name {
		t.Errorf("host %q, want %q", s.register.Info.Host, name)
	}
	for _, tc := range [][4]string{
		{"127.0.0.1:5052", "", "h", "127.0.0.1:5052"}, {"0.0.0.0:5052", "", "h", "h:5052"}, {"[::]:5052", "", "h", "h:5052"},
		{"0.0.0.0:5052", "public", "h", "public:5052"}, {"0.0.0.0:5052", "public:80", "h", "public:80"}, {"0.0.0.0:5052", "public:0", "h", "public:5052"},
	} {
		if got, err := advertised(tc[0], tc[1], tc[2]); err != nil || got != tc[3] {
			t.Errorf("%v: %s, %v", tc, got, err)
		}
	}
}
