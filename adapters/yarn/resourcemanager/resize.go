package resourcemanager

import (
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// Reasons of update errors, as YARN words them: RMServerUtils.
const (
	saidInvalidContainer = "INVALID_CONTAINER_ID"
	saidWrongVersion     = "INCORRECT_CONTAINER_VERSION_ERROR"
	saidOutstanding      = "UPDATE_OUTSTANDING_ERROR"
	saidOutsideRange     = "RESOURCE_OUTSIDE_ALLOWED_RANGE"
)

// resizing is a change of a container's resources that the broker has been asked for.
type resizing struct {
	request *wire.UpdateContainerRequestProto
	to      amount
	version int32
}

// updated is a change that the master is to be told of.
type updated struct {
	kind      wire.ContainerUpdateTypeProto
	container *container
}

// update asks the broker for what a master wants of its containers. Unlike YARN nothing waits: an increase for which the
// agent or a role has no room now is refused. What is granted is given to the container at once, as YARN does with
// yarn.resourcemanager.auto-update.containers, so nothing expires if its master does not ask the node for it.
func (a *application) update(t *attempt, requests []*wire.UpdateContainerRequestProto) {
	for _, u := range requests {
		c, to, why := a.checkUpdate(t, u)
		if why != "" {
			t.refuseUpdate(c, u, why)
			continue
		}
		c.resizing = &resizing{request: u, to: to, version: c.version + 1}
		a.sendResize(c)
	}
}

func (t *attempt) refuseUpdate(c *container, u *wire.UpdateContainerRequestProto, why string) {
	e := &wire.UpdateContainerErrorProto{Reason: proto.String(why), UpdateRequest: u, CurrentContainerVersion: proto.Int32(0)}
	if c != nil {
		e.CurrentContainerVersion = proto.Int32(c.version)
	}
	t.updateErrors = append(t.updateErrors, e)
}

// checkUpdate tells what a container is to have, or why it may not.
func (a *application) checkUpdate(t *attempt, u *wire.UpdateContainerRequestProto) (c *container, to amount, why string) {
	i, err := id.ContainerFrom(u.GetContainerId())
	if err == nil && i.Application() == a.id && (a.keep || i.Attempt == t.id) {
		if o := a.attempt(i.Attempt.Number); o != nil {
			c = a.containers[o.first+uint64(i.Number())-1]
		}
	}
	if c == nil || c.id != i || c.isMaster || c.state != delivered {
		return nil, to, saidInvalidContainer
	}
	switch kind := u.GetUpdateType(); {
	case u.GetContainerVersion() != c.version:
		return c, to, saidWrongVersion
	case c.resizing != nil:
		return c, to, saidOutstanding
	case kind != wire.ContainerUpdateTypeProto_INCREASE_RESOURCE && kind != wire.ContainerUpdateTypeProto_DECREASE_RESOURCE:
		return c, to, "Containers of this cluster do not change their execution type"
	case !c.running || c.released || c.killing || c.lost:
		return c, to, "container " + c.id.String() + " is not RUNNING"
	}
	if to, err = a.m.checkAmount(u.GetCapability()); err != nil {
		return c, to, saidOutsideRange
	}
	less, more := to.exceeds(c.amount) == "", c.amount.exceeds(to) == ""
	switch {
	case to.further != c.amount.further:
		return c, to, "only memory and vcores of a container change while it runs"
	case u.GetUpdateType() == wire.ContainerUpdateTypeProto_INCREASE_RESOURCE && !more, u.GetUpdateType() == wire.ContainerUpdateTypeProto_DECREASE_RESOURCE && !less:
		return c, to, saidOutsideRange
	}
	return c, to, ""
}

func (a *application) sendResize(c *container) {
	x := c.resizing
	a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Resize{Resize: &v1.ResizeTask{
		Task: &v1.TaskID{Sequence: c.task}, Resources: x.to.shape(), Revision: uint64(x.version),
	}}})
}

// resized takes the broker's yes.
func (a *application) resized(x *v1.TaskResized) {
	c := a.containers[x.GetTask().GetSequence()]
	if c == nil || int32(x.Revision) <= c.version {
		return
	}
	now, to := time.Now(), amountOf(x.Resources)
	// What it used is counted at its end, as if it had had all the time what it has then.
	age := now.Sub(c.created).Milliseconds()
	a.memoryMillis += (c.amount.memory - to.memory) * age
	a.vcoreMillis += int64(c.amount.vcores-to.vcores) * age
	a.charge(c, -1)
	c.amount, c.version = to, int32(x.Revision)
	a.charge(c, 1)
	if r := c.resizing; r != nil {
		c.resizing = nil
		if t := a.current(); t != nil && (c.id.Attempt == t.id || a.keep) {
			t.resized = append(t.resized, updated{r.request.GetUpdateType(), c})
		}
	}
	a.signal()
}

// notResized takes the broker's no.
func (a *application) notResized(r *v1.Refused) {
	for _, i := range r.GetTasks() {
		c := a.containers[i.GetSequence()]
		if c == nil || c.resizing == nil {
			continue
		}
		u := c.resizing.request
		c.resizing = nil
		if t := a.current(); t != nil {
			t.refuseUpdate(c, u, cut(r.GetMessage(), 1000))
		}
	}
	a.signal()
}

// resizeAgain settles what was under way when a session broke. The broker does nothing twice.
func (a *application) resizeAgain(done []*v1.TaskResized) {
	for _, x := range done {
		a.resized(x)
	}
	for _, c := range a.live() {
		if c.resizing != nil {
			a.sendResize(c)
		}
	}
}

// tellUpdates adds to an answer what became of the updates that its master asked for.
func (a *application) tellUpdates(t *attempt, r *wire.AllocateResponseProto, now time.Time) {
	for _, u := range t.resized {
		if a.containers[u.container.task] == u.container {
			r.UpdatedContainers = append(r.UpdatedContainers, &wire.UpdatedContainerProto{UpdateType: u.kind.Enum(), Container: u.container.proto(a, now)})
		}
	}
	r.UpdateErrors = t.updateErrors
	t.resized, t.updateErrors = nil, nil
}
