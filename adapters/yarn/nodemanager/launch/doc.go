// Package launch writes the bash script that starts a YARN container, with the semantics that clients rely on: values in
// double quotes and not escaped, so that the shell expands what they refer to; variables in an order in which each comes
// after those that it refers to; the command in a second shell, after one more expansion.
//
// What needs no shell (folders, links) is done before, not by the script: each fork would cost a millisecond.
package launch
