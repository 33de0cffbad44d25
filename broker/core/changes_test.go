package core

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

// An onlooker hears at once, of what changes agents and what they hold, and of nothing else; it leaves nothing behind.
func TestWatchCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		ctx, cancel := context.WithCancel(context.Background())
		heard := 0
		ends := make(chan error, 1)
		go func() {
			ends <- w.broker.WatchCluster(ctx, user("yarn"), func() error {
				heard++
				return nil
			})
		}()
		hears := func(what string, want bool) {
			t.Helper()
			synctest.Wait()
			if (heard > 0) != want {
				t.Errorf("%s: heard %d times", what, heard)
			}
			heard = 0
		}
		hears("at first", true)
		g := w.agent("h1", "/r1", 4000, 4096)
		hears("an agent", true)
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		f.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_SaveState{SaveState: &v1.SaveState{Version: 1, State: []byte("x")}}})
		w.sleep(time.Minute)
		hears("a framework and its state", false)
		f.request(&v1.RequestGroup{Id: 1, Version: 1, Shape: shape(1000, 10), Total: 1})
		ids := f.accept()
		hears("a launch", true)
		g.finish(ids[0], v1.TaskState_TASK_STATE_FINISHED, 0, "")
		hears("an end", true)
		cancel()
		if err := <-ends; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		synctest.Wait()
		w.inspect(func(m *machine) {
			if len(m.onlookers) != 0 {
				t.Errorf("%d onlookers are left", len(m.onlookers))
			}
		})
		w.halt()
	})
}
