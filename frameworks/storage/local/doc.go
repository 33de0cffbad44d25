// Package local is the file:// implementation of storage.FS: the files of the host that the process runs on.
//
// Access is checked by the kernel for the process's own account; the user given to the Opener is not switched to, so
// whoever reads a file for somebody else (an agent that fetches, for instance) must do it in a process of that user.
// Only regular files are opened: a named pipe or a device would block or never end.
package local
