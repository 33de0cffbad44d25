package localize

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"fairway/agent/service"
	"fairway/frameworks/storage"
)

// asAccount is this host's file system with the rights of an account, for an agent that may read everything.
type asAccount struct {
	source
	who service.Account
}

func (a asAccount) Stat(ctx context.Context, p string) (info storage.Info, err error) {
	e := a.do(func() { info, err = a.source.Stat(ctx, p) })
	if e != nil {
		return info, e
	}
	return info, err
}

func (a asAccount) List(ctx context.Context, p string) (l []storage.Info, err error) {
	if e := a.do(func() { l, err = a.source.List(ctx, p) }); e != nil {
		return nil, e
	}
	return l, err
}

func (a asAccount) Open(ctx context.Context, p string) (f storage.File, err error) {
	if e := a.do(func() { f, err = a.source.Open(ctx, p) }); e != nil {
		return nil, e
	}
	return f, err
}

func (a asAccount) do(f func()) error { return As(a.who, f) }

// As runs f on a thread that has an account's rights to files and no others, and ends that thread: what f makes is the
// account's. The rights are set by bare system calls, since Go's own would set those of all threads. An agent that is not
// root, or is the account itself, has no others to begin with. f did not run if there is an error.
func As(who service.Account, f func()) error {
	if os.Geteuid() != 0 || !who.Switch {
		f()
		return nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := become(who)
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}

func become(who service.Account) error {
	groups := []uint32{uint32(who.GID)}
	for _, g := range who.Groups {
		groups = append(groups, uint32(g))
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return fmt.Errorf("act as %s: %w", who.Name, errno)
	}
	// These return the former number whether they worked or not; asked with one that cannot be set, they tell.
	syscall.RawSyscall(syscall.SYS_SETFSGID, uintptr(who.GID), 0, 0)
	syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(who.UID), 0, 0)
	gid, _, _ := syscall.RawSyscall(syscall.SYS_SETFSGID, ^uintptr(0), 0, 0)
	uid, _, _ := syscall.RawSyscall(syscall.SYS_SETFSUID, ^uintptr(0), 0, 0)
	if int(gid) != who.GID || int(uid) != who.UID {
		return fmt.Errorf("act as %s: %w", who.Name, fs.ErrPermission)
	}
	return nil
}
