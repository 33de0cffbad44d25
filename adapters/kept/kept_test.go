package kept

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestFolder(t *testing.T) {
	f := Folder{Dir: filepath.Join(t.TempDir(), "state"), MaxBytes: 40}
	got := map[string]string{}
	load := func() []error {
		t.Helper()
		clear(got)
		damaged, err := f.Load(func(name string, b []byte) error {
			if string(b) == `"refused"` {
				return errors.New("is not wanted")
			}
			got[name] = string(b)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return damaged
	}
	if d := load(); len(d) != 0 || len(got) != 0 {
		t.Fatalf("a new folder has %v, %v", got, d)
	}
	for name, record := range map[string]string{"a": "one", "b": "two", "c": "refused", "d": strings.Repeat("long", 20)} {
		if err := f.Save(name, record); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Save("a", "another"), f.Remove("b"), f.Remove("b"), os.WriteFile(filepath.Join(f.Dir, unfinished+"1"), []byte("cut"), 0o600)); err != nil {
		t.Fatal(err)
	}
	d := load()
	if len(d) != 2 || !strings.Contains(d[0].Error(), "is not wanted") || !strings.Contains(d[1].Error(), "more than 40 bytes") {
		t.Errorf("damaged: %v", d)
	}
	if want := map[string]string{"a": `"another"`}; !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %v, want %v", got, want)
	}
	list, err := os.ReadDir(f.Dir)
	if err != nil || len(list) != 1 || list[0].Name() != "a" {
		t.Errorf("left in the folder: %v, %v", list, err)
	}
	if info, err := os.Stat(filepath.Join(f.Dir, "a")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := (Folder{}).Save("a", 1); err != nil {
		t.Error(err)
	}
}
