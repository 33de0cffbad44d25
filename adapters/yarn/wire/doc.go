// Package wire holds YARN's messages, as generated code.
package wire
