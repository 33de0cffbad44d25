// Command benchshuffle measures Spark's shuffle service alone, over loopback: 64 connections fetch blocks of 64 KiB to 1 MiB
// from a server in a process of its own, so that its memory is its own too.
package main
