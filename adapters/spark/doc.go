// Package spark is Spark's external shuffle service, the auxiliary service spark_shuffle: it serves the shuffle files, and
// the RDD blocks on disk, of executors that have left.
//
// An application is known by what its first executor's container brings: its secret (empty without spark.authenticate). An
// executor then registers its folders, which must lie below the application's own. Files are opened below those folders
// without a symbolic link that leads out, only if they are regular and belong to the account of the containers; names are
// made of numbers. An application with a secret is served only to connections that authenticated as it, by SASL DIGEST-MD5
// (with encryption if the client wants it) or by Spark's own protocol with AES in counter mode.
//
// One goroutine serves a connection, one request after the other: a reader that is slow holds its own requests back and no
// memory. Without encryption data goes out by sendfile. Registrations outlive the process in Options.StateDir.
//
// Push-based shuffle is answered as Spark's default service does: it cannot merge. Not supported: AES/GCM/NoPadding, TLS.
package spark
