package hdfs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"fairway/adapters/hdfs/hadoopxml"
	"fairway/frameworks/storage"
)

const (
	defaultTimeout = 30 * time.Second
	defaultPort    = "8020"
)

// Options of the opener. The zero value reads the configuration that HADOOP_CONF_DIR names.
type Options struct {
	// ConfDir holds core-site.xml and hdfs-site.xml. Empty: $HADOOP_CONF_DIR, else $HADOOP_HOME/etc/hadoop, else none.
	ConfDir string
	// Conf overrides single settings of the files ("dfs.replication": "1").
	Conf map[string]string
	// DefaultUser is who callers without a user of their own are. Empty: $HADOOP_USER_NAME, else the process's account.
	DefaultUser string
	// Timeout bounds each call to a NameNode, retries and failover included, and each wait for a DataNode, of which a reader's
	// first ones take a third of it. 0: 30 s.
	Timeout time.Duration
	// Logger gets failovers and retries at debug level, and DataNodes that do not serve at warn level. nil: none.
	Logger *zap.Logger
}

// Opener returns the opener of hdfs:// URLs. Opening reads the configuration and contacts nobody.
func Opener(o Options) storage.Opener {
	return func(_ context.Context, authority, user string) (storage.FS, error) {
		c, err := o.cluster(authority, user)
		if err != nil {
			return nil, err
		}
		return newFileSystem(c), nil
	}
}

// DefaultURL returns the configuration's fs.defaultFS, or "" if there is no configuration or it names none.
func DefaultURL(o Options) (string, error) {
	conf, _, err := o.load()
	if err != nil {
		return "", err
	}
	return conf.Get("fs.defaultFS"), nil
}

// cluster is what is known about one HDFS before it is asked.
type cluster struct {
	authority   string   // as in URLs; shown in errors
	origin      string   // where the address came from, for errors
	namenodes   []string // host:port, more than one with high availability
	user        string
	timeout     time.Duration
	useHostname bool  // reach DataNodes by name, not by address
	replication int   // 0: the NameNode's default
	blockSize   int64 // 0: the NameNode's default
	log         *zap.Logger
}

func (o Options) load() (*hadoopxml.Conf, string, error) {
	dir := o.ConfDir
	if dir == "" {
		dir = os.Getenv("HADOOP_CONF_DIR")
	}
	if home := os.Getenv("HADOOP_HOME"); dir == "" && home != "" {
		dir = filepath.Join(home, "etc", "hadoop")
	}
	conf := &hadoopxml.Conf{}
	if dir != "" {
		var err error
		if conf, err = hadoopxml.Load(dir, "core-site.xml", "hdfs-site.xml"); err != nil {
			return nil, dir, err
		}
	}
	for name, value := range o.Conf {
		conf.Set(name, value)
	}
	return conf, dir, nil
}

func (o Options) cluster(authority, as string) (*cluster, error) {
	conf, dir, err := o.load()
	if err != nil {
		return nil, err
	}
	c := &cluster{authority: authority, origin: "the URL", user: as, timeout: o.Timeout, log: o.Logger}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.user == "" {
		if c.user, err = o.ownUser(); err != nil {
			return nil, err
		}
	}
	if c.authority == "" {
		if c.authority, c.origin, err = defaultAuthority(conf, dir); err != nil {
			return nil, err
		}
	}
	if err := c.findNameNodes(conf); err != nil {
		return nil, err
	}
	if err := refuseSecurity(conf, c.authority); err != nil {
		return nil, err
	}
	return c, c.readSettings(conf)
}

func (o Options) ownUser() (string, error) {
	if o.DefaultUser != "" {
		return o.DefaultUser, nil
	}
	if name := os.Getenv("HADOOP_USER_NAME"); name != "" {
		return name, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("hdfs: who am I: %w; set HADOOP_USER_NAME", err)
	}
	return u.Username, nil
}

