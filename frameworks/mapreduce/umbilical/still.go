package umbilical

import (
	"context"
	"runtime"
	"time"

	"go.uber.org/zap"
)

const (
	// stillAfter is how long nothing may move before an attempt says where it stands.
	stillAfter = 15 * time.Second
	stillLooks = 3
	stillBytes = 64 << 10 // of what is said
)

// watchStill writes down where all goroutines stand, once each time that nothing has moved for long, until ctx ends: an
// attempt that hangs tells nothing else of itself, and whoever kills it loses the cause. A reduce that waits for maps does
// not hang.
func watchStill(ctx context.Context, r *reporter, log *zap.Logger) {
	tick := time.NewTicker(stillAfter / stillLooks)
	defer tick.Stop()
	last, still := r.moves.Load(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		waits := r.maps > 0 && r.counters.Get(shuffledMaps.Group, shuffledMaps.Name).Load() < r.maps
		if now := r.moves.Load(); now != last || waits {
			last, still = now, 0
			continue
		}
		if still++; still == stillLooks {
			text := make([]byte, stillBytes)
			log.Warn("nothing has moved for a while", zap.Duration("time", stillAfter),
				zap.ByteString("goroutines", text[:runtime.Stack(text, true)]))
		}
	}
}
