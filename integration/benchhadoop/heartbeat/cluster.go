package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	ports, err := freePorts(4)
	if err != nil {
		return r, err
	}
	o := cluster.Options{Binary: binary, Config: fmt.Sprintf(
		"yarn: {enabled: true, client_port: %d, scheduler_port: %d, admin_port: %d, web_port: %d, node_port: 0, node_web_port: 0, shuffle_port: 0, logs: {aggregate: false}}\nlog: {level: warn}\n",
		ports[0], ports[1], ports[2], ports[3])}
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
	at := func(i int) string { return net.JoinHostPort("127.0.0.1", fmt.Sprint(ports[i])) }
	return Run(ctx, Options{
		Client: at(0), Scheduler: at(1), Pid: c.Broker().Pid(), Masters: masters, Warm: 5 * time.Second, For: measured, User: "nobody", MemoryMB: 1024,
	})
}

// freePorts finds ports that nobody listens on now.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
