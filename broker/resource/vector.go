package resource

// Slots is the number of dense slots in a Vector. The first five kinds are well known, the rest are named by the
// operator and numbered by Kinds.
const Slots = 8

// The well-known slots of a Vector.
const (
	CPU    = 0 // milli-cpu
	Memory = 1 // bytes
	Disk   = 2 // bytes
	GPU    = 3 // whole devices
	Ports  = 4 // number of ports
	Named  = 5 // first slot of operator-named kinds
)

// Vector is an amount of each kind of resource, in integers (milli-cpu, bytes, devices). Arithmetic saturates.
type Vector [Slots]int64

// PortRange is a range of ports, both ends inclusive.
type PortRange struct{ First, Last uint16 }
