package resourcemanager

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/resourcemanager/record"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
)

const (
	// recordKind is what the job is called whose framework keeps what happened to delegation tokens.
	recordKind = "yarn-tokens"
	recordName = "delegation tokens that were renewed or cancelled"
	// recordLife is how long the broker keeps it after it was last touched: by then every token that it names has ended.
	recordLife = tokenLife + time.Hour
)

// tokenRecord keeps marks in the broker: the saved state of a framework that has no tasks, and a session only while it is
// read or written. There is none before a token was renewed or cancelled. Whoever may register a framework could make one
// that looks like it; a state without the right proof is no record.
type tokenRecord struct {
	broker    api.Broker
	key       []byte
	framework string // "": none is known
}

// read finds the record and what it says; without one that is nothing.
func (r *tokenRecord) read(ctx context.Context) (map[tokenDigest]mark, error) {
	q := &v1.ListJobsRequest{PageSize: 1000, Phases: []v1.JobPhase{v1.JobPhase_JOB_PHASE_RUNNING}}
	for {
		list, err := r.broker.ListJobs(ctx, operator, q)
		if err != nil {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
		for _, j := range list.Jobs { // newest first
			if j.Kind != recordKind || j.FrameworkId == "" {
				continue
			}
			s, x, err := r.open(ctx, j.FrameworkId)
			if errors.Is(err, api.ErrNotFound) {
				continue // it has ended since
			}
			if err != nil {
				return nil, err
			}
			_ = s.Close()
			if marks, err := r.unseal(x.State); err == nil {
				r.framework = j.FrameworkId
				return marks, nil
			}
		}
		if q.PageToken = list.NextPageToken; q.PageToken == "" {
			return map[tokenDigest]mark{}, nil
		}
	}
}

// write makes marks durable.
func (r *tokenRecord) write(ctx context.Context, marks map[tokenDigest]mark) error {
	s, x, err := r.open(ctx, r.framework)
	if errors.Is(err, api.ErrNotFound) && r.framework != "" {
		s, x, err = r.open(ctx, "") // somebody has killed its job
	}
	if err != nil {
		return err
	}
	defer s.Close()
	r.framework = x.FrameworkId
	version := x.StateVersion + 1
	if err := submitCall(ctx, s, &v1.FrameworkCall{Call: &v1.FrameworkCall_SaveState{SaveState: &v1.SaveState{Version: version, State: r.seal(marks)}}}); err != nil {
		return err
	}
	return await(ctx, s, func(e *v1.FrameworkEvent) bool { return e.GetStateSaved().GetVersion() == version })
}

// open begins a session of the framework; "" makes a new one.
func (r *tokenRecord) open(ctx context.Context, framework string) (api.FrameworkSession, *v1.FrameworkRegistered, error) {
	s, err := r.broker.OpenFramework(ctx, operator)
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	q := &v1.RegisterFramework{FrameworkId: framework, FailoverNanos: int64(recordLife), Kind: recordKind}
	if framework == "" {
		q.Name, q.User = recordName, operator.User
	}
	err = submitCall(ctx, s, &v1.FrameworkCall{Call: &v1.FrameworkCall_Register{Register: q}})
	var x *v1.FrameworkRegistered
	if err == nil {
		err = await(ctx, s, func(e *v1.FrameworkEvent) bool {
			x = e.GetRegistered()
			return x != nil
		})
	}
	if err != nil {
		_ = s.Close()
		return nil, nil, fmt.Errorf("register: %w", err)
	}
	return s, x, nil
}

// submitCall hands over a call as soon as the broker takes it.
func submitCall(ctx context.Context, s api.FrameworkSession, c *v1.FrameworkCall) error {
	for {
		err := s.Send(c)
		if !errors.Is(err, api.ErrUnavailable) || s.Err() != nil {
			return err
		}
		if !sleep(ctx, resend) {
			return ctx.Err()
		}
	}
}

// await takes events until one is what is waited for.
func await(ctx context.Context, s api.FrameworkSession, is func(*v1.FrameworkEvent) bool) error {
	for {
		select {
		case e, ok := <-s.Events():
			switch {
			case !ok && s.Err() != nil:
				return s.Err()
			case !ok:
				return api.ErrSessionEnded
			case is(e):
				return nil
			case e.GetRefused() != nil && !e.GetRefused().Fatal: // a fatal one ends the session, which tells the error's kind
				return fmt.Errorf("the broker refused %s: %s", e.GetRefused().Call, e.GetRefused().Message)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// seal writes marks, with a proof.
func (r *tokenRecord) seal(marks map[tokenDigest]mark) []byte {
	x := &record.Delegations{}
	for i, k := range marks {
		x.Tokens = append(x.Tokens, &record.Delegation{Identifier: i[:], UntilUnixMillis: k.until.UnixMilli(), Cancelled: k.cancelled})
	}
	slices.SortFunc(x.Tokens, func(a, b *record.Delegation) int {
		return cmp.Or(cmp.Compare(a.UntilUnixMillis, b.UntilUnixMillis), bytes.Compare(a.Identifier, b.Identifier))
	})
	x.Proof = r.proof(x)
	b, _ := proto.Marshal(x) // it holds no text that could be wrong
	return b
}

func (r *tokenRecord) proof(x *record.Delegations) []byte {
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(&record.Delegations{Tokens: x.Tokens})
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte("record of delegation tokens"))
	h.Write(b)
	return h.Sum(nil)
}

// unseal reads what seal wrote.
func (r *tokenRecord) unseal(b []byte) (map[tokenDigest]mark, error) {
	x := &record.Delegations{}
	if err := proto.Unmarshal(b, x); err != nil {
		return nil, fmt.Errorf("record of delegation tokens: %w", err)
	}
	if !hmac.Equal(x.Proof, r.proof(x)) {
		return nil, errors.New("record of delegation tokens: its proof is wrong")
	}
	marks := make(map[tokenDigest]mark, len(x.Tokens))
	for _, t := range x.Tokens {
		if len(t.Identifier) != len(tokenDigest{}) {
			return nil, fmt.Errorf("record of delegation tokens: an identifier of %d bytes", len(t.Identifier))
		}
		marks[tokenDigest(t.Identifier)] = mark{until: time.UnixMilli(t.UntilUnixMillis), cancelled: t.Cancelled}
	}
	return marks, nil
}
