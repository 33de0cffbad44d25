package local_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
	"fairway/frameworks/storage/storagetest"
)

func TestContract(t *testing.T) {
	storagetest.Run(t, storagetest.Options{FS: local.New(), Root: t.TempDir(), URL: "file://"})
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here: ", err)
	}
	for _, p := range []string{pipe, "/dev/zero"} {
		if _, err := local.New().Open(context.Background(), p); !errors.Is(err, storage.ErrUnsupported) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := local.New().Create(context.Background(), pipe, storage.CreateOptions{Overwrite: true}); err == nil {
		t.Error("wrote to a pipe without a reader")
	}
}

func TestDanglingLinkIsListed(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	infos, err := local.New().List(context.Background(), dir)
	if err != nil || len(infos) != 1 {
		t.Fatal(infos, err)
	}
}

func TestURLNamesNoHost(t *testing.T) {
	if _, err := local.Opener()(context.Background(), "otherhost", ""); err == nil {
		t.Error("file://otherhost/ passed")
	}
}
