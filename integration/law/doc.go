// Package law holds the tests of the project's own rules: who may import whom, and what the pure machines may not do.
package law
