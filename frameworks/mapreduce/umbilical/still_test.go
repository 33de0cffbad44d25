package umbilical

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// An attempt that hangs says once where it stands, and again when it hangs again; a reduce that waits for maps does not.
func TestWatchStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, said := observer.New(zap.WarnLevel)
		ctx, end := context.WithCancel(t.Context())
		r := newReporter()
		r.maps = 2
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			watchStill(ctx, r, zap.New(core))
		}()
		after := func(d time.Duration, want int, what string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if said.Len() != want {
				t.Errorf("%s: %d times, want %d", what, said.Len(), want)
			}
		}
		after(time.Hour, 0, "it waits for maps")
		r.counters.Get(shuffledMaps.Group, shuffledMaps.Name).Store(2)
		for range 100 {
			r.Progress(0.5)
			after(stillAfter/2, 0, "it moves")
		}
		after(time.Hour, 1, "it hangs")
		r.Progress(0.6)
		after(stillAfter-time.Second, 1, "it has moved")
		after(time.Hour, 2, "it hangs again")
		if text := said.All()[1].ContextMap()["goroutines"]; !strings.Contains(text.(string), "TestWatchStill") {
			t.Errorf("it says %q", text)
		}
		end()
		<-ended
	})
}
