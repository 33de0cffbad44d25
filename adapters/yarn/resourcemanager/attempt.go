package resourcemanager

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/token"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"

	"go.uber.org/zap"
)

const (
	// masterPriority puts the request for a master before all that it could have asked for itself.
	masterPriority = 1 << 30
	// killGrace is how long a container has between SIGTERM and SIGKILL: yarn.nodemanager.sleep-delay-before-sigkill.ms.
	killGrace = 250 * time.Millisecond
	// restartPause is how long the next attempt waits after one that ended for no fault of its own.
	restartPause = time.Second
	// maxAttempts bounds the attempts of one application, those that do not count too.
	maxAttempts = 1000
)

// startAttempt begins the next run of the master.
func (a *application) startAttempt() *attempt {
	n := int32(1)
	if t := a.current(); t != nil {
		n = t.id.Number + 1
	}
	t := &attempt{
		id: id.AttemptID{Application: a.id, Number: n}, first: a.nextTask, state: wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_SCHEDULED, started: time.Now(),
		asks: newAskTable(), given: map[id.NodeID]bool{},
	}
	if len(a.attempts) >= 100 {
		a.attempts = a.attempts[1:] // a validity interval allows any number of them
	}
	a.attempts = append(a.attempts, t)
	a.state = wire.YarnApplicationStateProto_ACCEPTED
	if a.isUnmanaged {
		t.state, t.contact = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_LAUNCHED, t.started
	}
	return t
}

// askMaster asks for a place for the master, when the queue's share for masters has room.
func (a *application) askMaster() {
	t := a.current()
	if t == nil || t.masterAsk != 0 || t.master != nil || a.isUnmanaged || a.closing || t.state != wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_SCHEDULED {
		return
	}
	if !a.admitted && !a.m.masters.want(a.m, a) {
		return
	}
	a.admitted = true
	a.lastGroup++
	t.masterAsk = a.lastGroup
	s := a.m.cluster()
	g := &v1.RequestGroup{Id: t.masterAsk, Version: 1, Shape: a.shape.shape(), Priority: masterPriority, Total: 1, ExcludedAgents: s.split.excluded(a.masterLabel)}
	for _, r := range a.submission.GetAmContainerResourceRequest() {
		switch name := r.GetResourceName(); {
		case r.GetNumContainers() <= 0:
		case name == anywhere:
			g.Strict = !r.GetRelaxLocality()
		case strings.HasPrefix(name, "/"):
			if s.racks[name] && r.GetRelaxLocality() {
				g.Racks = append(g.Racks, &v1.RackWant{Rack: name, Count: 1})
			}
		default:
			w := &v1.HostWant{Host: strings.ToLower(name), Count: 1}
			if _, err := netip.ParseAddr(name); err == nil {
				w.Address = name
			}
			g.Hosts = append(g.Hosts, w)
		}
	}
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{Groups: []*v1.RequestGroup{g}, LastOffer: a.lastOffer}}})
}

// ask states what the master wants, as far as it has changed.
func (a *application) ask() {
	t := a.current()
	if t == nil || t.asks == nil || a.closing {
		return
	}
	s := a.m.cluster()
	var hosts []string
	for name := range t.excluded {
		if !strings.HasPrefix(name, "/") {
			hosts = append(hosts, name)
			continue
		}
		for _, n := range s.nodes {
			if n.Rack == name {
				hosts = append(hosts, n.host)
			}
		}
	}
	a.narrow(t)
	undelivered := a.undelivered(t)
	if u := t.asks.update(s.racks, hosts, s.split.excluded, undelivered, a.placer(s, t)); u != nil {
		for _, g := range u.Groups {
			g.NodeWaitNanos = int64(a.m.o.NodeWait)
			if t.gathers {
				a.atOnce(t, g, undelivered)
			}
		}
		u.LastOffer = a.lastOffer
		a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: u}})
	}
}

// undelivered are the containers that the master does not know of.
func (a *application) undelivered(t *attempt) []*container {
	out := t.ready
	for _, all := range a.accepted {
		out = append(out[:len(out):len(out)], all...)
	}
	return out
}

func (a *application) decline(o *v1.Offer, filter time.Duration) {
	d := &v1.DeclineOffers{Offers: []uint64{o.Id}, FilterNanos: -1}
	if filter > 0 {
		d.FilterNanos = int64(filter)
	}
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Decline{Decline: d}})
}

// offered accepts what is wanted of what the broker offers.
func (a *application) offered(offers []*v1.Offer) {
	t := a.current()
	few := a.tooFew(t, offers)
	for _, o := range offers {
		a.lastOffer = max(a.lastOffer, o.Id)
		where, err := id.ParseNode(o.Attributes[addressAttribute])
		switch {
		case err != nil:
			a.decline(o, time.Hour)
		case t == nil || a.closing || o.Count == 0:
			a.decline(o, 0)
		case !a.mayServe(t, o):
			a.decline(o, labelPause)
			a.m.askLook()
		case !a.fits(t.asks.byID[o.Group], o):
			a.decline(o, crossPause)
		case o.Group == t.masterAsk:
			a.accept(t, o, where, nil, 1)
		default:
			g := t.asks.byID[o.Group]
			if n := 0; g == nil || g.any.count <= 0 || few[o.Group] {
				a.decline(o, 0)
			} else {
				n = int(min(int64(o.Count), g.any.count))
				a.accept(t, o, where, g, n)
			}
		}
	}
}

