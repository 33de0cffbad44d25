package cluster

import (
	"fmt"

	"fairway/integration/ports"
)

// YARN is where a cluster's resource manager listens, on loopback unless On says otherwise.
type YARN struct {
	client, scheduler, admin, web int
	host                          string
	spark                         int // of every agent, each on its own address; 0: one of each agent's own
}

// FreeYARN finds free ports.
func FreeYARN() (y YARN, err error) {
	free, err := ports.Free(4)
	if err != nil {
		return y, err
	}
	return YARN{client: free[0], scheduler: free[1], admin: free[2], web: free[3]}, nil
}

// FreeSpark is FreeYARN with one port of Spark's shuffle service for all agents, whose hosts must be addresses of their own.
func FreeSpark() (y YARN, err error) {
	if y, err = FreeYARN(); err != nil {
		return y, err
	}
	free, err := ports.Free(1)
	if err != nil {
		return y, err
	}
	y.spark = free[0]
	return y, nil
}

// On is the same on another address than loopback, for agents on hosts of their own.
func (y YARN) On(address string) YARN {
	y.host = address
	return y
}

func (y YARN) address() string {
	if y.host == "" {
		return "127.0.0.1"
	}
	return y.host
}

// Config is the yarn section of the cluster's configuration; more are further keys, as "node_expiry: 10s".
func (y YARN) Config(more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf("yarn: {enabled: true, host: %s, client_port: %d, scheduler_port: %d, admin_port: %d, web_port: %d, node_port: 0, node_web_port: 0, shuffle_port: 0, spark_shuffle_port: %d%s}\n",
		y.address(), y.client, y.scheduler, y.admin, y.web, y.spark, more)
}

// Addresses are what a client's yarn-site.xml says of it. On ports of their own a user would set the host name alone.
func (y YARN) Addresses() map[string]string {
	at := func(port int) string { return fmt.Sprintf("%s:%d", y.address(), port) }
	return map[string]string{
		"yarn.resourcemanager.address": at(y.client), "yarn.resourcemanager.scheduler.address": at(y.scheduler),
		"yarn.resourcemanager.admin.address": at(y.admin), "yarn.resourcemanager.webapp.address": at(y.web),
	}
}

// Web is host:port of the pages.
func (y YARN) Web() string { return fmt.Sprintf("%s:%d", y.address(), y.web) }

// SparkShuffle is the port of Spark's external shuffle service, which clients are told as spark.shuffle.service.port.
func (y YARN) SparkShuffle() int { return y.spark }
