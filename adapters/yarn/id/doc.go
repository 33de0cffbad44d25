// Package id holds YARN's identifiers as comparable values: applications, attempts, containers and nodes, each with its
// text and its message.
//
// What is parsed is checked: no number is negative, none overflows, and nothing follows. The zero value of a type is no
// identifier.
package id