func defaultAuthority(conf *hadoopxml.Conf, dir string) (authority, origin string, err error) {
	const advice = "write hdfs://HOST:PORT/path, or set fs.defaultFS in core-site.xml and HADOOP_CONF_DIR to its folder"
	value := conf.Get("fs.defaultFS")
	if value == "" {
		if dir == "" {
			return "", "", errors.New("hdfs: no NameNode is known, as there is no Hadoop configuration: " + advice)
		}
		return "", "", fmt.Errorf("hdfs: no NameNode is known, as %s names no fs.defaultFS: %s", dir, advice)
	}
	origin = "fs.defaultFS"
	if from := conf.Source("fs.defaultFS"); from != "" {
		origin += " in " + from
	}
	l, err := storage.Parse(value)
	if err != nil || l.Scheme != "hdfs" || l.Authority == "" {
		return "", "", fmt.Errorf("hdfs: %s is %q, which names no NameNode: %s", origin, value, advice)
	}
	return l.Authority, origin, nil
}

// findNameNodes turns the authority, a host or a nameservice, into addresses.
func (c *cluster) findNameNodes(conf *hadoopxml.Conf) error {
	if strings.ContainsAny(c.authority, "@/ ") {
		return fmt.Errorf("hdfs://%s: not HOST:PORT or a nameservice", c.authority)
	}
	for _, service := range conf.List("dfs.nameservices") {
		if service != c.authority {
			continue
		}
		c.origin = "dfs.nameservices"
		keys := []string{"dfs.namenode.rpc-address." + service}
		if ids := conf.List("dfs.ha.namenodes." + service); len(ids) > 0 {
			keys = keys[:0]
			for _, id := range ids {
				keys = append(keys, "dfs.namenode.rpc-address."+service+"."+id)
			}
		}
		for _, key := range keys {
			address := conf.Get(key)
			if address == "" {
				return fmt.Errorf("hdfs://%s: nameservice without %s: set it in hdfs-site.xml", service, key)
			}
			address, err := withPort(address)
			if err != nil {
				return fmt.Errorf("hdfs://%s: %s: %w", service, key, err)
			}
			c.namenodes = append(c.namenodes, address)
		}
		return nil
	}
	address, err := withPort(c.authority)
	if err != nil {
		return fmt.Errorf("hdfs://%s: %w", c.authority, err)
	}
	c.namenodes = []string{address}
	return nil
}

func withPort(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port, err = net.SplitHostPort(net.JoinHostPort(strings.Trim(address, "[]"), defaultPort))
	}
	if err != nil || host == "" {
		return "", fmt.Errorf("%q is not HOST:PORT", address)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return "", fmt.Errorf("%q has no valid port", address)
	}
	return net.JoinHostPort(host, port), nil
}

func refuseSecurity(conf *hadoopxml.Conf, authority string) error {
	refuse := func(what string) error {
		return fmt.Errorf("hdfs://%s: %w: %s, which Fairway does not speak", authority, storage.ErrUnsupported, what)
	}
	if kind := strings.ToLower(conf.Get("hadoop.security.authentication")); kind != "" && kind != "simple" {
		return refuse("the cluster wants hadoop.security.authentication=" + kind)
	}
	if on, err := conf.Bool("dfs.encrypt.data.transfer", false); err != nil || on {
		return errors.Join(err, refuse("the cluster wants dfs.encrypt.data.transfer"))
	}
	if p := conf.Get("dfs.data.transfer.protection"); p != "" {
		return refuse("the cluster wants dfs.data.transfer.protection=" + p)
	}
	return nil
}

func (c *cluster) readSettings(conf *hadoopxml.Conf) error {
	var err error
	if c.useHostname, err = conf.Bool("dfs.client.use.datanode.hostname", false); err != nil {
		return err
	}
	replication, err := conf.Int("dfs.replication", 0)
	if err != nil {
		return err
	}
	if replication < 0 || replication > math.MaxInt16 {
		return fmt.Errorf("dfs.replication is %d: out of range", replication)
	}
	c.replication = int(replication)
	c.blockSize, err = conf.Size("dfs.blocksize", 0)
	return err
}
