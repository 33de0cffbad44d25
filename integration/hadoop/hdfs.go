package hadoop

import (
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Host is a machine that a DataNode or NodeManager plays.
type Host struct {
	Name string // such as node1; it need not resolve
	Rack string // such as /rack1
}

// DefaultHosts are three hosts on two racks.
func DefaultHosts() []Host {
	return []Host{{"node1", "/rack1"}, {"node2", "/rack1"}, {"node3", "/rack2"}}
}

// HDFSOptions of StartHDFS; the zero value is three DataNodes on two racks, blocks of 128 MiB, replication 1 and
// permissions checked.
type HDFSOptions struct {
	DataNodes     []Host            // default: DefaultHosts
	BlockSize     int64             // bytes; default 128 MiB
	Replication   int               // default 1
	NoPermissions bool              // do not check permissions
	Dir           string            // for data, conf and log; default: a temporary folder that Stop removes
	Heap          string            // of the JVM; default "1g"
	Address       string            // that all listen on and are reached at, all in one rack; default: 127.0.0.1, and the hosts' racks
	Conf          map[string]string // more settings, for servers and clients
	Logger        *zap.Logger

	jvm []string // more arguments for the JVM
}

// HDFS is a running NameNode with its DataNodes.
type HDFS struct {
	Authority string // "127.0.0.1:port" of the NameNode
	ConfDir   string // core-site.xml and hdfs-site.xml for clients: HADOOP_CONF_DIR
	Dir       string // where all lies
	Hosts     []Host

	install Install
	proc    *process
	temp    bool
	conf    map[string]string
	address string
}

// URL returns "hdfs://ADDRESS:port".
func (h *HDFS) URL() string { return "hdfs://" + h.Authority }

// Pid of the JVM.
func (h *HDFS) Pid() int { return h.proc.cmd.Process.Pid }

// Done is closed when the JVM has ended.
func (h *HDFS) Done() <-chan struct{} { return h.proc.done }

// StartHDFS starts a NameNode and DataNodes, and returns when all have registered. New blocks go to the DataNodes in
// turn, so files of replication 1 lie evenly. /tmp and /user may be written by all; the account of this process is the
// superuser. The DataNodes bear the given names, listen on 127.0.0.1 and register with that address.
func StartHDFS(ctx context.Context, in Install, o HDFSOptions) (*HDFS, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if len(o.DataNodes) == 0 {
		o.DataNodes = DefaultHosts()
	}
	if o.BlockSize == 0 {
		o.BlockSize = 128 << 20
	}
	if o.Replication == 0 {
		o.Replication = 1
	}
	if o.Heap == "" {
		o.Heap = "1g"
	}
	h := &HDFS{Hosts: o.DataNodes, install: in, Dir: o.Dir, address: o.Address}
	if h.address == "" {
		h.address = "127.0.0.1"
	}
	if h.Dir == "" {
		dir, err := os.MkdirTemp("", "fairway-hdfs-")
		if err != nil {
			return nil, err
		}
		h.Dir, h.temp = dir, true
	}
	up := false
	defer func() {
		if !up {
			h.Stop()
		}
	}()
	dir, err := filepath.Abs(h.Dir)
	if err != nil {
		return nil, err
	}
	h.Dir = dir
	data := filepath.Join(h.Dir, "data")
	h.ConfDir = filepath.Join(h.Dir, "conf")
	for _, dir := range []string{data, h.ConfDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if h.temp { // clients with other accounts read the configuration
		if err := os.Chmod(h.Dir, 0o755); err != nil {
			return nil, err
		}
	}
	h.conf = map[string]string{
		"dfs.blocksize":           strconv.FormatInt(o.BlockSize, 10),
		"dfs.replication":         strconv.Itoa(o.Replication),
		"dfs.permissions.enabled": strconv.FormatBool(!o.NoPermissions),
		// Every replica of the few DataNodes may be the last good one: do not replace DataNodes in a pipeline.
		"dfs.client.block.write.replace-datanode-on-failure.policy": "NEVER",
	}
	for k, v := range o.Conf {
		h.conf[k] = v
	}
	if err := h.start(ctx, o, data); err != nil {
		return nil, err
	}
	core := map[string]string{"fs.defaultFS": h.URL(), "hadoop.tmp.dir": filepath.Join(h.Dir, "tmp")}
	if err := writeConf(filepath.Join(h.ConfDir, "core-site.xml"), core); err != nil {
		return nil, err
	}
	if err := writeConf(filepath.Join(h.ConfDir, "hdfs-site.xml"), h.conf); err != nil {
		return nil, err
	}
	up = true
	return h, nil
}

func (h *HDFS) start(ctx context.Context, o HDFSOptions, data string) error {
	classPath, err := h.install.classPath()
	if err != nil {
		return err
	}
	// SerialGC: the least memory and cpu next to what is measured.
	args := []string{"-Xmx" + o.Heap, "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true", "-Dproc_fairway_hdfs"}
	if h.install.archive != "" && len(o.jvm) == 0 {
		args = append(args, "-XX:SharedArchiveFile="+h.install.archive, "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
	}
	args = append(args, o.jvm...)
	args = append(args, "-cp", classPath, "fairway.MiniHDFS", data)
	server := map[string]string{
		"dfs.block.replicator.classname": "fairway.SpreadPlacement",
		// A DataNode that has just taken a block would count as overloaded next to two idle ones, and lose its turn.
		"dfs.namenode.redundancy.considerLoad":                 "false",
		"dfs.namenode.fs-limits.min-block-size":                "0",
		"dfs.namenode.datanode.registration.ip-hostname-check": "false",
		"dfs.datanode.du.reserved":                             "0",
		"hadoop.tmp.dir":                                       filepath.Join(h.Dir, "tmp"),
	}
	if o.Address != "" {
		server["fairway.address"] = o.Address
	}
	for k, v := range h.conf {
		server[k] = v
	}
	for _, k := range sortedKeys(server) {
		args = append(args, k+"="+server[k])
	}
	args = append(args, "--")
	for _, host := range h.Hosts {
		args = append(args, host.Name+"="+host.Rack)
	}
	started := time.Now()
	h.proc, err = startProcess("HDFS", h.install.java, args, os.Environ(), h.Dir, filepath.Join(h.Dir, "hdfs.log"))
	if err != nil {
		return err
	}
	answer, err := h.proc.await(ctx)
	if err != nil {
		return fmt.Errorf("start HDFS: %w", err)
	}
	port, ok := strings.CutPrefix(answer, "ready ")
	if !ok {
		return fmt.Errorf("start HDFS: unexpected answer %q", answer)
	}
	h.Authority = net.JoinHostPort(h.address, port)
	o.Logger.Info("HDFS is up", zap.String("url", h.URL()), zap.Int("datanodes", len(h.Hosts)),
		zap.Duration("took", time.Since(started).Round(time.Millisecond)))
	return nil
}

// StopDataNode ends the DataNode of host; the NameNode holds it for dead at once.
func (h *HDFS) StopDataNode(ctx context.Context, host string) error {
	_, err := h.proc.command(ctx, "stop "+host)
	return err
}

// StartDataNode starts a DataNode that StopDataNode ended, with its data and its port, and waits until it has registered.
func (h *HDFS) StartDataNode(ctx context.Context, host string) error {
	_, err := h.proc.command(ctx, "start "+host)
	return err
}

// CorruptFile damages every replica of the first block of the file, on disk.
func (h *HDFS) CorruptFile(ctx context.Context, path string) error {
	_, err := h.proc.command(ctx, "corrupt "+path)
	return err
}

// SafeMode makes the NameNode refuse changes, or accept them again.
func (h *HDFS) SafeMode(ctx context.Context, on bool) error {
	word := "off"
	if on {
		word = "on"
	}
	_, err := h.proc.command(ctx, "safemode "+word)
	return err
}

// Stop ends the JVM and removes the folder if it is a temporary one. It may be called more than once.
func (h *HDFS) Stop() error {
	if h.proc != nil {
		h.proc.stop(15 * time.Second)
	}
	if h.temp {
		return os.RemoveAll(h.Dir)
	}
	return nil
}

// writeConf writes a Hadoop configuration file.
func writeConf(file string, settings map[string]string) error {
	var b strings.Builder
	b.WriteString(xml.Header + "<configuration>\n")
	for _, k := range sortedKeys(settings) {
		b.WriteString("  <property><name>")
		xml.EscapeText(&b, []byte(k))
		b.WriteString("</name><value>")
		xml.EscapeText(&b, []byte(settings[k]))
		b.WriteString("</value></property>\n")
	}
	b.WriteString("</configuration>\n")
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
