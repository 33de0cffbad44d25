package hadoop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairway/integration/ports"
	"go.uber.org/zap"
)

// YARNOptions of StartYARN; the zero value is a NodeManager of 6 GiB and 4 vcores on each host of the HDFS.
type YARNOptions struct {
	Hosts    []Host            // default: those of the DataNodes, so that maps can be local
	MemoryMB int               // of a NodeManager; default 6144
	VCores   int               // of a NodeManager; default 4
	Conf     map[string]string // more settings for yarn-site and mapred-site
	Dir      string            // default: a temporary folder that Stop removes
	Logger   *zap.Logger

	// NodeManagers on hosts of their own: Address is what the ResourceManager listens on, and Enter gives what a NodeManager's
	// command is prefixed with to run on its host, whose name is then its address.
	Address string
	Enter   map[string][]string
	// More settings of NodeManagers only, and jars for them, as auxiliary services need.
	NodeConf map[string]string
	NodeJars []string
}

// YARN is a running ResourceManager with NodeManagers, each a JVM of its own.
type YARN struct {
	ConfDir string // HADOOP_CONF_DIR for clients
	Dir     string
	Web     string // "127.0.0.1:port" of the ResourceManager's REST interface

	install   Install
	hdfs      *HDFS
	hosts     []Host
	hostsFile string
	procs     []*process
	temp      bool
	log       *zap.Logger
}

// Pids of the ResourceManager and the NodeManagers. Tasks are descendants of the NodeManagers.
func (y *YARN) Pids() []int {
	var pids []int
	for _, p := range y.procs {
		pids = append(pids, p.cmd.Process.Pid)
	}
	return pids
}

