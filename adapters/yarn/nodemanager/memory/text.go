package memory

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Bounds of the dump: diagnostics travel to the broker and are kept.
const (
	maxProcesses = 64
	maxCommand   = 2 << 10
	maxDump      = 16 << 10
)

// diagnostics is the text that YARN gives, with the processes that still live.
func (m *Monitor) diagnostics(c Container, u Usage, pids []int) string {
	return exceeded(c.ID, c.Process.PID(), u, c.LimitBytes, m.o.VirtualRatio) + m.proc.dump(c.ID, pids)
}

// HardLimit is the diagnostics of a container that the kernel killed, since it took more than hard bytes, where limit is what
// it was granted. The kernel does not wait for a sample, so there is no dump; last is the last sample, if there was one.
func HardLimit(container string, pid int, limit, hard int64, last Usage) string {
	last.Resident = max(last.Resident, hard)
	return exceeded(container, pid, last, limit, DefaultVirtualRatio) +
		"\nThe kernel killed it at the hard limit of " + Size(hard) + "B.\n"
}

// exceeded is one line; clients look for its words, sizes and the upper-case PHYSICAL.
func exceeded(container string, pid int, u Usage, limit int64, ratio float64) string {
	return fmt.Sprintf("Container [pid=%d,containerID=%s] is running %dB beyond the 'PHYSICAL' memory limit. Current usage: %sB of %sB physical memory used; %sB of %sB virtual memory used. Killing container.",
		pid, container, u.Resident-limit, Size(u.Resident), Size(limit), Size(u.Virtual), Size(int64(float64(limit)*ratio)))
}

// dump lists processes in order of pid.
func (p procfs) dump(container string, pids []int) string {
	var b strings.Builder
	b.WriteString("\nDump of the process-tree for " + container + " :\n")
	b.WriteString("\t|- PID PPID PGRPID SESSID CMD_NAME USER_MODE_TIME(MILLIS) SYSTEM_TIME(MILLIS) VMEM_USAGE(BYTES) RSSMEM_USAGE(PAGES) FULL_CMD_LINE\n")
	pids = slices.Clone(pids)
	slices.Sort(pids)
	for i, pid := range pids {
		if i == maxProcesses || b.Len() > maxDump-2*maxCommand {
			fmt.Fprintf(&b, "\t|- and %d more\n", len(pids)-i)
			break
		}
		if d, ok := p.describe(pid); ok {
			fmt.Fprintf(&b, "\t|- %d %s %s %s %s %s %s %s %s %s\n", pid, d.parent, d.group, d.session, d.name, d.userTicks, d.systemTicks, d.vm, d.rss, d.commandLine)
		}
	}
	return b.String()
}

// Size is how Hadoop's texts give a number of bytes: "512", "1 G", "1.1 G"; halves are rounded up.
func Size(n int64) string {
	if n < 0 {
		return "-" + Size(max(-n, 0))
	}
	if n < 1<<10 {
		return strconv.FormatInt(n, 10)
	}
	const symbols = " KMGTPE"
	i := (bits.Len64(uint64(n)) - 1) / 10
	shift := 10 * i
	if n&(1<<shift-1) == 0 {
		return strconv.FormatInt(n>>shift, 10) + " " + symbols[i:i+1]
	}
	tenths := func(shift int) int64 {
		whole, rest := n>>shift, n&(1<<shift-1)
		hi, lo := bits.Mul64(uint64(rest), 10)
		lo, carry := bits.Add64(lo, 1<<(shift-1), 0)
		hi += carry
		return whole*10 + int64(hi<<(64-shift)|lo>>shift)
	}
	t := tenths(shift)
	if t >= 10240 {
		i++
		t = tenths(shift + 10)
	}
	return strconv.FormatInt(t/10, 10) + "." + strconv.FormatInt(t%10, 10) + " " + symbols[i:i+1]
}
