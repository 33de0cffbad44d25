package tfile

import (
	"fmt"
	"path"
	"strings"

	"fairway/adapters/yarn/id"
)

// Folders is where logs are kept: yarn.nodemanager.remote-app-log-dir and its suffix, as clients have them configured.
// Clients of 3.3 to 3.5 look in the same place.
type Folders struct {
	Root   string // /tmp/logs
	Suffix string // logs
}

// ValidUser tells whether a name may be a user's, and so part of a path.
func ValidUser(s string) bool {
	return s != "" && len(s) <= 128 && s[0] != '.' && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`/\"'$:,;&|<>()*?`+"`", r)
	})
}

// controller is what the TFile format adds to the suffix.
const controller = "tfile"

// Application is the folder of an application's logs: one file in it for each node. The two folders above it are the
// user's, below Root; Path lists them all.
func (f Folders) Application(user string, a id.ApplicationID) string {
	l := f.Path(user, a)
	return l[len(l)-1]
}

// Path is the folders below Root that lead to an application's logs, outermost first. All have mode 0770; Root has 1777.
func (f Folders) Path(user string, a id.ApplicationID) []string {
	u := path.Join(f.Root, user)
	s := path.Join(u, "bucket-"+f.Suffix+"-"+controller)
	b := path.Join(s, fmt.Sprintf("%04d", a.Number%10000))
	return []string{u, s, b, path.Join(b, a.String())}
}

// File is where a node's logs of an application are; its mode is 0640.
func (f Folders) File(user string, a id.ApplicationID, node id.NodeID) string {
	return path.Join(f.Application(user, a), strings.ReplaceAll(node.String(), ":", "_"))
}
