//go:build race

package agent

// The race detector's shadow memory is no measure of a supervisor.
const raceEnabled = true
