package hdfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"fairway/adapters/hadooprpc"
	"fairway/frameworks/storage"
)

// ErrUnreachable is in the chain of errors that say that no NameNode could be talked to.
var ErrUnreachable = errors.New("HDFS unreachable")

// unreachable is a message about a NameNode; errors.Is finds ErrUnreachable and the cause in it.
type unreachable struct {
	message string
	cause   error
}

func (e *unreachable) Error() string   { return e.message }
func (e *unreachable) Unwrap() []error { return []error{ErrUnreachable, e.cause} }

// kinded is a NameNode's message that errors.Is finds by the kind of its exception.
type kinded struct {
	message string
	kind    error
}

func (e *kinded) Error() string { return e.message }
func (e *kinded) Unwrap() error { return e.kind }

// pathError makes any error of an operation a *fs.PathError with the full URL; ended contexts pass as they are.
func (f *fileSystem) pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var done *fs.PathError
	if errors.As(err, &done) || isContext(err) {
		return err
	}
	var remote *hadooprpc.Exception
	if errors.As(err, &remote) {
		err = f.meaning(remote)
	}
	return &fs.PathError{Op: op, Path: f.url(path), Err: err}
}

// meaning turns an exception into an error of io/fs or storage where there is one, with the NameNode's own words, which
// name user, inode and mode.
func (f *fileSystem) meaning(e *hadooprpc.Exception) error {
	class := e.Class[strings.LastIndexByte(e.Class, '.')+1:]
	say := func(kind error, format string, args ...any) error {
		return &kinded{fmt.Sprintf(format, args...), kind}
	}
	switch class {
	case "FileNotFoundException":
		if strings.Contains(e.Message, "not a file") {
			return syscall.EISDIR
		}
		return say(fs.ErrNotExist, "%v: %s", fs.ErrNotExist, e.Message)
	case "AccessControlException":
		return say(fs.ErrPermission, "%s", strings.ToLower(e.Message[:min(1, len(e.Message))])+e.Message[min(1, len(e.Message)):])
	case "FileAlreadyExistsException":
		return say(fs.ErrExist, "%v: %s", fs.ErrExist, e.Message)
	case "AlreadyBeingCreatedException", "LeaseExpiredException":
		return say(fs.ErrExist, "another writer has the file: %s", e.Message)
	case "ParentNotDirectoryException", "PathIsNotDirectoryException":
		return say(syscall.ENOTDIR, "%v: %s", syscall.ENOTDIR, e.Message)
	case "SafeModeException":
		return fmt.Errorf("the NameNode is in safe mode and refuses changes: wait until it has left it (hdfs dfsadmin -safemode get)")
	case "RetriableException":
		return fmt.Errorf("the NameNode is not ready: %s", e.Message)
	case "NSQuotaExceededException", "DSQuotaExceededException", "QuotaByStorageTypeExceededException":
		return say(syscall.EDQUOT, "quota exceeded: %s", e.Message)
	case "UnresolvedPathException", "UnresolvedLinkException":
		return say(storage.ErrUnsupported, "%v: symbolic link", storage.ErrUnsupported)
	case "UnknownCryptoProtocolVersionException":
		return say(storage.ErrUnsupported, "%v: the folder is an encryption zone", storage.ErrUnsupported)
	case "InvalidPathException":
		return say(fs.ErrInvalid, "%s", e.Message)
	}
	switch {
	case strings.Contains(e.Message, "SIMPLE authentication is not enabled"):
		return say(storage.ErrUnsupported, "the NameNode wants Kerberos, which Fairway does not speak")
	case strings.Contains(e.Message, "could only be written to"), strings.Contains(e.Message, "could only be replicated to"):
		return say(syscall.ENOSPC, "no DataNode takes a block: disks full or DataNodes down: %s", e.Message)
	case strings.Contains(e.Message, "not a directory"):
		return say(syscall.ENOTDIR, "%s", e.Message)
	}
	return fmt.Errorf("%s: %s", class, e.Message)
}

// encryptedError and the like are refusals to read what would come out wrong.
func unsupported(what string) error {
	return &kinded{fmt.Sprintf("%v: %s, which Fairway cannot read or write", storage.ErrUnsupported, what), storage.ErrUnsupported}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(s)
}
