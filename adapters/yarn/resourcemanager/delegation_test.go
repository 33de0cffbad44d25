package resourcemanager

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/resourcemanager/record"
	v1 "fairway/broker/api/fairwayv1"
)

// tokenOf is a delegation token of ann's that bob renews.
func (r *rig) tokenOf(now time.Time) writable.Token {
	return r.m.tokens.issue(as("ann"), "bob", "rm:8032", now)
}

// tokenState says how a bearer of a token fares at some time.
func (r *rig) tokenState(t writable.Token, now time.Time) string {
	r.t.Helper()
	if err := r.m.tokens.load(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	_, err := r.m.tokens.find(t.Identifier, now)
	switch {
	case err == nil:
		return "valid"
	case class(err) == hadooprpc.InvalidToken:
		return err.Error()[len(err.Error())-len("expired"):]
	}
	return err.Error()
}

const (
	expired   = "expired"
	cancelled = "n cache" // can't be found in cache
)

// kept are the marks in the broker's record.
func (r *rig) kept() []*record.Delegation {
	r.t.Helper()
	st, err := r.journal.Lead(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	var last *record.Delegations
	for f := range st.Frameworks() {
		if len(f.Saved) == 0 || f.HasEnded {
			continue
		}
		x := &record.Delegations{}
		if err := proto.Unmarshal(f.Saved, x); err != nil {
			r.t.Fatal(err)
		}
		last = x
	}
	return last.GetTokens()
}

// What happened to delegation tokens survives the broker: one that was cancelled stays so, one that was renewed is valid for
// so long and not longer, one that was not ends after its first day.
func TestTokensOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		now := time.Now()
		plain, renewed, gone := r.tokenOf(now), r.tokenOf(now), r.tokenOf(now)
		at := now.Add(20 * time.Hour)
		if until, err := r.m.tokens.renew("bob", renewed, at); err != nil || !until.Equal(at.Add(tokenRenewal)) {
			t.Fatalf("renewed until %v, %v", until, err)
		}
		if err := r.m.tokens.cancel("ann", gone, at); err != nil {
			t.Fatal(err)
		}
		if jobs, _ := r.broker.ListJobs(context.Background(), operator, &v1.ListJobsRequest{}); len(jobs.Jobs) != 1 || jobs.Jobs[0].Kind != recordKind {
			t.Errorf("jobs: %v", jobs)
		}
		for range 2 {
			for _, c := range []struct {
				what  string
				token writable.Token
				after time.Duration
				want  string
			}{
				{"plain", plain, 23 * time.Hour, "valid"}, {"plain", plain, 25 * time.Hour, expired},
				{"renewed", renewed, 43 * time.Hour, "valid"}, {"renewed", renewed, 45 * time.Hour, expired},
				{"cancelled", gone, 21 * time.Hour, cancelled}, {"cancelled", gone, 8 * 24 * time.Hour, cancelled},
			} {
				if got := r.tokenState(c.token, now.Add(c.after)); got != c.want {
					t.Errorf("%s, after %v: %q, want %q", c.what, c.after, got, c.want)
				}
			}
			if _, err := r.m.clientSecret(context.Background(), gone.Identifier); class(err) != hadooprpc.InvalidToken {
				t.Errorf("the bearer of a cancelled token: %v", err)
			}
			if _, err := r.m.clientSecret(context.Background(), plain.Identifier); err != nil {
				t.Errorf("the bearer of a plain token: %v", err)
			}
			if err := r.m.tokens.cancel("ann", gone, at); class(err) != hadooprpc.InvalidToken {
				t.Errorf("cancelled again: %v", err)
			}
			if _, err := r.m.tokens.renew("bob", gone, at); class(err) != hadooprpc.InvalidToken {
				t.Errorf("renewed after it was cancelled: %v", err)
			}
			r.restart()
		}
		// What has ended by itself is dropped when something else is written.
		if n := len(r.kept()); n != 2 {
			t.Errorf("%d tokens are kept", n)
		}
		later := now.Add(30 * 24 * time.Hour)
		last := r.tokenOf(later)
		if err := r.m.tokens.cancel("bob", last, later); err != nil {
			t.Fatal(err)
		}
		if n := len(r.kept()); n != 1 {
			t.Errorf("%d tokens are kept when the others' end has come", n)
		}
	})
}

// A cancellation is answered when it is durable, and one that a crash undoes was not answered well.
func TestCancellationIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		first, second := r.tokenOf(time.Now()), r.tokenOf(time.Now())
		if err := r.m.tokens.cancel("ann", first, time.Now()); err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		for _, durable := range []bool{false, true} {
			r.journal.hold()
			go func() { answered <- r.m.tokens.cancel("ann", second, time.Now()) }()
			synctest.Wait()
			select {
			case err := <-answered:
				t.Fatalf("answered before it is durable: %v", err)
			default:
			}
			if durable {
				r.journal.release()
				synctest.Wait()
			}
			r.restart()
			if err := <-answered; (err == nil) != durable || err != nil && class(err) != hadooprpc.RetriableException {
				t.Errorf("durable %v, answered %v", durable, err)
			}
			want := "valid"
			if durable {
				want = cancelled
			}
			if got := r.tokenState(second, time.Now()); got != want || r.tokenState(first, time.Now()) != cancelled {
				t.Errorf("durable %v: the token is %s", durable, got)
			}
		}
	})
}

