// Package ports finds TCP ports for servers that take theirs from a configuration.
package ports
