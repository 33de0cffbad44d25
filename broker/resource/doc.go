// Package resource is quantities: integer vectors of cpu, memory, disk, gpus, ports and named kinds, and sets of ports.
//
// A Vector has one dense slot for each kind, so that the sharing decision adds and compares without a map. The first
// five kinds are well known; Kinds numbers the rest. Amounts are integers (milli-cpu, bytes, whole devices), arithmetic
// saturates, and text that people write ("500m", "8GiB") is read and written here and nowhere else. The package decides
// nothing.
package resource
