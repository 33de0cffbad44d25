package columnar

import (
	"errors"
	"io"
)

// Writer writes records as rows of a columnar file.
type Writer struct{}

// CreateFile begins a file with the columns key and value.
func CreateFile(format Format, file io.WriteCloser, conf map[string]string) (*Writer, error) {
	return nil, errors.ErrUnsupported
}

// CheckFile tells whether CreateFile understands the properties.
func CheckFile(format Format, conf map[string]string) error { return nil }

// Write adds a row.
func (w *Writer) Write(key, value []byte) error { return errors.ErrUnsupported }

// Close completes the file.
func (w *Writer) Close() error { return nil }