// accept launches n containers on an offer; g is nil for the master.
func (a *application) accept(t *attempt, o *v1.Offer, where id.NodeID, g *askGroup, n int) {
	x := &v1.AcceptOffer{Offer: o.Id, Confirm: true}
	now := time.Now()
	all := make([]*container, 0, n)
	for range n {
		c := &container{
			task: a.nextTask, agent: o.AgentId, node: where, nodeHTTP: o.Attributes[httpAttribute], hosts: hostNames(where, o.Host, o.Addresses), rack: rackName(o.Rack),
			amount: a.shape, requestID: -1, isMaster: g == nil, created: now, label: o.Attributes[labelAttribute],
		}
		a.nextTask++
		if g == nil {
			t.first = c.task
			t.master, t.masterAsk, t.node, t.nodeHTTP = c, 0, c.node, c.nodeHTTP
		} else {
			c.amount, c.priority, c.requestID, c.group, c.asked = g.key.amount, g.key.priority, g.key.requestID, g.id, g.since
			c.placed = g.grant(c.hosts, c.rack, o.Locality)
			a.bear(g, c)
		}
		c.id = id.NewContainer(t.id, 0, int64(c.task-t.first+1))
		spec, err := a.spec(t, c)
		if err != nil {
			a.log.Error("a container cannot be launched", zap.Stringer("container", c.id), zap.Error(err))
			a.decline(o, 0)
			a.terminate("Application " + a.id.String() + " cannot be launched: " + err.Error())
			return
		}
		x.Tasks = append(x.Tasks, spec)
		a.containers[c.task] = c
		a.charge(c, 1)
		all = append(all, c)
	}
	if g == nil {
		t.masterID = t.master.id
		t.state = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_ALLOCATED_SAVING
	}
	a.accepted[o.Id] = all
	if g != nil && g.tag != nil {
		a.save(nil) // the tags are durable with the launch
	}
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Accept{Accept: x}})
}

// spec is the task of a container.
func (a *application) spec(t *attempt, c *container) (*v1.TaskSpec, error) {
	g := &grant.Grant{
		Application: a.id.String(), Attempt: t.id.String(), Container: c.id.String(), User: a.user, Master: c.isMaster, MemoryMb: c.amount.memory,
		Vcores: c.amount.vcores, Priority: c.priority, Queue: a.queue.name, KeepContainers: a.keep, Acls: map[string]string{},
	}
	for _, x := range a.submission.GetAmContainerSpec().GetApplication_ACLs() {
		switch x.GetAccessType() {
		case wire.ApplicationAccessTypeProto_APPACCESS_VIEW_APP:
			g.Acls["VIEW_APP"] = x.GetAcl()
		case wire.ApplicationAccessTypeProto_APPACCESS_MODIFY_APP:
			g.Acls["MODIFY_APP"] = x.GetAcl()
		}
	}
	var err error
	if x := a.submission.GetLogAggregationContext(); x != nil {
		if g.LogAggregation, err = proto.Marshal(x); err != nil {
			return nil, fmt.Errorf("log aggregation context: %w", err)
		}
	}
	if c.isMaster {
		if g.LaunchContext, err = a.masterContext(t); err != nil {
			return nil, err
		}
	}
	data, err := proto.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("grant of %s: %w", c.id, err)
	}
	return &v1.TaskSpec{
		Task: &v1.TaskID{Sequence: c.task}, Name: c.id.String(), Resources: c.amount.shape(), Command: &v1.Command{User: a.user}, Service: serviceName, Data: data,
		KillGraceNanos: int64(killGrace),
	}, nil
}

// masterContext is the submitted launch context with what the resource manager adds: its token and two variables.
func (a *application) masterContext(t *attempt) ([]byte, error) {
	x := proto.Clone(a.submission.GetAmContainerSpec()).(*wire.ContainerLaunchContextProto)
	credentials, err := writable.ParseCredentials(x.GetTokens())
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	credentials.PutToken("", a.masterToken(t))
	x.Tokens = credentials.Marshal()
	set := func(key, value string) {
		for _, e := range x.Environment {
			if e.GetKey() == key {
				e.Value = proto.String(value)
				return
			}
		}
		x.Environment = append(x.Environment, &wire.StringStringMapProto{Key: proto.String(key), Value: proto.String(value)})
	}
	set("APPLICATION_WEB_PROXY_BASE", "/proxy/"+a.id.String())
	set("APP_SUBMIT_TIME_ENV", fmt.Sprint(a.submitted.UnixMilli()))
	b, err := proto.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("launch context: %w", err)
	}
	return b, nil
}

// masterToken is who the attempt's master is toward the resource manager.
func (a *application) masterToken(t *attempt) writable.Token {
	return token.Issue(token.KindAMRM, "", a.keys.AMRM, token.AMRM{Attempt: t.id, KeyID: token.KeyID}.Marshal())
}

// confirmed takes the broker's word that the containers of an offer are launched.
func (a *application) confirmed(offer uint64) {
	all := a.accepted[offer]
	delete(a.accepted, offer)
	t := a.current()
	for _, c := range all {
		c.state = granted
		a.m.touch(c.agent, a)
		switch {
		case a.closing:
		case t == nil || c.id.Attempt != t.id || isOver(t.state):
			c.killing = true
			a.killTask(c.task, "its attempt has ended")
		case c.isMaster:
			t.state = wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_ALLOCATED
			t.contact = time.Now() // it has MasterExpiry to come up and register
			if a.launched.IsZero() {
				a.launched = time.Now()
			}
		default:
			t.ready = append(t.ready, c)
		}
	}
	if t != nil && !a.closing && len(t.ready) > 0 {
		a.gather(t)
	}
	a.signal()
}

// isOver tells whether an attempt has ended.
func isOver(s wire.YarnApplicationAttemptStateProto) bool {
	switch s {
	case wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_FAILED, wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_FINISHED,
		wire.YarnApplicationAttemptStateProto_APP_ATTEMPT_KILLED:
		return true
	}
	return false
}
