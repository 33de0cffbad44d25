package resourcemanager

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/token"
)

const (
	tokenRenewal  = 24 * time.Hour // yarn.resourcemanager.delegation.token.renew-interval
	tokenLife     = 7 * 24 * time.Hour
	maxCancelled  = 100_000
	saidNoRenewal = "%s tries to renew a token with renewer %s"
)

// delegations issues RM delegation tokens and knows them again. A token's identifier and proof are all there is of it, so
// tokens survive a restart; what does not is that one was cancelled, and a token that nobody has renewed is then taken until
// its end.
type delegations struct {
	key      []byte
	began    time.Time
	sequence atomic.Int32

	mu        sync.Mutex
	renewed   map[string]time.Time // expiry, of tokens of this start
	cancelled map[string]time.Time // until when the identifier would be valid
}

func newDelegations(key []byte) *delegations {
	d := &delegations{key: key, began: time.Now(), renewed: map[string]time.Time{}, cancelled: map[string]time.Time{}}
	d.sequence.Store(rand.Int32N(1 << 30))
	return d
}

// issue makes a token for a caller.
func (d *delegations) issue(c *hadooprpc.Caller, renewer, service string, now time.Time) writable.Token {
	t := token.Delegation{
		Owner: c.User, Renewer: shortName(renewer), RealUser: c.RealUser, Issued: now, Max: now.Add(tokenLife), Sequence: d.sequence.Add(1), KeyID: token.KeyID,
	}
	return token.Issue(token.KindDelegation, service, d.key, t.Marshal())
}

// find is the token of an identifier that is valid now.
func (d *delegations) find(identifier []byte, now time.Time) (token.Delegation, error) {
	t, err := token.ParseDelegation(identifier)
	if err != nil {
		return t, hadooprpc.Errorf(hadooprpc.InvalidToken, "%v", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, gone := d.cancelled[string(identifier)]
	expiry := t.Issued.Add(tokenRenewal)
	if t.Issued.Before(d.began) {
		expiry = t.Max // it may have been renewed before this start
	}
	if e, ok := d.renewed[string(identifier)]; ok {
		expiry = e
	}
	switch {
	case gone:
		return t, hadooprpc.Errorf(hadooprpc.InvalidToken, "token (RM_DELEGATION_TOKEN token %d for %.64s) can't be found in cache", t.Sequence, t.Owner)
	case now.After(expiry) || now.After(t.Max):
		return t, hadooprpc.Errorf(hadooprpc.InvalidToken, "token (RM_DELEGATION_TOKEN token %d for %.64s) is expired", t.Sequence, t.Owner)
	}
	return t, nil
}

// check is find for a token as a whole.
func (d *delegations) check(t writable.Token, now time.Time) (token.Delegation, error) {
	x, err := d.find(t.Identifier, now)
	if err == nil && !token.Check(d.key, t.Identifier, t.Password) {
		err = hadooprpc.Errorf(hadooprpc.InvalidToken, "token (RM_DELEGATION_TOKEN token %d for %.64s): its password is wrong", x.Sequence, x.Owner)
	}
	return x, err
}

// renew is the new expiry of a token.
func (d *delegations) renew(who string, t writable.Token, now time.Time) (time.Time, error) {
	x, err := d.check(t, now)
	if err != nil {
		return time.Time{}, err
	}
	if x.Renewer == "" || shortName(x.Renewer) != who {
		return time.Time{}, hadooprpc.Errorf(hadooprpc.AccessControlException, saidNoRenewal, who, x.Renewer)
	}
	expiry := now.Add(tokenRenewal)
	if expiry.After(x.Max) {
		expiry = x.Max
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep(now)
	if len(d.renewed) < maxCancelled {
		d.renewed[string(t.Identifier)] = expiry
	}
	return expiry, nil
}

// cancel ends a token.
func (d *delegations) cancel(who string, t writable.Token, now time.Time) error {
	x, err := d.check(t, now)
	if err != nil {
		return err
	}
	if who != shortName(x.Owner) && who != shortName(x.Renewer) {
		return hadooprpc.Errorf(hadooprpc.AccessControlException, "%s is not authorized to cancel the token %d of %s", who, x.Sequence, x.Owner)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep(now)
	if len(d.cancelled) >= maxCancelled {
		return hadooprpc.Errorf(hadooprpc.YarnException, "too many tokens were cancelled; this one ends at %s", x.Max.UTC().Format(time.RFC3339))
	}
	d.cancelled[string(t.Identifier)] = x.Max
	delete(d.renewed, string(t.Identifier))
	return nil
}

// sweep forgets what has expired anyway.
func (d *delegations) sweep(now time.Time) {
	for _, m := range []map[string]time.Time{d.renewed, d.cancelled} {
		if len(m) < maxCancelled/2 {
			continue
		}
		for k, end := range m {
			if now.After(end) {
				delete(m, k)
			}
		}
	}
}

// clientSecret finds who the bearer of a delegation token is.
func (m *Manager) clientSecret(ctx context.Context, identifier []byte) (hadooprpc.Secret, error) {
	t, err := m.tokens.find(identifier, time.Now())
	if err != nil {
		return hadooprpc.Secret{}, err
	}
	return hadooprpc.Secret{Password: token.Password(m.tokens.key, identifier), User: t.Owner, RealUser: t.RealUser, Kind: token.KindDelegation}, nil
}

// masterSecret finds which attempt the bearer of a master's token is.
func (m *Manager) masterSecret(ctx context.Context, identifier []byte) (hadooprpc.Secret, error) {
	t, err := token.ParseAMRM(identifier)
	if err != nil {
		return hadooprpc.Secret{}, hadooprpc.Errorf(hadooprpc.InvalidToken, "%v", err)
	}
	if err := m.wait(ctx); err != nil {
		return hadooprpc.Secret{}, err
	}
	a := m.find(t.Attempt.Application)
	if a == nil {
		return hadooprpc.Secret{}, hadooprpc.Errorf(hadooprpc.InvalidToken, "%s not found in AMRMTokenSecretManager.", t.Attempt)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.current()
	if x == nil || x.id != t.Attempt || a.keys.AMRM == nil || t.KeyID != token.KeyID || isOver(x.state) && !x.unregistered {
		return hadooprpc.Secret{}, hadooprpc.Errorf(hadooprpc.InvalidToken, "%s not found in AMRMTokenSecretManager.", t.Attempt)
	}
	return hadooprpc.Secret{Password: token.Password(a.keys.AMRM, identifier), User: t.User(), Kind: token.KindAMRM, Value: t}, nil
}
