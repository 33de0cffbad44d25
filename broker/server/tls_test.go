package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/broker/api"
	"fairway/broker/api/client"
)

// material writes a certificate for 127.0.0.1 that vouches for itself, and its key.
func material(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLS(t *testing.T) {
	cert, key := material(t)
	token := strings.Repeat("t", 32)
	sock := filepath.Join(t.TempDir(), "b.sock")
	s, _ := serve(t, Options{Socket: sock, Listen: "0.0.0.0:0", Token: token, CertFile: cert, KeyFile: key})
	_, port, err := net.SplitHostPort(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + port
	if _, err := dial(t, client.Options{Address: address, Token: token, CAFile: cert}).GetCluster(t.Context(), api.Caller{}); err != nil {
		t.Error(err)
	}
	if _, err := dial(t, client.Options{Address: "unix://" + sock, CAFile: cert}).GetCluster(t.Context(), api.Caller{}); err != nil {
		t.Errorf("a caller on the socket with the same configuration: %v", err)
	}
	if _, err := dial(t, client.Options{Address: address, Token: token, Timeout: 3 * time.Second}).GetCluster(t.Context(), api.Caller{}); err == nil {
		t.Error("a caller in clear text was served")
	}
	other, _ := material(t)
	if _, err := dial(t, client.Options{Address: address, Token: token, CAFile: other}).GetCluster(t.Context(), api.Caller{}); err == nil {
		t.Error("a certificate of somebody else was trusted")
	}
	if _, err := client.Dial(client.Options{Address: address, CAFile: key}); err == nil {
		t.Error("a key was taken for a certificate")
	}
}
