// Package recipe builds and runs the program of the README outside of the module, as a user would.
package recipe
