package core

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	v1 "fairway/broker/api/fairwayv1"
)

// Who gives up before the owner has answered is forgotten all the same.
func TestWatchGivenUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		f := w.framework(user("ann"), &v1.RegisterFramework{Name: "f"})
		w.journal.hold(true)
		w.agent("h1", "/r1", 4000, 4096) // answers wait from here on
		ctx, cancel := context.WithCancel(context.Background())
		ends := make(chan error)
		go func() { ends <- w.broker.WatchJob(ctx, user("bob"), f.job, func(*v1.Job) error { return nil }) }()
		go func() {
			ends <- w.broker.WatchJobs(ctx, user("bob"), true, func(*v1.Job) error { return nil })
		}()
		go func() {
			ends <- w.broker.WatchReports(ctx, user("bob"), "logs", func(*v1.ServiceReport) error { return nil })
		}()
		go func() { ends <- w.broker.WatchCluster(ctx, user("bob"), func() error { return nil }) }()
		synctest.Wait()
		cancel()
		for range 4 {
			if err := <-ends; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		w.journal.hold(false)
		synctest.Wait()
		w.inspect(func(m *machine) {
			if len(m.watchers)+len(m.readers)+len(m.onlookers) != 0 {
				t.Errorf("%d watchers, %d readers and %d onlookers are left", len(m.watchers), len(m.readers), len(m.onlookers))
			}
		})
		w.halt()
	})
}