// Only who may renew or cancel does, only with the proof, and only so many are kept.
func TestTokensAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		now := time.Now()
		tok := r.tokenOf(now)
		if _, err := r.m.tokens.renew("ann", tok, now); class(err) != hadooprpc.AccessControlException {
			t.Errorf("renewed by its owner: %v", err)
		}
		if err := r.m.tokens.cancel("eve", tok, now); class(err) != hadooprpc.AccessControlException {
			t.Errorf("cancelled by a stranger: %v", err)
		}
		forged := tok
		forged.Password = make([]byte, len(tok.Password))
		if err := r.m.tokens.cancel("ann", forged, now); class(err) != hadooprpc.InvalidToken {
			t.Errorf("cancelled without the proof: %v", err)
		}
		r.m.tokens.mu.Lock()
		for i := range maxMarks {
			r.m.tokens.marks[tokenDigest{byte(i), byte(i >> 8), byte(i >> 16)}] = mark{until: now.Add(tokenLife), cancelled: true}
		}
		r.m.tokens.mu.Unlock()
		if n := len(r.m.tokens.record.seal(r.m.tokens.marks)); n > 1<<20 {
			t.Errorf("a full record takes %d bytes; the broker keeps 1 MiB", n)
		}
		if err := r.m.tokens.cancel("ann", tok, now); class(err) != hadooprpc.YarnException {
			t.Errorf("one more than are kept: %v", err)
		}
		if err := r.m.tokens.cancel("ann", r.tokenOf(now.Add(tokenLife)), now.Add(tokenLife+time.Second)); err != nil {
			t.Errorf("when the others have ended: %v", err)
		}
	})
}

// The record's job is killed: what is known goes into a new one. A framework that only looks like the record is not believed.
func TestRecordOfTokensIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		now := time.Now()
		first, second := r.tokenOf(now), r.tokenOf(now)
		if err := r.m.tokens.cancel("ann", first, now); err != nil {
			t.Fatal(err)
		}
		jobs, _ := r.broker.ListJobs(context.Background(), operator, &v1.ListJobsRequest{})
		if _, err := r.broker.KillJob(context.Background(), operator, jobs.Jobs[0].Id, "tidy"); err != nil {
			t.Fatal(err)
		}
		r.sleep(5 * time.Minute)
		if err := r.m.tokens.cancel("ann", second, now); err != nil {
			t.Fatal(err)
		}
		// Somebody who knows neither key nor tokens, newer than the record.
		impostor := tokenRecord{broker: r.broker, key: []byte("another key")}
		if err := impostor.write(context.Background(), map[tokenDigest]mark{digestOf(second.Identifier): {until: now.Add(tokenLife)}}); err != nil {
			t.Fatal(err)
		}
		r.restart()
		for _, tok := range []writable.Token{first, second} {
			if got := r.tokenState(tok, now); got != cancelled {
				t.Errorf("a cancelled token is %s", got)
			}
		}
	})
}

// FuzzTokenRecord: no state is believed without its proof, and one with it is what was sealed.
func FuzzTokenRecord(f *testing.F) {
	r := tokenRecord{key: []byte("0123456789abcdef")}
	marks := map[tokenDigest]mark{{1}: {until: time.UnixMilli(1_800_000_000_000), cancelled: true}, {2}: {until: time.UnixMilli(1_800_000_000_001)}}
	good := r.seal(marks)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	short, _ := proto.Marshal(&record.Delegations{Tokens: []*record.Delegation{{Identifier: []byte{1}}}})
	f.Add(short)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := r.unseal(b)
		if err != nil {
			return
		}
		again, err := r.unseal(r.seal(got))
		if err != nil || len(again) != len(got) {
			t.Errorf("%d marks, then %d: %v", len(got), len(again), err)
		}
	})
}

func TestTokenRecord(t *testing.T) {
	r := tokenRecord{key: []byte("0123456789abcdef")}
	marks := map[tokenDigest]mark{{1}: {until: time.UnixMilli(5), cancelled: true}, {2}: {until: time.UnixMilli(6)}}
	got, err := r.unseal(r.seal(marks))
	if err != nil || len(got) != 2 || got[tokenDigest{1}] != marks[tokenDigest{1}] || got[tokenDigest{2}] != marks[tokenDigest{2}] {
		t.Errorf("%v, %v", got, err)
	}
	x := &record.Delegations{Tokens: []*record.Delegation{{Identifier: []byte{1, 2}}}}
	x.Proof = r.proof(x)
	b, _ := proto.Marshal(x)
	if _, err := r.unseal(b); err == nil {
		t.Error("an identifier of two bytes is taken")
	}
	if _, err := (&tokenRecord{key: []byte("other")}).unseal(r.seal(marks)); err == nil {
		t.Error("a record of another key is taken")
	}
	if _, err := r.unseal(nil); err == nil || errors.Is(err, proto.Error) {
		t.Errorf("nothing at all: %v", err)
	}
}
