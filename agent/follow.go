package agent

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watch tells when a file was written to.
type watch struct{ f *os.File }

func watchFile(f *os.File) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &watch{os.NewFile(uintptr(fd), "inotify")}
	// By the descriptor: the name may be another file's by now.
	if _, err := unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.IN_MODIFY); err != nil {
		w.Close()
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return w, nil
}

// wait returns when the file was written to since the last wait (or the watch began), or with os.ErrDeadlineExceeded
// after an interrupt.
func (w *watch) wait() error {
	var b [4096]byte
	_, err := w.f.Read(b[:])
	return err
}

// interrupt ends this wait and all later ones.
func (w *watch) interrupt() { w.f.SetReadDeadline(time.Unix(1, 0)) }

func (w *watch) Close() error { return w.f.Close() }
