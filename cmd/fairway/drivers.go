package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"sync"

	"go.uber.org/zap"

	"fairway/adapters/spark/driver"
	"fairway/adapters/yarn/resourcemanager"
	v1 "fairway/broker/api/fairwayv1"
)

// Counters of a Spark application's job.
const (
	localityGroup   = "Spark locality" // of attempts of tasks, as they said themselves
	localityProcess = "PROCESS_LOCAL"
	localityNode    = "NODE_LOCAL"
	localityRack    = "RACK_LOCAL"
	localityAny     = "ANY"
	localityNone    = "NO_PREFERENCE"
	localityUnknown = "NOT_COUNTED" // begun when the driver last answered, and not among the others
	stagesGroup     = "Spark stages"
	stagesEnded     = "ENDED"
	stagesFailed    = "FAILED"
)

// watchDrivers has Spark's drivers say how far they are, and their jobs show it, until ctx ends.
func (r *resourceManager) watchDrivers(ctx context.Context, log *zap.Logger) error {
	var mu sync.Mutex
	known := map[driver.Application]resourcemanager.Driver{}
	find := func(a driver.Application) resourcemanager.Driver {
		mu.Lock()
		defer mu.Unlock()
		return known[a]
	}
	return driver.Watch(ctx, driver.Options{
		Running: func() (list []driver.Application) {
			mu.Lock()
			defer mu.Unlock()
			clear(known)
			for _, d := range r.manager.Drivers("SPARK") {
				a := driver.Application{ID: d.Attempt.Application.String(), Attempt: int(d.Attempt.Number)}
				known[a] = d
				list = append(list, a)
			}
			return list
		},
		Get: func(a driver.Application) driver.Get {
			d := find(a)
			return func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
				return r.web.Page(ctx, d, "api/v1/applications/"+a.ID+"/"+path, query)
			}
		},
		Tell: func(a driver.Application, x driver.Report) {
			if d := find(a); d.URL != "" {
				r.manager.Tell(d.Attempt, stageProgress(x), stageCounters(x))
			}
		},
		Log: log,
	})
}

// stageProgress is a report as a job shows it: all stages first, then the newest ones.
func stageProgress(x driver.Report) []*v1.Progress {
	list := []*v1.Progress{{Name: "stages", Total: uint32(x.Seen), Running: uint32(x.Seen - x.Ended), Done: uint32(x.Ended - x.Failed), Failed: uint32(x.Failed), Fraction: part(x.Ended, x.Seen)}}
	for _, s := range x.Stages {
		name := fmt.Sprintf("stage %d", s.ID)
		if s.Attempt > 0 {
			name += fmt.Sprintf(".%d", s.Attempt)
		}
		list = append(list, &v1.Progress{Name: name + ": " + s.Name, Total: uint32(s.Tasks), Running: uint32(s.Running), Done: uint32(s.Done), Failed: uint32(s.Failed), Fraction: part(s.Done, s.Tasks)})
	}
	return list
}

func part(n, of int) float64 {
	if of <= 0 {
		return 0
	}
	return min(float64(n)/float64(of), 1)
}

func stageCounters(x driver.Report) []*v1.Counter {
	l := x.Locality
	return []*v1.Counter{
		{Group: localityGroup, Name: localityProcess, Value: l.Process, Display: "Process-local tasks"}, {Group: localityGroup, Name: localityNode, Value: l.Node, Display: "Node-local tasks"},
		{Group: localityGroup, Name: localityRack, Value: l.Rack, Display: "Rack-local tasks"}, {Group: localityGroup, Name: localityAny, Value: l.Any, Display: "Tasks anywhere else"},
		{Group: localityGroup, Name: localityNone, Value: l.None, Display: "Tasks without a preference"}, {Group: localityGroup, Name: localityUnknown, Value: x.Uncounted, Display: "Tasks not counted"},
		{Group: stagesGroup, Name: stagesEnded, Value: int64(x.Ended), Display: "Stages ended"}, {Group: stagesGroup, Name: stagesFailed, Value: int64(x.Failed), Display: "Stages failed"},
	}
}
