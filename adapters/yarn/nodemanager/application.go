package nodemanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/nodemanager/localize"
	"fairway/adapters/yarn/tfile"
	"fairway/adapters/yarn/token"
	"fairway/agent/service"
	"go.uber.org/zap"
)

// application is one that has, or had, a container here.
type application struct {
	id     id.ApplicationID
	kept   keptApplication
	keys   token.Keyring
	done   bool          // its job has ended
	folder chan struct{} // capacity one: held while its folders are made
	made   bool

	telling    sync.Mutex // so that what is said of its logs keeps its order
	handedOver bool       // its logs are, or were once, the aggregator's

	keeping sync.Mutex // of the file, so that an older state does not replace a newer one
}

// keptApplication is what is kept of it over a restart.
type keptApplication struct {
	Application string
	Job         string
	Secret      []byte
	User        string
	Account     service.Account
	Logs        []byte // LogAggregationContextProto
	ACLs        map[string]string
	Ended       bool // the job has ended, logs are still to be dealt with
	// Containers that a policy may want to know of when logs are aggregated: how each ended.
	Masters []string
	Failed  []string
}

// admit finds the application of a grant, or makes it known.
func (m *Manager) admit(g *grant.Grant, job string, secret []byte, who service.Account) (*application, error) {
	appID, err := id.ParseApplication(g.Application)
	if err != nil {
		return nil, err
	}
	if !tfile.ValidUser(g.User) {
		return nil, fmt.Errorf("user %q cannot have containers here", g.User)
	}
	if len(secret) == 0 {
		return nil, errors.New("the task has no job secret")
	}
	m.mu.Lock()
	a := m.apps[appID]
	m.mu.Unlock()
	if a != nil {
		if a.kept.User != g.User {
			return nil, fmt.Errorf("%s is %s's", g.Application, a.kept.User)
		}
		return a, nil
	}
	a = newApplication(appID, keptApplication{Application: appID.String(), Job: job, Secret: secret, User: g.User, Account: who, Logs: g.LogAggregation, ACLs: g.Acls})
	if err := m.keep(a); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if other := m.apps[appID]; other != nil {
		m.mu.Unlock()
		return other, nil
	}
	m.apps[appID] = a
	close(m.appeared)
	m.appeared = make(chan struct{})
	m.mu.Unlock()
	m.logsNotStarted(a)
	return a, nil
}

func newApplication(appID id.ApplicationID, k keptApplication) *application {
	return &application{id: appID, kept: k, keys: token.Keys(k.Secret), folder: make(chan struct{}, 1)}
}

func (m *Manager) keep(a *application) error {
	a.keeping.Lock()
	defer a.keeping.Unlock()
	m.mu.Lock()
	k := a.kept // slices in it only grow
	m.mu.Unlock()
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return replace(filepath.Join(m.private, "applications", k.Application), b)
}

// replace writes a file so that it is seen whole or not at all.
func replace(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// loadApplications takes up what an earlier agent kept.
func (m *Manager) loadApplications() error {
	dir := filepath.Join(m.private, "applications")
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		appID, err := id.ParseApplication(f.Name())
		if err != nil {
			os.Remove(filepath.Join(dir, f.Name()))
			continue
		}
		var k keptApplication
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err == nil {
			err = json.Unmarshal(b, &k)
		}
		if err != nil || k.Application != f.Name() || !tfile.ValidUser(k.User) {
			m.log.Warn("what was kept of an application cannot be read", zap.String("application", f.Name()), zap.Error(err))
			os.Remove(filepath.Join(dir, f.Name()))
			continue
		}
		m.apps[appID] = newApplication(appID, k)
	}
	// What an end in the middle of a write has left.
	for _, f := range matches(filepath.Join(m.private, "containers", "new*")) {
		os.Remove(f)
	}
	return nil
}

// application waits a while for an application of which a token speaks: the token may be faster than the grant.
func (m *Manager) application(ctx context.Context, appID id.ApplicationID) (*application, error) {
	patience := time.NewTimer(m.o.KeyWait)
	defer patience.Stop()
	for {
		m.mu.Lock()
		a, appeared := m.apps[appID], m.appeared
		m.mu.Unlock()
		if a != nil {
			return a, nil
		}
		select {
		case <-appeared:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			return nil, hadooprpc.Errorf(hadooprpc.InvalidToken, "%s has no container on this node", appID)
		}
	}
}

// folders makes the application's folders once.
func (m *Manager) folders(ctx context.Context, a *application) error {
	select {
	case a.folder <- struct{}{}:
		defer func() { <-a.folder }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.made {
		return nil
	}
	dir := m.appDir(a)
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	if err := ownFolder(dir, 0o700, a.kept.Account); err != nil {
		return err
	}
	if err := os.MkdirAll(m.logDir(a), 0o711); err != nil {
		return err
	}
	a.made = true
	return nil
}

func (m *Manager) appDir(a *application) string {
	return filepath.Join(m.local, localize.AppDir(a.kept.User, a.kept.Application))
}

func (m *Manager) logDir(a *application) string { return filepath.Join(m.logs, a.kept.Application) }

// ownFolder makes a folder of an account in a folder of the agent.
func ownFolder(dir string, mode os.FileMode, who service.Account) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Chmod(dir, mode); err != nil {
		return err
	}
	if who.Switch {
		return os.Lchown(dir, who.UID, who.GID)
	}
	return nil
}
