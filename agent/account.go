package agent

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"

	"fairway/agent/container"
	"fairway/agent/fetch"
	"fairway/agent/sandbox"
	"fairway/agent/service"
)

// account is who a task runs as.
type account struct {
	name   string
	home   string // empty: the sandbox
	uid    int
	gid    int
	groups []int
	change bool // the agent must switch to it
}

// accountOf finds the account of a task on this host. The broker has decided that the caller may be it; here it must only
// be exactly the one that was asked for. An agent that is not root runs everything as itself, and told so when it registered.
func accountOf(name string) (*account, error) {
	if os.Geteuid() != 0 || name == "" {
		own := &account{uid: os.Geteuid(), gid: os.Getegid(), name: strconv.Itoa(os.Geteuid())}
		if u, err := user.LookupId(strconv.Itoa(own.uid)); err == nil {
			own.name, own.home = u.Username, u.HomeDir
		}
		return own, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		var unknown user.UnknownUserError
		if errors.As(err, &unknown) {
			return nil, fmt.Errorf("there is no account %q on this host", name)
		}
		return nil, fmt.Errorf("find account %q: %w", name, err)
	}
	a := &account{name: u.Username, home: u.HomeDir, change: true}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, fmt.Errorf("account %q: %w", name, err)
	}
	if a.gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, fmt.Errorf("account %q: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of account %q: %w", name, err)
	}
	for _, id := range ids {
		if g, err := strconv.Atoi(id); err == nil {
			a.groups = append(a.groups, g)
		}
	}
	return a, nil
}

// accountAge is how long an account is believed to be what it was.
const accountAge = 30 * time.Second

// accounts remembers accounts for a while: a look-up may go to a directory server.
type accounts struct {
	mu    sync.Mutex
	found map[string]foundAccount
}

type foundAccount struct {
	*account
	at time.Time
}

func (c *accounts) find(name string) (*account, error) {
	c.mu.Lock()
	known, ok := c.found[name]
	c.mu.Unlock()
	if ok && time.Since(known.at) < accountAge {
		return known.account, nil
	}
	found, err := accountOf(name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil || len(c.found) > 1000 {
		c.found = map[string]foundAccount{}
	}
	c.found[name] = foundAccount{found, time.Now()}
	return found, nil
}

func (a *account) owner() sandbox.Owner { return sandbox.Owner{UID: a.uid, GID: a.gid} }

func (a *account) service() service.Account {
	return service.Account{Name: a.name, Home: a.home, UID: a.uid, GID: a.gid, Groups: a.groups, Switch: a.change && a.uid != os.Geteuid()}
}

func (a *account) container() *container.User {
	if !a.change {
		return nil
	}
	return &container.User{UID: a.uid, GID: a.gid, Groups: a.groups}
}

func (a *account) fetcher() fetch.User {
	if !a.change {
		return fetch.User{Name: a.name, UID: -1}
	}
	return fetch.User{Name: a.name, UID: a.uid, GID: a.gid, Groups: a.groups}
}
