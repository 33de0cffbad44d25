package sparkjobs

import (
	"testing"
	"time"
)

// Two applications in roles of weights 2 and 1 want more than there is, with dynamic allocation: the nine processors go six
// to three, the masters' among them.
func TestTwoRoles(t *testing.T) {
	r := world.rig
	var gates [2]gate
	var apps [2]*application
	for i, queue := range []string{"analytics", "batch"} {
		gates[i] = newGate(t)
		apps[i] = beginApplication(t.Context(), r.serviced(withAccount), append([]string{"--queue", queue}, gates[i].args(t, 12, "go")...)...)
	}
	for i, a := range apps { // both have their masters before either wants executors
		a.await(t, "the driver's start", 2*time.Minute, func() bool { return gates[i].count("ready-") == 1 })
	}
	for _, g := range gates {
		g.let(t, "go")
	}
	for i, want := range []int{5, 2} {
		apps[i].await(t, "its share of tasks", 3*time.Minute, func() bool { return gates[i].count("started-") >= want })
	}
	// Both still want more, so what they have is their shares.
	for i, want := range []int{5, 2} {
		if n := gates[i].count("started-"); n != want {
			t.Errorf("application %d runs %d tasks, want %d", i, n, want)
		}
	}
	for _, g := range gates {
		g.let(t, "open")
	}
	for _, a := range apps {
		res := a.wait(t, r, 3*time.Minute)
		check(t, said(res.Stdout), map[string]string{"total": "12"})
	}
}
