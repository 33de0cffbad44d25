package supervisor

import "syscall"

// reserve makes the exit record's file with a block of its own, so that the record fits on a disk that is full by the time
// the task ends.
func reserve() {
	fd, err := syscall.Open(exitTemp, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	syscall.Fallocate(fd, 0, 0, MaxRecord)
	syscall.Close(fd)
}

// store makes the exit record durable under its name.
func store(b []byte) {
	fd, err := syscall.Open(exitTemp, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		complain("open exit record", err)
		return
	}
	if _, err := syscall.Write(fd, b); err != nil {
		complain("write exit record", err)
	}
	syscall.Ftruncate(fd, int64(len(b)))
	if err := syscall.Fsync(fd); err != nil {
		complain("sync exit record", err)
	}
	syscall.Close(fd)
	if err := syscall.Rename(exitTemp, ExitFile); err != nil {
		complain("rename exit record", err)
	}
	if dir, err := syscall.Open(".", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0); err == nil {
		syscall.Fsync(dir)
		syscall.Close(dir)
	}
}

func complain(what string, err error) { syscall.Write(2, []byte(what+": "+err.Error()+"\n")) }

func writeFile(path, text string) error {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = syscall.Write(fd, []byte(text))
	syscall.Close(fd)
	return err
}

// readFile returns what a small file of /proc or a cgroup holds, at most 1 MiB; nil if it cannot be read.
func readFile(path string) []byte {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	var all []byte
	var b [4096]byte
	for len(all) < 1<<20 {
		n, err := syscall.Read(fd, b[:])
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			break
		}
		all = append(all, b[:n]...)
	}
	return all
}
