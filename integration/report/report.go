package report

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Write writes v as indented JSON to path and makes the folders above it.
func Write(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
