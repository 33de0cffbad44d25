// Package resource is quantities: integer vectors of cpu, memory, disk, gpus, ports and named kinds, and sets of ports.
package resource
