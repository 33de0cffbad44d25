package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fairway/frameworks/storage"
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
	"fairway/integration/text"
)

// What both sides are told: the same memory, vcores, checks and log aggregation.
const (
	nodeMemoryMB = 6144
	nodeVCores   = 4
)

// Delays that a tuned YARN is tried with: scheduling opportunities that are passed over for a local one. 40 is the default.
var tunedDelays = []string{"40", "3"}

// start starts the cluster of a side.
func (b *bench) start(ctx context.Context, name string) (*side, error) {
	if name == "fairway" {
		return b.startFairway(ctx)
	}
	conf := map[string]string{
		"yarn.log-aggregation-enable":                 "true",
		"yarn.scheduler.capacity.resource-calculator": "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator",
		"yarn.scheduler.capacity.node-locality-delay": tunedDelays[0],
	}
	if name == "yarn_tuned" {
		conf["yarn.resourcemanager.nodemanagers.heartbeat-interval-ms"] = "100"
		conf["yarn.scheduler.capacity.node-locality-delay"] = b.r.TunedDelay
	}
	y, err := hadoop.StartYARN(ctx, b.dfs, hadoop.YARNOptions{MemoryMB: nodeMemoryMB, VCores: nodeVCores, Conf: conf})
	if err != nil {
		return nil, err
	}
	return &side{client: y.Client("root"), pids: y.Pids, stop: y.Stop, logs: func() string { return "" }}, nil
}

func (b *bench) startFairway(ctx context.Context) (*side, error) {
	y, err := cluster.FreeYARN()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(b.dir, "conf")
	if err := b.in.ClientConf(conf, b.dfs, y.Addresses()); err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	var agents []cluster.Agent
	for _, h := range b.dfs.Hosts {
		agents = append(agents, cluster.Agent{Host: h.Name, Rack: h.Rack, CPU: strconv.Itoa(nodeVCores), Memory: fmt.Sprintf("%dMiB", nodeMemoryMB)})
	}
	c, err := cluster.Start(ctx, cluster.Options{Binary: b.binary, Agents: agents, HadoopDir: conf, Env: []string{"FAIRWAY_BROKER_ADMIN=" + admin},
		Config: y.Config("") + "log: {level: warn}\n"})
	if err != nil {
		return nil, err
	}
	return &side{client: b.in.Client(conf, "daemon"), admin: admin, stop: c.Stop, logs: c.Logs, pids: func() []int {
		pids := []int{c.Broker().Pid()}
		for i := range agents {
			pids = append(pids, c.Agent(i).Pid())
		}
		return pids
	}}, nil
}

// A second copy of a slow map would count where its first did not run.
const noSpeculation = "-Dmapreduce.map.speculative=false"

// job runs one of the jobs.
func (b *bench) job(ctx context.Context, c *hadoop.Client, name, out string) (hadoop.JobResult, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	examples := b.in.ExamplesJar()
	switch name {
	case "pi_1":
		return c.RunJob(ctx, examples, "pi", "1", "1000")
	case "pi_8":
		return c.RunJob(ctx, examples, "pi", "8", "1000")
	case "wordcount":
		res, err := c.RunJob(ctx, examples, "wordcount", noSpeculation, "/in/text", out)
		if err != nil {
			return res, err
		}
		got, err := text.ReadCounts(ctx, b.fs, out)
		if bad := text.Differences(b.want, got); err == nil && len(bad) > 0 {
			err = fmt.Errorf("wrong counts: %s", strings.Join(bad[:min(3, len(bad))], ", "))
		}
		return res, err
	case "tiny_maps":
		return c.RunJob(ctx, examples, "wordcount", noSpeculation, "/in/tiny", out)
	}
	return hadoop.JobResult{}, fmt.Errorf("no job is called %q; there are %s", name, strings.Join(jobNames, ", "))
}

// load writes the inputs: 256 MiB of words in 16 blocks, and 40 tiny files, every other one on two hosts.
func (b *bench) load(ctx context.Context) error {
	var err error
	if b.want, err = text.Write(ctx, b.fs, "/in/text", 1, 256<<20, 16<<20); err != nil {
		return err
	}
	for i := range 40 {
		if err := b.write(ctx, fmt.Sprintf("/in/tiny/f%02d", i), []byte(fmt.Sprintf("word%d common\n", i)), 1+i%2); err != nil {
			return err
		}
	}
	for _, p := range []string{"/out", "/user/daemon", "/user/root", "/tmp/hadoop-yarn/staging", "/tmp/logs"} { // whichever side comes first
		if err := b.fs.Mkdir(ctx, p, os.ModeSticky|0o777); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) write(ctx context.Context, path string, body []byte, replication int) error {
	w, err := b.fs.Create(ctx, path, storage.CreateOptions{Overwrite: true, Replication: replication})
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	return w.Close()
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
