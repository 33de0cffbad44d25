package output

import (
	"context"
	"errors"

	"fairway/frameworks/storage"
)

// Formats of output.
const (
	// Text: key, separator, value, newline; a nil key or value is left out with the separator, an empty one is not.
	Text = "text"
	// Tera: key and value back to back; each record must have 100 bytes.
	Tera = "tera"
	// Parquet and Arrow (IPC file): a column key and a column value; see package columnar for their types.
	Parquet = "parquet"
	Arrow   = "arrow"
	// None: records are counted by the engine and dropped; no file is made.
	None = "none"
)

// Writer writes one file of results. It is used by one goroutine.
type Writer interface {
	// Write adds a record; key and value are the caller's again when it returns.
	Write(key, value []byte) error
	// Close makes the file complete. After an error of Write or Close the file is of no use and is to be removed
	// (Committer.AbortTask); Close must be called in any case.
	Close() error
}

// Create makes the file that an attempt writes (Committer.TaskPath). It overwrites what an earlier run of the same
// attempt left. Compression is asked for by mapreduce.output.fileoutputformat.compress and .compress.codec.
func Create(ctx context.Context, format string, fs storage.FS, path string, conf map[string]string) (Writer, error) {
	return nil, errors.ErrUnsupported
}

// Check tells at submission whether Create can serve a format with these properties.
func Check(format string, conf map[string]string) error { return nil }

// Extension is the suffix of part files: "", ".gz", ".zst", ".parquet", ".arrow".
func Extension(format string, conf map[string]string) string { return "" }
