package fetch

import (
	"context"
	"io"
)

// Source reads files of one URL scheme with the rights of a user. Implementations are safe for concurrent use and end,
// with ctx.Err(), soon after ctx does. A missing file is fs.ErrNotExist, one without read permission fs.ErrPermission.
type Source interface {
	// Stat describes the file.
	Stat(ctx context.Context, url string, user User) (Info, error)
	// Open opens the file at its start.
	Open(ctx context.Context, url string, user User) (io.ReadCloser, error)
}

// User is the account that a fetch runs as.
type User struct {
	Name   string
	UID    int // -1: not switched, the agent's own rights
	GID    int
	Groups []int
}

// Info describes a file at its source.
type Info struct {
	Size int64 // bytes; -1: unknown
	// Version changes whenever the content does (modification time, entity tag); empty: unknown, not cached unless the
	// request names a checksum.
	Version string
	// Public tells that everyone may read the file, so that its cached copy may serve all users.
	Public bool
}
