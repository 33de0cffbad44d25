package resourcemanager

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/token"
	"fairway/broker/api"
)

const (
	tokenRenewal  = 24 * time.Hour // yarn.resourcemanager.delegation.token.renew-interval
	tokenLife     = 7 * 24 * time.Hour
	maxMarks      = 20_000           // renewed and cancelled tokens whose end has not come: some 30 bytes each, of a state of 1 MiB
	tokenPatience = 20 * time.Second // that a renewal or cancellation may take to become durable
	saidNoRenewal = "%s tries to renew a token with renewer %s"
)

// delegations issues RM delegation tokens and knows them again. A token's identifier and proof are all there is of it, so
// that only what happened to it later must be kept: until when it was renewed, and that it was cancelled. Both are durable
// before they are answered.
type delegations struct {
	key      []byte
	sequence atomic.Int32
	record   tokenRecord
	writing  chan struct{} // holds one while the record is read or written

	mu    sync.Mutex
	marks map[tokenDigest]mark // nil: not read yet
}

// tokenDigest stands for an identifier.
type tokenDigest [16]byte

func digestOf(identifier []byte) tokenDigest {
	sum := sha256.Sum256(identifier)
	return tokenDigest(sum[:16])
}

// mark is what a token does not say itself.
type mark struct {
	until     time.Time // it is valid so long; cancelled: it would have been at the most
	cancelled bool
}

func newDelegations(key []byte, broker api.Broker) *delegations {
	d := &delegations{key: key, record: tokenRecord{broker: broker, key: key}, writing: make(chan struct{}, 1)}
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

// find is the token of an identifier that is valid now. The marks must have been read.
func (d *delegations) find(identifier []byte, now time.Time) (token.Delegation, error) {
	t, err := token.ParseDelegation(identifier)
	if err != nil {
		return t, hadooprpc.Errorf(hadooprpc.InvalidToken, "%v", err)
	}
	d.mu.Lock()
	k, marked := d.marks[digestOf(identifier)]
	d.mu.Unlock()
	expiry := t.Issued.Add(tokenRenewal)
	if marked {
		expiry = k.until
	}
	switch {
	case k.cancelled:
		return t, hadooprpc.Errorf(hadooprpc.InvalidToken, "token (RM_DELEGATION_TOKEN token %d for %.64s) can't be found in cache", t.Sequence, t.Owner)
	case now.After(expiry) || now.After(t.Max):
		return t, hadooprpc.Errorf(hadooprpc.InvalidToken, "token (RM_DELEGATION_TOKEN token %d for %.64s) is expired", t.Sequence, t.Owner)
	}
	return t, nil
}

// change finds a token and makes durable what decide says of it.
func (d *delegations) change(t writable.Token, now time.Time, decide func(token.Delegation) (mark, error)) (mark, error) {
	x, err := token.ParseDelegation(t.Identifier)
	if err != nil {
		return mark{}, hadooprpc.Errorf(hadooprpc.InvalidToken, "%v", err)
	}
	if !token.Check(d.key, t.Identifier, t.Password) {
		return mark{}, hadooprpc.Errorf(hadooprpc.InvalidToken, "token (RM_DELEGATION_TOKEN token %d for %.64s): its password is wrong", x.Sequence, x.Owner)
	}
	ctx, cancel := context.WithTimeout(context.Background(), tokenPatience)
	defer cancel()
	if err := d.begin(ctx); err != nil {
		return mark{}, err
	}
	defer d.end()
	if err := d.read(ctx); err != nil {
		return mark{}, err
	}
	if x, err = d.find(t.Identifier, now); err != nil {
		return mark{}, err
	}
	k, err := decide(x)
	if err != nil {
		return mark{}, err
	}
	next := map[tokenDigest]mark{}
	d.mu.Lock()
	for i, old := range d.marks {
		if !now.After(old.until) { // else its end has come without a mark too
			next[i] = old
		}
	}
	d.mu.Unlock()
	next[digestOf(t.Identifier)] = k
	if len(next) > maxMarks {
		return mark{}, hadooprpc.Errorf(hadooprpc.YarnException, "too many tokens were renewed or cancelled; this one ends by itself, at %s at the latest",
			x.Max.UTC().Format(time.RFC3339))
	}
	if err := d.record.write(ctx, next); err != nil {
		return mark{}, hadooprpc.Errorf(hadooprpc.RetriableException, "it could not be written down: %v", err)
	}
	d.mu.Lock()
	d.marks = next
	d.mu.Unlock()
	return k, nil
}

// renew is the new expiry of a token.
func (d *delegations) renew(who string, t writable.Token, now time.Time) (time.Time, error) {
	k, err := d.change(t, now, func(x token.Delegation) (mark, error) {
		if x.Renewer == "" || shortName(x.Renewer) != who {
			return mark{}, hadooprpc.Errorf(hadooprpc.AccessControlException, saidNoRenewal, who, x.Renewer)
		}
		until := now.Add(tokenRenewal)
		if until.After(x.Max) {
			until = x.Max
		}
		return mark{until: until}, nil
	})
	return k.until, err
}

// cancel ends a token.
func (d *delegations) cancel(who string, t writable.Token, now time.Time) error {
	_, err := d.change(t, now, func(x token.Delegation) (mark, error) {
		if who != shortName(x.Owner) && who != shortName(x.Renewer) {
			return mark{}, hadooprpc.Errorf(hadooprpc.AccessControlException, "%s is not authorized to cancel the token %d of %s", who, x.Sequence, x.Owner)
		}
		return mark{until: x.Max, cancelled: true}, nil
	})
	return err
}

// begin has the record for itself until end.
func (d *delegations) begin(ctx context.Context) error {
	select {
	case d.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return hadooprpc.Errorf(hadooprpc.RetriableException, "the record of delegation tokens is busy: %v", ctx.Err())
	}
}

func (d *delegations) end() { <-d.writing }

// load reads the marks, once.
func (d *delegations) load(ctx context.Context) error {
	d.mu.Lock()
	known := d.marks != nil
	d.mu.Unlock()
	if known {
		return nil
	}
	if err := d.begin(ctx); err != nil {
		return err
	}
	defer d.end()
	return d.read(ctx)
}

// read is load between begin and end.
func (d *delegations) read(ctx context.Context) error {
	d.mu.Lock()
	known := d.marks != nil
	d.mu.Unlock()
	if known {
		return nil
	}
	marks, err := d.record.read(ctx)
	if err != nil {
		return hadooprpc.Errorf(hadooprpc.RetriableException, "the record of delegation tokens cannot be read: %v", err)
	}
	d.mu.Lock()
	d.marks = marks
	d.mu.Unlock()
	return nil
}

// clientSecret finds who the bearer of a delegation token is.
func (m *Manager) clientSecret(ctx context.Context, identifier []byte) (hadooprpc.Secret, error) {
	if err := m.wait(ctx); err != nil {
		return hadooprpc.Secret{}, err
	}
	if err := m.tokens.load(ctx); err != nil {
		return hadooprpc.Secret{}, err
	}
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
