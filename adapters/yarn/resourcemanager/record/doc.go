// Package record is how the resource manager writes an application down, as generated code.
package record
