package hosts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/integration/cluster"
	"fairway/integration/network"
)

// mapper counts words, and says in whose network it runs.
const mapper = `import sys, os, hashlib
for line in sys.stdin:
    h = line.encode()
    for _ in range(20): h = hashlib.sha256(h).digest()
    for w in line.split(): print(w + "\t1")
print("network " + os.readlink("/proc/self/ns/net") + "\t1")
`

// start runs a broker with TLS on the bridge and an agent on each host.
func start(t *testing.T, w *network.Network) *cluster.Cluster {
	t.Helper()
	dir := t.TempDir()
	binary, err := cluster.Build(t.Context(), filepath.Join(dir, "fairway"))
	if err != nil {
		t.Fatal(err)
	}
	cert, key := material(t, dir, w.Gateway)
	port, err := net.Listen("tcp", w.Gateway+":0")
	if err != nil {
		t.Fatal(err)
	}
	address := port.Addr().String()
	port.Close()
	o := cluster.Options{Binary: binary, Listen: address,
		Env: []string{"FAIRWAY_BROKER_TLS_CERT=" + cert, "FAIRWAY_BROKER_TLS_KEY=" + key, "FAIRWAY_BROKER_TLS_CA=" + cert}}
	for _, h := range w.Hosts {
		o.Agents = append(o.Agents, cluster.Agent{Host: h.Name, CPU: "2", Memory: "2GiB", Enter: h.Enter(), Listen: h.Address + ":0"})
	}
	c, err := cluster.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// material writes a certificate for an address that vouches for itself, and its key.
func material(t *testing.T, dir, address string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// TestHosts runs a job over three hosts, and another one while the cable of a host that holds map output is pulled.
func TestHosts(t *testing.T) {
	if os.Getenv("FAIRWAY_INTEGRATION") == "" {
		t.Skip("FAIRWAY_INTEGRATION is not set: builds the binary and starts daemons in network namespaces")
	}
	w := lay(t, 3)
	c := start(t, w)
	dir, err := os.MkdirTemp("", "fairway-hosts-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const lines = 60_000
	write(t, filepath.Join(dir, "map.py"), mapper)
	write(t, filepath.Join(dir, "in.txt"), strings.Repeat("pike carp pike\n", lines))
	want := map[string]string{"pike": fmt.Sprint(2 * lines), "carp": fmt.Sprint(lines)}

	job := run(t, c, dir, "first")
	networks := check(t, c, job, filepath.Join(dir, "first"), want)
	if len(networks) != len(w.Hosts) {
		t.Errorf("maps ran in the networks %v, want one for each of %d hosts", networks, len(w.Hosts))
	}
	if own, err := os.Readlink("/proc/self/ns/net"); err != nil || networks[own] {
		t.Errorf("maps ran in the test's own network %s, %v", own, err)
	}

	job = run(t, c, dir, "second")
	await(t, c, job, func(j *v1.Job) bool { return cluster.Done(j, "map") >= 3 })
	cut := w.Hosts[1]
	if err := cut.Pull(); err != nil {
		t.Fatal(err)
	}
	state(t, c, cut.Name, "unreachable")
	networks = check(t, c, job, filepath.Join(dir, "second"), want)
	if len(networks) < len(w.Hosts)-1 {
		t.Errorf("maps ran in the networks %v only", networks)
	}
	if err := cut.Plug(); err != nil {
		t.Fatal(err)
	}
	state(t, c, cut.Name, "active")
	check(t, c, run(t, c, dir, "third"), filepath.Join(dir, "third"), want)
}

func run(t *testing.T, c *cluster.Cluster, dir, name string) string {
	t.Helper()
	out, err := c.Run(t.Context(), "submit", "mapreduce", "-input", "file://"+dir+"/in.txt", "-output", "file://"+dir+"/"+name, "-mapper", "python3 map.py",
		"-reducer", "sum", "-file", filepath.Join(dir, "map.py"), "-numReduceTasks", "2", "--split-size", "64KiB", "--name", name, "--detach")
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Logs())
	}
	return strings.TrimSpace(out)
}

// check waits for a job, compares the counts and returns the networks that its maps ran in.
func check(t *testing.T, c *cluster.Cluster, job, folder string, want map[string]string) map[string]bool {
	t.Helper()
	j := await(t, c, job, func(j *v1.Job) bool { return j.FinishedUnixNanos != 0 })
	if j.Phase != v1.JobPhase_JOB_PHASE_SUCCEEDED {
		t.Fatalf("%s\n%s", protojson.Format(j), c.Logs())
	}
	networks, got := map[string]bool{}, map[string]string{}
	parts, err := filepath.Glob(filepath.Join(folder, "part-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			k, v, _ := strings.Cut(strings.TrimSpace(l), "\t")
			if n, is := strings.CutPrefix(k, "network "); is {
				networks[n] = true
			} else {
				got[k] = v
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", folder, got, want)
	}
	return networks
}

func await(t *testing.T, c *cluster.Cluster, id string, ok func(*v1.Job) bool) *v1.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	j, err := c.Job(ctx, id, ok)
	if err != nil {
		t.Fatalf("job %s: %v, last %s\n%s", id, err, protojson.Format(j), c.Logs())
	}
	return j
}

func state(t *testing.T, c *cluster.Cluster, host, want string) {
	t.Helper()
	if err := c.Until(t.Context(), host+" to be "+want, cluster.Is(host, want)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
