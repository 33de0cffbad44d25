package mapreduce

import (
	"errors"
	"syscall"
)

// isReset says that the fetcher went away, which it does when it has no memory left for a partition.
func isReset(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
