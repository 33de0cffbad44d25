package journal

import "github.com/hashicorp/raft-wal/fs"

// disk is the file system under the WAL.
type disk struct{ fs.FS }
