// Package sdk is what a framework's author imports. He writes a [Scheduler], gives it to a [Driver], and the driver
// keeps the conversation with the broker: it registers, registers again under the same id when the session was lost
// (with backoff), states the request groups with their versions, counts task ids, acknowledges statuses after the
// scheduler has handled them, reconciles tasks after a reconnection, sends heartbeats and coalesces progress.
//
// # One goroutine
//
// [Driver.Run] calls every method of the Scheduler, every function given to [Driver.Post] and every timer of
// [Driver.After] on one goroutine, so a scheduler needs no locks. The driver's other methods may be called on that
// goroutine only. What they say is sent at the end of the turn, in the order in which it was said, and the request
// groups last: a total given to [Driver.Request] is what is still wanted once the turn's accepts and declines are
// done.
//
// # What it promises
//
// A task id launched by this driver gets at most one terminal status, and gets one in the end, whatever happens to
// sessions: a launch that the broker refused or never saw arrives as TASK_STATE_LOST. Offers are void once a session
// ended; requests are stated again after each registration.
//
// What it does not do: choose what runs where (package locality helps there), or keep a scheduler's own state.
package sdk
