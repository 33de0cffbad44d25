package cluster

import (
	"context"
	"errors"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

var errEnough = errors.New("enough")

// Job watches a job until it is as ok wants it, and returns it as it was last seen.
func (c *Cluster) Job(ctx context.Context, id string, ok func(*v1.Job) bool) (last *v1.Job, err error) {
	return c.watch(func(b api.Broker, see func(*v1.Job) error) error { return b.WatchJob(ctx, api.Caller{}, id, see) }, ok)
}

// JobNamed is Job for the first one that bears a name.
func (c *Cluster) JobNamed(ctx context.Context, name string, ok func(*v1.Job) bool) (last *v1.Job, err error) {
	return c.watch(func(b api.Broker, see func(*v1.Job) error) error { return b.WatchJobs(ctx, api.Caller{}, true, see) },
		func(j *v1.Job) bool { return j.Name == name && ok(j) })
}

func (c *Cluster) watch(by func(api.Broker, func(*v1.Job) error) error, ok func(*v1.Job) bool) (last *v1.Job, err error) {
	b, err := c.Client()
	if err != nil {
		return nil, err
	}
	defer b.Close()
	err = by(b, func(j *v1.Job) error {
		if last = j; ok(j) {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		return last, nil
	case err == nil:
		err = errors.New("the broker stopped telling about it")
	}
	return last, err
}

// Done is how many parts of a job's progress by that name, map or reduce, are done.
func Done(j *v1.Job, name string) uint32 {
	for _, p := range j.Progress {
		if p.Name == name {
			return p.Done
		}
	}
	return 0
}

// Is is for Until: an agent's host, and its state.
func Is(host, state string) func([]*v1.Agent) bool {
	return func(list []*v1.Agent) bool {
		for _, a := range list {
			if a.Info.Host == host && a.State == state {
				return true
			}
		}
		return false
	}
}
