package yarnjobs

import (
	"archive/zip"
	"bytes"
	"testing"
)

// zipFile makes an archive with one file in it.
func zipFile(t *testing.T, name, inner, body string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(inner)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return script(t, name, b.String())
}
