package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairway/integration/cluster"
)

// What the bar says.
const (
	Masters  = 2000
	Duration = time.Minute
	MaxCores = 1.0
)

const agents = 4

// OnFairway measures a cluster of its own, of one binary: a broker and a few agents that have room for all that is asked.
// Containers are granted and given back; nothing runs in them.
func OnFairway(ctx context.Context, binary string, masters int, measured time.Duration) (r Result, err error) {
	yarn, err := cluster.FreeYARN()
	if err != nil {
		return r, err
	}
	o := cluster.Options{Binary: binary, Config: yarn.Config("logs: {aggregate: false}") + "log: {level: warn}\n"}
	for i := range agents {
		o.Agents = append(o.Agents, cluster.Agent{Host: fmt.Sprintf("127.0.0.%d", i+1), Rack: "/rack", CPU: "1000", Memory: "1TiB"})
	}
	c, err := cluster.Start(ctx, o)
	if err != nil {
		return r, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.Logs())
		}
		err = errors.Join(err, c.Stop())
	}()
	at := yarn.Addresses()
	return Run(ctx, Options{
		Client: at["yarn.resourcemanager.address"], Scheduler: at["yarn.resourcemanager.scheduler.address"], Pid: c.Broker().Pid(), Masters: masters, Warm: 5 * time.Second, For: measured, User: "nobody", MemoryMB: 1024,
	})
}
