package resourcemanager

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
)

// Bounds of a submission. The broker keeps 1 MiB for a framework; what grows with an application's life needs the rest.
const (
	maxSubmission = 1<<20 - 192<<10 // bytes of the context, credentials included
	maxName       = 1024            // bytes
	maxUser       = 64
	maxTags       = 10 // YARN's own bounds of tags: RMAppManager and ApplicationSubmissionContextPBImpl
	maxTag        = 100
	maxKind       = 20
	maxMasterRows = 256
)

// shortName is the account of a caller's name: alice of alice/host@REALM.
func shortName(name string) string {
	if i := strings.IndexAny(name, "/@"); i >= 0 {
		name = name[:i]
	}
	return name
}

// caller is who calls, as far as names go.
func caller(c *hadooprpc.Caller) Caller {
	x := Caller{User: shortName(c.User)}
	if c.Remote != nil {
		x.Remote = c.Remote.String()
	}
	return x
}

func checkUser(name string) error {
	if name == "" || len(name) > maxUser || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == '\\' || r == 0x7f || r == utf8.RuneError }) ||
		name == "." || name == ".." || strings.HasPrefix(name, "-") {
		return hadooprpc.Errorf(hadooprpc.AccessControlException, "%.80q is no user name", name)
	}
	return nil
}

// submit takes an application, or says why not. A known id is success, as the client may not have heard the first answer.
func (m *Manager) submit(ctx context.Context, who Caller, x *wire.ApplicationSubmissionContextProto) error {
	i, err := id.ApplicationFrom(x.GetApplicationId())
	if err != nil {
		return hadooprpc.Errorf(hadooprpc.YarnException, "the submission has no application id: %v", err)
	}
	if stamp := m.stamp.Load(); i.Timestamp > stamp || i.Timestamp == stamp && i.Number > m.number.Load() {
		return hadooprpc.Errorf(hadooprpc.YarnException, "the application id %s was never given: getNewApplication gives one", i)
	}
	if a := m.find(i); a != nil {
		if a.user != who.User {
			return hadooprpc.Errorf(hadooprpc.YarnException, "Application with id %s is already present! Cannot add a duplicate!", i)
		}
		return a.awaitSubmitted(ctx)
	}
	a, err := m.prepare(i, who, x)
	if err != nil {
		return err
	}
	q, err := m.chooseQueue(ctx, i, who, x.GetQueue())
	if err != nil {
		return err
	}
	a.queue = q
	m.mu.Lock()
	if other := m.apps[i]; other != nil {
		m.mu.Unlock()
		return other.awaitSubmitted(ctx)
	}
	m.apps[i] = a
	m.mu.Unlock()
	if err := m.launch(a); err != nil {
		m.drop(a)
		return err
	}
	err = a.awaitSubmitted(ctx)
	a.mu.Lock()
	refused := a.refused
	a.mu.Unlock()
	if refused != nil {
		m.drop(a)
		return hadooprpc.Errorf(hadooprpc.YarnException, "Failed to submit %s: %v", i, refused)
	}
	if err != nil {
		return err // it goes on; the client asks again
	}
	m.count(wire.YarnApplicationStateProto_SUBMITTED)
	a.log.Info("an application was submitted", zap.Stringer("application", i), zap.String("user", a.user), zap.String("queue", q.name), zap.String("name", a.name))
	return nil
}

func (m *Manager) drop(a *application) {
	a.mu.Lock()
	m.masters.release(m, a)
	a.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.apps[a.id] == a {
		delete(m.apps, a.id)
	}
}

// awaitSubmitted waits until the submission is durable.
func (a *application) awaitSubmitted(ctx context.Context) error {
	for {
		a.mu.Lock()
		done, refused, changed := a.durable > 0 || a.ended, a.refused, a.await()
		a.mu.Unlock()
		switch {
		case refused != nil:
			return hadooprpc.Errorf(hadooprpc.YarnException, "Failed to submit %s: %v", a.id, refused)
		case done:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-a.m.over:
			return hadooprpc.Errorf(hadooprpc.RetriableException, "the resource manager stops")
		}
	}
}

// chooseQueue is the queue that a submission names, if it takes it.
func (m *Manager) chooseQueue(ctx context.Context, i id.ApplicationID, who Caller, name string) (*queue, error) {
	if len(name) > maxName {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "a queue's name of %d bytes", len(name))
	}
	q := m.cluster().findQueue(name)
	if q == nil {
		// It may be new.
		if err := m.refresh(ctx); err != nil {
			return nil, hadooprpc.Errorf(hadooprpc.RetriableException, "the broker does not answer: %v", err)
		}
		q = m.cluster().findQueue(name)
	}
	if q == nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Application %s submitted by user %s to unknown queue: %s", i, who.User, cmp.Or(name, "default"))
	}
	if err := m.mayTake(q, who.User, i.String(), m.liveIn(q.role)); err != nil {
		return nil, err
	}
	return q, nil
}

