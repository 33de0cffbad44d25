package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// machine is where the whole machine's processor time went, in seconds of one core: a wall time that differs between rounds
// is explained by it. Waiting is time with nothing to run while a disk was busy; stolen went to other machines of the host.
type machine struct {
	Busy    float64 `json:"busy_s"`
	Waiting float64 `json:"waiting_s"`
	Stolen  float64 `json:"stolen_s"`
	Idle    float64 `json:"idle_s"`
}

// machineNow reads the counters since the machine's start; zero where there are none.
func machineNow() machine {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machine{}
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal
	if len(f) < 9 {
		return machine{}
	}
	const ticks = 100 // a second, what the kernel shows to programs (USER_HZ)
	n := func(i int) float64 { x, _ := strconv.ParseFloat(f[i], 64); return x / ticks }
	return machine{Busy: n(1) + n(2) + n(3) + n(6) + n(7), Idle: n(4), Waiting: n(5), Stolen: n(8)}
}

func (m machine) since(b machine) machine {
	return machine{round2(m.Busy - b.Busy), round2(m.Waiting - b.Waiting), round2(m.Stolen - b.Stolen), round2(m.Idle - b.Idle)}
}

func (m machine) String() string {
	return fmt.Sprintf("busy %.1f, waiting %.1f, stolen %.1f, idle %.1f core-seconds", m.Busy, m.Waiting, m.Stolen, m.Idle)
}
