package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// File is the source of file:// URLs: the agent's host. Files are opened with the rights of the user.
type File struct{}

var nobody = User{Name: "nobody", UID: 65534, GID: 65534}

// Stat implements Source.
func (File) Stat(_ context.Context, url string, user User) (Info, error) {
	f, err := openFile(url, user)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	s := info.Sys().(*syscall.Stat_t)
	i := Info{Size: info.Size(), Version: fmt.Sprintf("%d:%d:%d:%d", s.Dev, s.Ino, s.Mtim.Nano(), s.Ctim.Nano())}
	if os.Geteuid() == 0 {
		if p, err := openFile(url, nobody); err == nil {
			p.Close()
			i.Public = true
		}
	}
	return i, nil
}

// Open implements Source.
func (File) Open(_ context.Context, url string, user User) (io.ReadCloser, error) {
	return openFile(url, user)
}

func openFile(raw string, user User) (*os.File, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host != "" && u.Host != "localhost" || u.Path == "" || u.Path[0] != '/' {
		return nil, &refusal{"a file URL is file:///absolute/path"}
	}
	// O_NONBLOCK: a fifo must not hold the agent.
	open := func() (*os.File, error) { return os.OpenFile(u.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0) }
	var f *os.File
	if user.UID >= 0 && os.Geteuid() == 0 {
		f, err = as(user, open)
	} else {
		f, err = open()
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &refusal{"not a regular file"}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// as runs open on a thread that has the file system rights of the user and nothing else, and ends that thread: rights of
// a thread, unlike those of a process, are set by the bare system calls, which Go's own wrappers do not do.
func as(user User, open func() (*os.File, error)) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		groups := make([]uint32, 0, len(user.Groups)+1)
		for _, g := range user.Groups {
			groups = append(groups, uint32(g))
		}
		if len(groups) == 0 {
			groups = append(groups, uint32(user.GID))
		}
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0)
		if errno != 0 {
			done <- result{nil, fmt.Errorf("switch to user %s: %w", user.Name, errno)}
			return
		}
		// They return the former id and no error, so a second call tells whether the first did it.
		syscall.RawSyscall(syscall.SYS_SETFSGID, uintptr(user.GID), 0, 0)
		syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(user.UID), 0, 0)
		gid, _, _ := syscall.RawSyscall(syscall.SYS_SETFSGID, ^uintptr(0), 0, 0)
		uid, _, _ := syscall.RawSyscall(syscall.SYS_SETFSUID, ^uintptr(0), 0, 0)
		if int(gid) != user.GID || int(uid) != user.UID {
			done <- result{nil, fmt.Errorf("switch to user %s: %w", user.Name, fs.ErrPermission)}
			return
		}
		f, err := open()
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}
