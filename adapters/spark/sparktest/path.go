package sparktest

import (
	"fmt"
	"path/filepath"
)

// BlockPath is where an executor with these folders writes a block of an ASCII name.
func BlockPath(dirs []string, subDirs int, name string) string {
	h := int32(0)
	for _, c := range []byte(name) {
		h = 31*h + int32(c)
	}
	if h < 0 {
		h = -h
	}
	i := int(h)
	return filepath.Join(dirs[i%len(dirs)], fmt.Sprintf("%02x", i/len(dirs)%subDirs), name)
}
