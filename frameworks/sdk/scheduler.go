package sdk

import (
	v1 "fairway/broker/api/fairwayv1"
)

// Scheduler is the author's side of a framework. All its methods are called by one goroutine, that of [Driver.Run];
// they should return soon, as nothing else happens meanwhile. Embed [Base] to write only those that matter.
type Scheduler interface {
	// Registered tells of each registration, the first one and those after a lost session. Offers made before it are
	// void.
	Registered(d *Driver, r *v1.FrameworkRegistered)
	// Offers are to be accepted or declined, soon: an offer holds resources and times out.
	Offers(d *Driver, offers []*v1.Offer)
	// Rescinded tells that an offer is void.
	Rescinded(d *Driver, offer uint64, reason string)
	// Status tells how a task fares. It is acknowledged once this has returned; until then the agent repeats it, also
	// to a later instance of the framework.
	Status(d *Driver, s *v1.TaskStatus)
	// AgentLost tells that an agent is cut off or gone. Statuses of its tasks come besides.
	AgentLost(d *Driver, a *v1.AgentLost)
	// Refused tells that the broker did not do what a call asked. Tasks of a refused launch also get their LOST status.
	Refused(d *Driver, r *v1.Refused)
	// KillJob asks the framework to stop its tasks and to unregister.
	KillJob(d *Driver, reason string)
	// Disconnected tells that the session was lost; the driver is dialing again. Tasks go on.
	Disconnected(d *Driver, err error)
}

// Base is a Scheduler that does nothing, declines all offers, and unregisters when asked to stop.
type Base struct{}

// Registered does nothing.
func (Base) Registered(*Driver, *v1.FrameworkRegistered) {}

// Offers declines.
func (Base) Offers(d *Driver, offers []*v1.Offer) {
	for _, o := range offers {
		d.Decline(0, o.Id)
	}
}

// Rescinded does nothing.
func (Base) Rescinded(*Driver, uint64, string) {}

// Status does nothing.
func (Base) Status(*Driver, *v1.TaskStatus) {}

// AgentLost does nothing.
func (Base) AgentLost(*Driver, *v1.AgentLost) {}

// Refused does nothing.
func (Base) Refused(*Driver, *v1.Refused) {}

// KillJob unregisters as killed.
func (Base) KillJob(d *Driver, reason string) {
	d.Unregister(&v1.Unregister{Phase: v1.JobPhase_JOB_PHASE_KILLED, Message: reason})
}

// Disconnected does nothing.
func (Base) Disconnected(*Driver, error) {}