// prepare checks a submission and makes the application of it.
func (m *Manager) prepare(i id.ApplicationID, who Caller, x *wire.ApplicationSubmissionContextProto) (*application, error) {
	if err := checkUser(who.User); err != nil {
		return nil, err
	}
	if n := proto.Size(x); n > maxSubmission {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException,
			"the submission of %s takes %d bytes and at most %d are kept: its environment, resources and credentials are too many", i, n, maxSubmission)
	}
	if !utf8Clean(x.GetApplicationName(), x.GetApplicationType()) || len(x.GetApplicationName()) > maxName {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "the name of %s is longer than %d bytes, or no text", i, maxName)
	}
	if x.GetReservationId() != nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "%s", saidNoReservations)
	}
	a := newApplication(m)
	a.id, a.user, a.name = i, who.User, cmp.Or(x.GetApplicationName(), "N/A")
	a.kind = cut(cmp.Or(x.GetApplicationType(), "YARN"), maxKind)
	a.submitted, a.submission = time.Now(), proto.Clone(x).(*wire.ApplicationSubmissionContextProto)
	a.priority = max(x.GetPriority().GetPriority(), 0)
	if len(x.GetApplicationTags()) > maxTags {
		return nil, hadooprpc.Errorf(hadooprpc.IllegalArgument, "Too many applicationTags, a maximum of only %d are allowed!", maxTags)
	}
	for _, tag := range x.GetApplicationTags() {
		if len(tag) > maxTag {
			return nil, hadooprpc.Errorf(hadooprpc.IllegalArgument, "Tag %.100s is too long, maximum allowed length of a tag is %d", tag, maxTag)
		}
		if strings.ContainsFunc(tag, func(r rune) bool { return r > 0x7e || r < 0x20 }) {
			return nil, hadooprpc.Errorf(hadooprpc.IllegalArgument, "A tag can only have ASCII characters! Invalid tag - %.100q", tag)
		}
		a.tags = append(a.tags, strings.ToLower(tag))
	}
	for _, t := range x.GetApplicationTimeouts() {
		if t.GetTimeout() <= 0 {
			return nil, hadooprpc.Errorf(hadooprpc.IllegalArgument, "Invalid application timeout, value=%d for type=LIFETIME", t.GetTimeout())
		}
		a.expires = a.submitted.Add(time.Duration(min(t.GetTimeout(), int64(10*365*24*time.Hour/time.Second))) * time.Second)
	}
	if err := a.checkLabels(); err != nil {
		return nil, err
	}
	if err := a.adopt(); err != nil {
		return nil, err
	}
	if kind := a.shape.exceeds(m.cluster().largest); kind != "" && !a.isUnmanaged {
		return nil, m.tooLarge(kind, a.shape)
	}
	a.startAttempt()
	a.nextTask, a.current().first = 1, 1
	return a, nil
}

