// Package driver reads what the drivers of Spark applications say of themselves, in their REST interface
// (/api/v1/applications/ID, "Monitoring and Instrumentation" of Spark's documentation): their stages, and for each task
// the locality that it was started with.
//
// The interface has no push, so Watch asks each driver that runs once a second, less often when nothing happens or when
// the answers take long. It ends before the application does: what began after the last answer is not known. Spark
// itself keeps it in event logs only.
package driver
