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

	"fairway/integration/cluster"
	"fairway/integration/hadoop"
	"fairway/integration/ports"
)

// What both sides are told: the same memory, vcores and log aggregation.
const (
	nodeMemoryMB = 6144
	nodeVCores   = 4
)

// side is a cluster that runs.
type side struct {
	name    string
	confDir string
	shuffle int // port of the shuffle service on each host
	pids    func() []int
	stop    func() error
	logs    func() string
}

func (b *bench) start(ctx context.Context, name string) (*side, error) {
	if name == "fairway" {
		return b.startFairway(ctx)
	}
	const port = 7337
	jars := []string{b.yarn}
	for _, pattern := range []string{"spark-network-common_*", "spark-network-shuffle_*", "spark-common-utils_*", "leveldbjni-all-*", "rocksdbjni-*", "commons-crypto-*",
		"metrics-core-*", "RoaringBitmap-*", "shims-*", "scala-library-*"} {
		found, err := filepath.Glob(filepath.Join(b.spark.Home, "jars", pattern+".jar"))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 { // its NodeManagers would end as they start
			return nil, fmt.Errorf("no %s.jar in %s", pattern, b.spark.Home)
		}
		jars = append(jars, found...)
	}
	enter := map[string][]string{}
	for _, h := range b.net.Hosts {
		enter[h.Address] = h.Enter()
	}
	starting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	y, err := hadoop.StartYARN(starting, b.dfs, hadoop.YARNOptions{
		MemoryMB: nodeMemoryMB, VCores: nodeVCores, Address: b.net.Gateway, Enter: enter, NodeJars: jars,
		Conf: map[string]string{
			"yarn.log-aggregation-enable":                         "true",
			"yarn.scheduler.capacity.resource-calculator":         "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator",
			"yarn.scheduler.capacity.node-locality-delay":         "40",  // as it comes
			"yarn.scheduler.capacity.maximum-am-resource-percent": "0.1", // as it comes: two masters of four, as Fairway's
		},
		NodeConf: map[string]string{
			"yarn.nodemanager.aux-services":                     "mapreduce_shuffle,spark_shuffle",
			"yarn.nodemanager.aux-services.spark_shuffle.class": "org.apache.spark.network.yarn.YarnShuffleService",
			"spark.shuffle.service.port":                        strconv.Itoa(port),
		},
	})
	if err != nil {
		return nil, err
	}
	return &side{name: name, confDir: y.ConfDir, shuffle: port, pids: y.Pids, stop: y.Stop, logs: func() string { return ends(y.Dir) }}, nil
}

// ends are the ends of a folder's logs.
func ends(dir string) string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			fmt.Fprintf(&b, "%s:\n%s\n", filepath.Base(f), text[max(0, len(text)-4000):])
		}
	}
	return b.String()
}

func (b *bench) startFairway(ctx context.Context) (*side, error) {
	y, err := cluster.FreeSpark()
	if err != nil {
		return nil, err
	}
	y = y.On(b.net.Gateway)
	conf := filepath.Join(b.dir, "conf")
	if err := b.in.ClientConf(conf, b.dfs, y.Addresses()); err != nil {
		return nil, err
	}
	free, err := ports.Free(1)
	if err != nil {
		return nil, err
	}
	var agents []cluster.Agent
	for _, h := range b.net.Hosts {
		agents = append(agents, cluster.Agent{Host: h.Address, Rack: "/default-rack", CPU: strconv.Itoa(nodeVCores), Memory: fmt.Sprintf("%dMiB", nodeMemoryMB),
			Enter: h.Enter(), Listen: h.Address + ":0"})
	}
	c, err := cluster.Start(ctx, cluster.Options{Binary: b.binary, Agents: agents, HadoopDir: conf, Listen: net.JoinHostPort(b.net.Gateway, strconv.Itoa(free[0])),
		Env: []string{"FAIRWAY_BROKER_INSECURE=true"}, Config: y.Config("") + "log: {level: warn}\n"})
	if err != nil {
		return nil, err
	}
	return &side{name: "fairway", confDir: conf, shuffle: y.SparkShuffle(), stop: c.Stop, logs: c.Logs, pids: func() []int {
		pids := []int{c.Broker().Pid()}
		for i := range agents {
			pids = append(pids, c.Agent(i).Pid())
		}
		return pids
	}}, nil
}
