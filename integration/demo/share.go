package main

import (
	"fmt"
	"strings"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

// sharing is what the broker's history says of two roles while both had requests waiting.
type sharing struct {
	ratio   float64       // of the time integrals of the dominant shares, first to second
	both    time.Duration // that both waited
	starts  uint64        // of tasks in that time
	samples int
}

// measure integrates the shares over the time in which both roles wait.
func measure(h *v1.History, first, second string) sharing {
	var s sharing
	var a, b float64
	find := func(m *v1.ShareSample, role string) *v1.RoleShare {
		for _, r := range m.Roles {
			if r.Role == role {
				return r
			}
		}
		return nil
	}
	for i := 0; i+1 < len(h.Samples); i++ {
		m, next := h.Samples[i], h.Samples[i+1]
		ra, rb := find(m, first), find(m, second)
		if ra == nil || rb == nil || ra.Waiting == 0 || rb.Waiting == 0 {
			continue
		}
		dt := time.Duration(next.UnixNanos - m.UnixNanos)
		s.both += dt
		s.samples++
		a += ra.DominantShare * dt.Seconds()
		b += rb.DominantShare * dt.Seconds()
		na, nb := find(next, first), find(next, second)
		if na != nil && nb != nil {
			s.starts += na.Launched - ra.Launched + nb.Launched - rb.Launched
		}
	}
	if b > 0 {
		s.ratio = a / b
	}
	return s
}

// chart draws the shares of the roles over time, a line for each step.
func chart(h *v1.History, roles []string, step time.Duration) string {
	if len(h.Samples) == 0 {
		return ""
	}
	var out strings.Builder
	start := h.Samples[0].UnixNanos
	at := start
	for i, m := range h.Samples {
		if i+1 < len(h.Samples) && h.Samples[i+1].UnixNanos <= at {
			continue
		}
		if m.UnixNanos < at && i+1 < len(h.Samples) && h.Samples[i+1].UnixNanos > at+int64(step) {
			at = h.Samples[i+1].UnixNanos
		}
		fmt.Fprintf(&out, "  %5.1fs ", time.Duration(at-start).Seconds())
		for _, role := range roles {
			for _, r := range m.Roles {
				if r.Role == role {
					fmt.Fprintf(&out, " %-10s %-30s %4.0f%%", role, strings.Repeat("#", int(r.DominantShare*30+0.5)), 100*r.DominantShare)
				}
			}
		}
		out.WriteString("\n")
		at += int64(step)
	}
	return out.String()
}
