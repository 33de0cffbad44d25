// Command fairway is the one binary: broker, agent, and the command line. It wires the packages together: only here do
// the ports that they declare meet the adapters that fill them.
//
// Exit codes: 0 done; 1 failed, a job that failed or was killed too; 2 wrong usage or configuration; 3 no broker
// answers; 4 not found; 5 not allowed; 130 interrupted. A program of the user's own that is run, such as his
// Spark, gives its own exit code.
package main