func utf8Clean(all ...string) bool {
	for _, s := range all {
		if !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

// adopt takes from the submission what follows from it alone.
func (a *application) adopt() error {
	x, m := a.submission, a.m
	a.isUnmanaged, a.keep = x.GetUnmanagedAm(), x.GetKeepContainersAcrossApplicationAttempts()
	if a.kind == sparkType {
		wish, err := m.o.Spark.With(a.tags)
		if err != nil {
			return hadooprpc.Errorf(hadooprpc.IllegalArgument, "%v", err)
		}
		a.wish = wish
	}
	a.adoptLabels()
	a.viewers = viewACL(x)
	a.limit = m.o.MaxAttempts
	if n := int(x.GetMaxAppAttempts()); n > 0 {
		a.limit = min(n, m.o.MaxAttempts)
	}
	if v := x.GetAttemptFailuresValidityInterval(); v > 0 {
		a.validity = time.Duration(min(v, int64(30*24*time.Hour/time.Millisecond))) * time.Millisecond
	}
	if a.isUnmanaged {
		a.shape = amount{}.normal(m.o.MinimumMemory)
		return nil
	}
	want := x.GetResource()
	if rows := x.GetAmContainerResourceRequest(); len(rows) > 0 {
		if len(rows) > maxMasterRows {
			return hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "%d requests for one master", len(rows))
		}
		want = nil
		for _, r := range rows {
			if len(r.GetResourceName()) > maxPlaceName || !utf8Clean(r.GetResourceName()) {
				return hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid resource request, resource name %.64q", r.GetResourceName())
			}
			if r.GetResourceName() == anywhere {
				want = r.GetCapability()
			}
		}
	}
	if want == nil {
		return hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid resource request, no resource request specified with *")
	}
	raw, err := amountFrom(want)
	if err != nil {
		return unreadable(err)
	}
	a.shape = raw.normal(m.o.MinimumMemory)
	if most := m.cluster().largest.memory; a.shape.memory > most && raw.memory <= most {
		a.shape.memory = most // the last step up may be more than any node has
	}
	if _, err := writable.ParseCredentials(x.GetAmContainerSpec().GetTokens()); err != nil {
		return hadooprpc.Errorf(hadooprpc.YarnException, "the credentials of %s cannot be read: %v", a.id, err)
	}
	if len(x.GetAmContainerSpec().GetCommand()) == 0 {
		return hadooprpc.Errorf(hadooprpc.YarnException, "the submission of %s has no command to run", a.id)
	}
	return nil
}

func unreadable(err error) error {
	return hadooprpc.Errorf(hadooprpc.InvalidResourceRequest, "Invalid resource request! Cannot allocate containers as requested resource is less than 0, or cannot be read: %v", err)
}

// tooLarge says in YARN's words that no node has so much.
func (m *Manager) tooLarge(kind string, a amount) error {
	most := m.cluster().largest
	return hadooprpc.Errorf(hadooprpc.InvalidResourceRequest,
		"Invalid resource request! Cannot allocate containers as requested resource is greater than maximum allowed allocation. Requested resource type=[%s], "+
			"Requested resource=%s, maximum allowed allocation=%s, please note that maximum allowed allocation is calculated by scheduler based on maximum resource of "+
			"registered NodeManagers, which might be less than configured maximum allocation=%s", kind, a, most, most)
}

// checkAmount takes a capability, rounded up, if some node could hold it.
func (m *Manager) checkAmount(p *wire.ResourceProto) (amount, error) {
	raw, err := amountFrom(p)
	if err != nil {
		return raw, unreadable(err)
	}
	most := m.cluster().largest
	if kind := raw.exceeds(most); kind != "" {
		return raw, m.tooLarge(kind, raw)
	}
	a := raw.normal(m.o.MinimumMemory)
	a.memory = min(a.memory, max(most.memory, raw.memory)) // the last step up may be more than any node has
	return a, nil
}

const (
	saidNoReservations = "Reservation is not enabled. Please enable & try again"
)

// saidProfiles is what YARN says where profiles are off: ResourceProfilesManagerImpl.
const saidProfiles = "Resource profile is not enabled, please enable resource profile feature before using its functions. (by setting yarn.resourcemanager.resource-profiles.enabled to true)"

// kill ends an application on behalf of a caller, and says whether it has ended.
func (m *Manager) kill(ctx context.Context, who Caller, i id.ApplicationID, diagnostics string) (bool, error) {
	if err := m.wait(ctx); err != nil {
		return false, err
	}
	a := m.find(i)
	if a == nil {
		return false, hadooprpc.Errorf(hadooprpc.ApplicationNotFound, "Trying to kill an absent application %s", i)
	}
	a.mu.Lock()
	if err := a.checkModify(who.User); err != nil {
		a.mu.Unlock()
		return false, err
	}
	if a.ended || a.isFinal() && !a.unended() {
		a.mu.Unlock()
		return true, nil
	}
	why := fmt.Sprintf("Application %s was killed by user %s", i, who.User)
	if who.Remote != "" {
		host := who.Remote
		if j := strings.LastIndexByte(host, ':'); j > 0 {
			host = host[:j]
		}
		why += " at " + host
	}
	if diagnostics != "" {
		why += " with diagnostic message: " + bounded(diagnostics)
	}
	a.terminate(why)
	a.mu.Unlock()
	return a.awaitEnd(ctx, time.Second)
}

// unended tells whether a final state is not durable yet.
func (a *application) unended() bool { return a.closing && !a.ended }

// awaitEnd waits for the end to be durable, at most for so long.
func (a *application) awaitEnd(ctx context.Context, most time.Duration) (bool, error) {
	t := time.NewTimer(most)
	defer t.Stop()
	for {
		a.mu.Lock()
		done, changed := a.ended, a.await()
		a.mu.Unlock()
		if done {
			return true, nil
		}
		select {
		case <-changed:
		case <-t.C:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
