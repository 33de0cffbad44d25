// Package grant is what the broker's and the agent's side of the YARN face tell each other, inside a task's and a
// status's data.
package grant
