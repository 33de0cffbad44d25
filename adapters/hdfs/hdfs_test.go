package hdfs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	stock "github.com/colinmarc/hdfs/v2"

	"go.uber.org/goleak"

	"fairway/adapters/hdfs"
	"fairway/adapters/hdfs/hdfstest"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/storagetest"
)

var ctx = context.Background()

// Nothing of ours runs on after a file system is closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, c *hdfstest.Cluster, user string, timeout time.Duration) storage.FS {
	t.Helper()
	return openAt(t, c.Authority, user, hdfs.Options{ConfDir: t.TempDir(), Timeout: timeout})
}

func openAt(t *testing.T, authority, user string, o hdfs.Options) storage.FS {
	t.Helper()
	if user == "" {
		user = "root"
	}
	f, err := hdfs.Opener(o)(ctx, authority, user)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// oneLine checks that the error is one line with all the parts.
func oneLine(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("several lines: %q", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

func TestContract(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{PageSize: 3})
	storagetest.Run(t, storagetest.Options{FS: open(t, c, "", 0), Root: "/", URL: "hdfs://" + c.Authority, BlockSize: 1 << 20})
}

func TestContractWithThreeReplicas(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{Replication: 3})
	storagetest.Run(t, storagetest.Options{FS: open(t, c, "", 0), Root: "/", URL: "hdfs://" + c.Authority, BlockSize: 64 << 10})
}

// The fake is right if a client that nobody here wrote can use it, and we read what that client writes.
func TestAgainstAnotherClient(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{BlockSize: 256 << 10})
	other, err := stock.NewClient(stock.ClientOptions{Addresses: []string{c.Authority}, User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	f := open(t, c, "", 0)
	data := random(700_001)
	storagetest.Put(t, f, "/ours", data, storage.CreateOptions{})
	if got, err := other.ReadFile("/ours"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the other client reads %d bytes, %v", len(got), err)
	}
	w, err := other.CreateFile("/theirs", 1, 256<<10, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := storagetest.Get(t, f, "/theirs"); !bytes.Equal(got, data) {
		t.Errorf("we read %d bytes", len(got))
	}
}

func TestBlocksNameHostsAndRacks(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{BlockSize: 64 << 10})
	f := open(t, c, "", 0)
	storagetest.Put(t, f, "/f", random(3*64<<10), storage.CreateOptions{})
	blocks, err := f.Blocks(ctx, "/f")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range blocks {
		got = append(got, fmt.Sprint(b.Offset>>10, b.Length>>10, b.Replicas))
	}
	want := "0 64 [{node1 127.0.0.1 /rack1}]|64 64 [{node2 127.0.0.1 /rack1}]|128 64 [{node3 127.0.0.1 /rack2}]"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

func TestRackOf(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	r, err := hdfs.NewRacks(hdfs.Options{ConfDir: t.TempDir()}, c.Authority)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for host, want := range map[string]string{"node1": "/rack1", "NODE3": "/rack2", "other": ""} {
		rack, ok, err := r.RackOf(ctx, host, []string{"127.0.0.1"})
		if rack != want || ok != (want != "") || err != nil {
			t.Errorf("%s: %q %v %v", host, rack, ok, err)
		}
	}
	if n := c.Calls("getDatanodeReport"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// A connection that breaks is replaced, and a call that was done although its answer was lost is not done twice.
func TestBrokenConnections(t *testing.T) {
	for _, action := range []hdfstest.Action{hdfstest.Drop, hdfstest.Lose} {
		c := hdfstest.Start(t, hdfstest.Options{})
		f := open(t, c, "", 0)
		c.OnCall(func(_ string, n int) hdfstest.Fault {
			if n == 0 {
				return hdfstest.Fault{Action: action}
			}
			return hdfstest.Fault{}
		})
		data := random(100_000)
		storagetest.Put(t, f, "/a/f", data, storage.CreateOptions{})
		if err := f.Rename(ctx, "/a/f", "/a/g"); err != nil {
			t.Errorf("%v: %v", action, err)
		}
		if got := storagetest.Get(t, f, "/a/g"); !bytes.Equal(got, data) {
			t.Errorf("%v: %d bytes", action, len(got))
		}
		if err := f.Remove(ctx, "/a"); err != nil {
			t.Error(err)
		}
		c.CutAll()
		if _, err := f.Stat(ctx, "/"); err != nil {
			t.Errorf("%v: after all connections broke: %v", action, err)
		}
	}
}

func TestFailoverToTheActiveNameNode(t *testing.T) {
	standby, active := hdfstest.Start(t, hdfstest.Options{}), hdfstest.Start(t, hdfstest.Options{})
	standby.OnCall(func(string, int) hdfstest.Fault {
		return hdfstest.Fault{Action: hdfstest.Error, Class: "org.apache.hadoop.ipc.StandbyException", Message: "Operation category READ is not supported in state standby"}
	})
	conf := map[string]string{
		"fs.defaultFS": "hdfs://prod", "dfs.nameservices": "prod", "dfs.ha.namenodes.prod": "a,b,c",
		"dfs.namenode.rpc-address.prod.a": closedPort(t), "dfs.namenode.rpc-address.prod.b": standby.Authority, "dfs.namenode.rpc-address.prod.c": active.Authority}
	f := openAt(t, "", "", hdfs.Options{ConfDir: t.TempDir(), Conf: conf})
	storagetest.Put(t, f, "/f", []byte("x"), storage.CreateOptions{})
	if active.Calls("create") != 1 || standby.Calls("create") != 0 {
		t.Errorf("create: active %d, standby %d", active.Calls("create"), standby.Calls("create"))
	}
	// The roles change.
	standby.OnCall(nil)
	active.OnCall(func(string, int) hdfstest.Fault {
		return hdfstest.Fault{Action: hdfstest.Error, Class: "org.apache.hadoop.ipc.StandbyException"}
	})
	if _, err := f.Stat(ctx, "/"); err != nil {
		t.Error(err)
	}
	if _, err := f.Stat(ctx, "/none"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "hdfs://prod/none") {
		t.Error(err)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

// server accepts connections and handles them until the test ends.
func server(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			handle(conn)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestWrongNameNode(t *testing.T) {
	hello := func(c net.Conn) { io.ReadFull(c, make([]byte, 100)) }
	web := server(t, func(c net.Conn) { hello(c); io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); c.Close() })
	zeros := server(t, func(c net.Conn) { hello(c); c.Write(make([]byte, 1000)); c.Close() })
	held := make(chan net.Conn, 100)
	silent := server(t, func(c net.Conn) { held <- c })
	shut := server(t, func(c net.Conn) { c.Close() })
	closed := closedPort(t)
	for _, tc := range []struct {
		name, authority string
		parts           []string
	}{
		{"nobody listens", closed, []string{"NameNode " + closed, "refuses connections", "check that it runs"}},
		{"a web server", web, []string{"not an HDFS NameNode", `"HTTP"`, "RPC port"}},
		{"zeros", zeros, []string{"not an HDFS NameNode"}},
		{"silence", silent, []string{"did not answer within 300ms"}},
		{"hangs up", shut, []string{"RPC port"}},
		{"no such host", "no-such-host.invalid:8020", []string{"no-such-host.invalid:8020", "cannot be resolved"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := openAt(t, tc.authority, "", hdfs.Options{ConfDir: t.TempDir(), Timeout: 300 * time.Millisecond})
			start := time.Now()
			_, err := f.Stat(ctx, "/data")
			oneLine(t, err, append(tc.parts, "stat hdfs://"+tc.authority+"/data")...)
			if tc.name != "no such host" && !errors.Is(err, hdfs.ErrUnreachable) {
				t.Errorf("%v is not ErrUnreachable", err)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v looks like the caller's deadline", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	for len(held) > 0 {
		(<-held).Close()
	}
}

func TestNameNodeHangsAndCallerGivesUp(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", 0)
	asked := make(chan struct{}, 16)
	c.OnCall(func(string, int) hdfstest.Fault {
		asked <- struct{}{}
		return hdfstest.Fault{Action: hdfstest.Hang}
	})
	stop, cancel := context.WithCancel(ctx)
	go func() { <-asked; cancel() }()
	if _, err := f.Stat(stop, "/"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f, alice := open(t, c, "", 0), open(t, c, "alice", 0)
	storagetest.Put(t, f, "/secret/f", []byte("x"), storage.CreateOptions{Perm: 0o600})
	storagetest.Put(t, f, "/enc", []byte("x"), storage.CreateOptions{})
	storagetest.Put(t, f, "/ec", []byte("x"), storage.CreateOptions{})
	c.MarkEncrypted("/enc")
	c.MarkErasureCoded("/ec")
	c.Chmod("/secret", "root", 0o711)

	_, err := alice.Open(ctx, "/secret/f")
	oneLine(t, err, "/secret/f", "ermission denied", "user=alice", "READ", "600")
	if !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	if _, err := alice.List(ctx, "/secret"); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	if _, err := alice.Create(ctx, "/secret/g", storage.CreateOptions{}); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	for p, word := range map[string]string{"/enc": "encrypted", "/ec": "erasure-coded"} {
		_, err := f.Open(ctx, p)
		oneLine(t, err, p, word)
		if _, err2 := f.Blocks(ctx, p); !errors.Is(err, storage.ErrUnsupported) || !errors.Is(err2, storage.ErrUnsupported) {
			t.Error(err, err2)
		}
	}
	c.MarkEncrypted("/secret")
	if _, err := f.Create(ctx, "/secret/new", storage.CreateOptions{}); !errors.Is(err, storage.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := f.Stat(ctx, "/secret/new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused file was left: %v", err)
	}
}

func TestExceptions(t *testing.T) {
	for class, want := range map[string]struct {
		kind error
		part string
	}{
		"org.apache.hadoop.hdfs.server.namenode.SafeModeException":     {nil, "safe mode"},
		"org.apache.hadoop.hdfs.protocol.DSQuotaExceededException":     {syscall.EDQUOT, "quota exceeded: boom"},
		"org.apache.hadoop.hdfs.protocol.NSQuotaExceededException":     {syscall.EDQUOT, "quota exceeded"},
		"org.apache.hadoop.fs.ParentNotDirectoryException":             {syscall.ENOTDIR, "boom"},
		"org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException": {fs.ErrExist, "another writer"},
		"org.apache.hadoop.hdfs.protocol.UnresolvedPathException":      {storage.ErrUnsupported, "symbolic link"},
		"org.apache.hadoop.hdfs.UnknownCryptoProtocolVersionException": {storage.ErrUnsupported, "encryption zone"},
		"org.apache.hadoop.fs.InvalidPathException":                    {fs.ErrInvalid, "boom"},
		"java.lang.NullPointerException":                               {nil, "NullPointerException: boom"},
		"org.apache.hadoop.ipc.StandbyException":                       {nil, "on standby"},
		"":                                                             {nil, "boom"},
	} {
		c := hdfstest.Start(t, hdfstest.Options{})
		f := open(t, c, "", 0)
		c.OnCall(func(string, int) hdfstest.Fault {
			return hdfstest.Fault{Action: hdfstest.Error, Class: class, Message: "boom"}
		})
		err := f.Mkdir(ctx, "/d", 0)
		oneLine(t, err, "mkdir hdfs://"+c.Authority+"/d", want.part)
		if want.kind != nil && !errors.Is(err, want.kind) {
			t.Errorf("%s: %v is not %v", class, err, want.kind)
		}
	}
}

func TestRetriableExceptionIsTriedAgain(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", 0)
	c.OnCall(func(_ string, n int) hdfstest.Fault {
		if n < 2 {
			return hdfstest.Fault{Action: hdfstest.Error, Class: "org.apache.hadoop.ipc.RetriableException", Message: "NameNode still not started"}
		}
		return hdfstest.Fault{}
	})
	if _, err := f.Stat(ctx, "/"); err != nil {
		t.Error(err)
	}
}

func TestIdleConnectionsAreFew(t *testing.T) {
	c := hdfstest.Start(t, hdfstest.Options{})
	f := open(t, c, "", 0)
	for range 100 {
		storagetest.Put(t, f, "/f", []byte("x"), storage.CreateOptions{Overwrite: true})
		storagetest.Get(t, f, "/f")
	}
	if n := c.Connections(); n > 6 {
		t.Errorf("%d connections are open", n)
	}
	if n := c.Calls("renewLease"); n > 0 {
		t.Errorf("%d renewals of the lease", n)
	}
	if n := c.Calls("getServerDefaults"); n != 1 {
		t.Errorf("asked %d times for defaults", n)
	}
}

func TestConfiguration(t *testing.T) {
	for name, tc := range map[string]struct {
		authority string
		conf      map[string]string
		want      string
	}{
		"no default":    {"", nil, "set fs.defaultFS"},
		"local default": {"", map[string]string{"fs.defaultFS": "file:///"}, "names no NameNode"},
		"kerberos":      {"nn", map[string]string{"hadoop.security.authentication": "kerberos"}, "authentication=kerberos"},
		"encrypted":     {"nn", map[string]string{"dfs.encrypt.data.transfer": "true"}, "dfs.encrypt.data.transfer"},
		"privacy":       {"nn", map[string]string{"dfs.data.transfer.protection": "privacy"}, "protection=privacy"},
		"ha incomplete": {"ns", map[string]string{"dfs.nameservices": "ns", "dfs.ha.namenodes.ns": "a"}, "set it in hdfs-site.xml"},
		"port":          {"nn:99999", nil, "no valid port"},
		"user in it":    {"me@nn", nil, "not HOST:PORT"},
		"replication":   {"nn", map[string]string{"dfs.replication": "many"}, `dfs.replication is "many"`},
		"block size":    {"nn", map[string]string{"dfs.blocksize": "12q"}, "dfs.blocksize"},
	} {
		_, err := hdfs.Opener(hdfs.Options{ConfDir: t.TempDir(), Conf: tc.conf})(ctx, tc.authority, "root")
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := hdfs.Opener(hdfs.Options{ConfDir: filepath.Join(t.TempDir(), "absent")})(ctx, "nn", "root")
	oneLine(t, err, "absent")
	t.Setenv("HADOOP_CONF_DIR", t.TempDir())
	if url, err := hdfs.DefaultURL(hdfs.Options{Conf: map[string]string{"fs.defaultFS": "hdfs://x"}}); url != "hdfs://x" || err != nil {
		t.Error(url, err)
	}
}
