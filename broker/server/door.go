package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"fairway/broker/api"
)

// peerCredentials are transport credentials for a Unix socket: the handshake reads SO_PEERCRED.
type peerCredentials struct{}

type peerInfo struct {
	credentials.CommonAuthInfo
	uid int
}

func (peerInfo) AuthType() string { return "peercred" }

func (peerCredentials) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("peer credentials of a %T", c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, nil, err
	}
	if credErr != nil {
		return nil, nil, fmt.Errorf("read peer credentials: %w", credErr)
	}
	return c, peerInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, int(cred.Uid)}, nil
}

func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are the server's side only")
}
func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}
func (p peerCredentials) Clone() credentials.TransportCredentials { return p }
func (peerCredentials) OverrideServerName(string) error           { return nil }

// door finds out who calls.
type door struct {
	token     string                          // the operator's, from the token file
	verifyJob func(string) (api.Caller, bool) // a coordinator's
	operators map[string]bool                 // account names that operate the broker, beside root and its own account
	account   func(uid int) (name string, err error)
}

func accountName(uid int) (string, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

// caller says who makes the call of ctx. A token counts on every door; without one only peer credentials do.
func (d *door) caller(ctx context.Context) (api.Caller, error) {
	p, _ := peer.FromContext(ctx)
	remote := ""
	if p != nil && p.Addr != nil {
		remote = p.Addr.String()
	}
	if token := bearerToken(ctx); token != "" {
		if d.token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(d.token)) == 1 {
			return api.Caller{UID: -1, Operator: true, Remote: remote}, nil
		}
		if d.verifyJob != nil {
			if c, ok := d.verifyJob(token); ok {
				c.Remote = remote
				return c, nil
			}
		}
		return api.Caller{}, fmt.Errorf("the token is not this broker's; read its token file again: %w", api.ErrDenied)
	}
	if p != nil {
		if i, ok := p.AuthInfo.(peerInfo); ok {
			name, err := d.account(i.uid)
			if err != nil {
				name = strconv.Itoa(i.uid) // an account that has no name may still run as itself
			}
			operator := i.uid == 0 || i.uid == os.Geteuid() || d.operators[name]
			return api.Caller{User: name, UID: i.uid, Operator: operator, Remote: "unix"}, nil
		}
	}
	return api.Caller{}, fmt.Errorf("a call over TCP needs the broker's token (FAIRWAY_TOKEN_FILE or --token-file): %w", api.ErrDenied)
}

func bearerToken(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if t, ok := strings.CutPrefix(v, "Bearer "); ok {
			return t
		}
	}
	return ""
}

// LoadToken reads the token file, or writes a fresh random one (mode 0600) if there is none.
func LoadToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		t := strings.TrimSpace(string(b))
		if len(t) < 16 {
			return "", fmt.Errorf("token file %s holds %d characters, want 16 or more; remove it and the broker writes a new one", path, len(t))
		}
		if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
			return "", fmt.Errorf("token file %s is open to others (mode %04o); chmod 600 it", path, st.Mode().Perm())
		}
		return t, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read token file: %w", err)
	}
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", err
	}
	t := hex.EncodeToString(raw[:])
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("write token file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*") // 0600
	if err != nil {
		return "", fmt.Errorf("write token file: %w", err)
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(t + "\n"); err != nil {
		return "", errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", err
	}
	// Link, not rename: of two brokers that start at once the first one's token stays.
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, os.ErrExist) {
			return LoadToken(path)
		}
		return "", fmt.Errorf("write token file: %w", err)
	}
	return t, nil
}
