// Package writable reads and writes the few Hadoop Writables that travel between processes: variable-length numbers, Text,
// tokens and the credentials that a container finds in the file HADOOP_TOKEN_FILE_LOCATION.
//
// Everything read is bounded by the input's own length: a length that promises more than there is is an error before
// anything is allocated. What is read refers to the input's memory unless its comment says otherwise.
package writable