// StartYARN starts a ResourceManager with the CapacityScheduler and a NodeManager for each host, on 127.0.1.N, and
// returns when all have registered. Host names that are no addresses are resolved by a file that only these JVMs read.
func StartYARN(ctx context.Context, h *HDFS, o YARNOptions) (*YARN, error) {
	if len(o.Hosts) == 0 {
		o.Hosts = h.Hosts
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = 6144
	}
	if o.VCores == 0 {
		o.VCores = 4
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	y := &YARN{install: h.install, hdfs: h, hosts: o.Hosts, Dir: o.Dir, log: o.Logger}
	if y.Dir == "" {
		dir, err := os.MkdirTemp("", "fairway-yarn-")
		if err != nil {
			return nil, err
		}
		y.Dir, y.temp = dir, true
		if err := os.Chmod(y.Dir, 0o755); err != nil {
			return nil, err
		}
	}
	up := false
	defer func() {
		if !up {
			y.Stop()
		}
	}()
	dir, err := filepath.Abs(y.Dir)
	if err != nil {
		return nil, err
	}
	y.Dir = dir
	if err := os.MkdirAll(y.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := y.configure(o); err != nil {
		return nil, err
	}
	started := time.Now()
	if err := y.daemon("ResourceManager", nil, nil, y.ConfDir, "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"); err != nil {
		return nil, err
	}
	for _, host := range o.Hosts {
		if err := y.daemon(host.Name, o.Enter[host.Name], o.NodeJars, y.nodeConf(host), "org.apache.hadoop.yarn.server.nodemanager.NodeManager"); err != nil {
			return nil, err
		}
	}
	if err := y.awaitNodes(ctx, len(o.Hosts)); err != nil {
		return nil, fmt.Errorf("start YARN: %w", err)
	}
	o.Logger.Info("YARN is up", zap.String("web", y.Web), zap.Int("nodemanagers", len(o.Hosts)),
		zap.Duration("took", time.Since(started).Round(time.Millisecond)))
	up = true
	return y, nil
}

func (y *YARN) nodeConf(host Host) string { return filepath.Join(y.Dir, "conf-"+host.Name) }

// configure writes the configuration folders of clients with the ResourceManager, and of each NodeManager.
func (y *YARN) configure(o YARNOptions) error {
	y.ConfDir = filepath.Join(y.Dir, "conf")
	y.hostsFile = filepath.Join(y.Dir, "hosts")
	table := filepath.Join(y.Dir, "topology")
	own, err := os.Hostname()
	if err != nil {
		return err
	}
	hosts, racks, named := "127.0.0.1 localhost "+own+"\n", "", false
	for i, host := range o.Hosts {
		named = named || net.ParseIP(host.Name) == nil
		hosts += fmt.Sprintf("127.0.1.%d %s\n", i+1, host.Name)
		racks += fmt.Sprintf("%s %s\n", host.Name, host.Rack)
		if o.Address == "" {
			racks += fmt.Sprintf("127.0.1.%d %s\n", i+1, host.Rack)
		}
	}
	if !named { // addresses need no resolving, and the JVMs no option for it
		y.hostsFile = ""
	} else if err := os.WriteFile(y.hostsFile, []byte(hosts), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(table, []byte(racks), 0o644); err != nil {
		return err
	}
	ports, err := freePorts(o.Address, 5)
	if err != nil {
		return err
	}
	y.Web = ports[4]
	jvm := "-Djava.net.preferIPv4Stack=true"
	if named {
		jvm += " -Djdk.net.hosts.file=" + y.hostsFile
	}
	classPath := filepath.Join(y.install.Lib, "*")
	core := map[string]string{
		"fs.defaultFS":                               y.hdfs.URL(),
		"hadoop.tmp.dir":                             filepath.Join(y.Dir, "tmp"),
		"net.topology.node.switch.mapping.impl":      "org.apache.hadoop.net.TableMapping",
		"net.topology.table.file.name":               table,
		"ipc.client.connect.max.retries":             "10",
		"ipc.client.connect.retry.interval":          "500",
		"ipc.client.connect.max.retries.on.timeouts": "3",
	}
	yarn := map[string]string{
		"yarn.resourcemanager.address":                  ports[0],
		"yarn.resourcemanager.scheduler.address":        ports[1],
		"yarn.resourcemanager.resource-tracker.address": ports[2],
		"yarn.resourcemanager.admin.address":            ports[3],
		"yarn.resourcemanager.webapp.address":           ports[4],
		"yarn.resourcemanager.scheduler.class":          "org.apache.hadoop.yarn.server.resourcemanager.scheduler.capacity.CapacityScheduler",
		"yarn.nodemanager.resource.memory-mb":           strconv.Itoa(o.MemoryMB),
		"yarn.nodemanager.resource.cpu-vcores":          strconv.Itoa(o.VCores),
		"yarn.nodemanager.aux-services":                 "mapreduce_shuffle",
		// A JVM of today reserves more address space than the check allows by default.
		"yarn.nodemanager.vmem-check-enabled":                                           "false",
		"yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.5",
		"yarn.application.classpath":                                                    classPath,
	}
	mapred := map[string]string{
		// Here and not in yarn-site, which mapred-default would override.
		"mapreduce.shuffle.port":                                  "0",
		"mapreduce.framework.name":                                "yarn",
		"mapreduce.application.classpath":                         classPath,
		"mapreduce.admin.map.child.java.opts":                     jvm,
		"mapreduce.admin.reduce.child.java.opts":                  jvm,
		"yarn.app.mapreduce.am.admin-command-opts":                jvm + " --add-opens=java.base/java.lang=ALL-UNNAMED",
		"yarn.app.mapreduce.am.staging-dir":                       "/tmp/hadoop-yarn/staging",
		"yarn.app.mapreduce.am.staging-dir.erasurecoding.enabled": "false",
	}
	capacity := map[string]string{
		"yarn.scheduler.capacity.root.queues":                 "default",
		"yarn.scheduler.capacity.root.default.capacity":       "100",
		"yarn.scheduler.capacity.node-locality-delay":         strconv.Itoa(len(o.Hosts)),
		"yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
	}
	for k, v := range o.Conf {
		if strings.HasPrefix(k, "yarn.scheduler.capacity.") {
			capacity[k] = v // the scheduler reads its own file last
			continue
		}
		yarn[k], mapred[k] = v, v
	}
	write := func(dir string, yarn map[string]string) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return errors.Join(
			writeConf(filepath.Join(dir, "core-site.xml"), core), writeConf(filepath.Join(dir, "hdfs-site.xml"), y.hdfs.conf),
			writeConf(filepath.Join(dir, "yarn-site.xml"), yarn), writeConf(filepath.Join(dir, "mapred-site.xml"), mapred),
			writeConf(filepath.Join(dir, "capacity-scheduler.xml"), capacity))
	}
	if err := errors.Join(write(y.ConfDir, yarn), writeLog4j(y.ConfDir)); err != nil {
		return err
	}
	for _, host := range o.Hosts {
		node := make(map[string]string, len(yarn)+8)
		for k, v := range yarn {
			node[k] = v
		}
		for _, k := range []string{"address", "localizer.address", "webapp.address"} {
			node["yarn.nodemanager."+k] = host.Name + ":0"
		}
		for k, v := range o.NodeConf {
			node[k] = v
		}
		node["yarn.nodemanager.hostname"] = host.Name
		node["yarn.nodemanager.local-dirs"] = filepath.Join(y.Dir, host.Name, "local")
		node["yarn.nodemanager.log-dirs"] = filepath.Join(y.Dir, host.Name, "logs")
		if err := write(y.nodeConf(host), node); err != nil {
			return err
		}
	}
	return nil
}

// daemon starts a JVM with an ordinary heap, with more jars and with a prefix for its command.
func (y *YARN) daemon(name string, enter, jars []string, confDir, class string) error {
	args, err := y.javaArgs(confDir)
	if err != nil {
		return err
	}
	args[len(args)-1] = strings.Join(append([]string{args[len(args)-1]}, jars...), ":") // the class path is the last
	command := append(append(slices.Clone(enter), y.install.java, "-Xmx1000m", "-Dyarn.log.dir="+y.Dir), args...)
	p, err := startProcess(name, command[0], append(command[1:], "fairway.Tied", class), y.env(confDir), y.Dir,
		filepath.Join(y.Dir, strings.ToLower(name)+".log"))
	if err != nil {
		return err
	}
	y.procs = append(y.procs, p)
	return nil
}

func (y *YARN) javaArgs(confDir string) ([]string, error) {
	classPath, err := y.install.classPath(confDir)
	args := []string{"--add-opens=java.base/java.lang=ALL-UNNAMED", "-Djava.net.preferIPv4Stack=true"}
	if y.hostsFile != "" {
		args = append(args, "-Djdk.net.hosts.file="+y.hostsFile)
	}
	return append(args, "-cp", classPath), err
}

func (y *YARN) env(confDir string) []string {
	return append(os.Environ(), "JAVA_HOME="+y.install.javaHome(), "HADOOP_CONF_DIR="+confDir,
		"HADOOP_COMMON_HOME="+y.Dir, "HADOOP_HDFS_HOME="+y.Dir, "HADOOP_YARN_HOME="+y.Dir, "HADOOP_MAPRED_HOME="+y.Dir)
}

// javaHome returns the JAVA_HOME of the java command.
func (in Install) javaHome() string {
	if real, err := filepath.EvalSymlinks(in.java); err == nil {
		return filepath.Dir(filepath.Dir(real))
	}
	return filepath.Dir(filepath.Dir(in.java))
}

// awaitNodes polls the ResourceManager until want NodeManagers run.
func (y *YARN) awaitNodes(ctx context.Context, want int) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		n, err := y.runningNodes(ctx)
		if err == nil && n == want {
			return nil
		}
		if err != nil {
			last = err
		}
		for _, p := range y.procs {
			select {
			case <-p.done:
				return fmt.Errorf("%s ended: %s", p.name, p.lastWords())
			default:
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d NodeManagers are up: %w (last answer: %v)", n, want, ctx.Err(), last)
		}
	}
}

func (y *YARN) runningNodes(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+y.Web+"/ws/v1/cluster/nodes?states=RUNNING", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Nodes struct {
			Node []json.RawMessage `json:"node"`
		} `json:"nodes"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, err
	}
	return len(answer.Nodes.Node), nil
}

// Stop ends the daemons and whatever containers they left. It may be called more than once.
func (y *YARN) Stop() error {
	var wg sync.WaitGroup
	for _, p := range y.procs {
		wg.Go(func() { p.stop(12 * time.Second) })
	}
	wg.Wait()
	killMentioning(y.Dir)
	if y.temp {
		return os.RemoveAll(y.Dir)
	}
	return nil
}

// freePorts returns addresses on a host ("": 127.0.0.1) that nobody listens on now.
func freePorts(host string, n int) ([]string, error) {
	if host == "" {
		host = "127.0.0.1"
	}
	free, err := ports.Free(n)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, p := range free {
		addrs = append(addrs, net.JoinHostPort(host, strconv.Itoa(p)))
	}
	return addrs, nil
}
