package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"
)

// Location is a parsed storage URL.
type Location struct {
	Scheme    string // "hdfs", "file", or "" for a plain path
	Authority string // "namenode:8020", a nameservice, or "" for the default
	Path      string // absolute and clean
}

// String returns the URL again: "hdfs://namenode:8020/a", "hdfs:///a", or the plain path.
func (l Location) String() string {
	if l.Scheme == "" {
		return l.Path
	}
	return l.Scheme + "://" + l.Authority + l.Path
}

// Parse splits a storage URL. As in Hadoop's paths nothing is percent-decoded, "file:/x" means "file:///x", and a path
// may hold glob characters. A relative path is an error, for it means different things in different processes.
func Parse(url string) (Location, error) {
	var l Location
	rest := url
	if i := strings.IndexByte(url, ':'); i > 0 && schemeName(url[:i]) && i+1 < len(url) && url[i+1] == '/' {
		l.Scheme, rest = strings.ToLower(url[:i]), url[i+1:]
		if strings.HasPrefix(rest, "//") {
			rest = rest[2:]
			slash := strings.IndexByte(rest, '/')
			if slash < 0 {
				slash = len(rest)
				rest += "/"
			}
			l.Authority, rest = rest[:slash], rest[slash:]
		}
	}
	switch {
	case url == "":
		return l, errors.New("empty storage URL: give a path such as hdfs:///data/in or file:///tmp/in")
	case strings.IndexByte(url, 0) >= 0 || strings.ContainsAny(url, "\r\n"):
		return l, fmt.Errorf("storage URL %q holds a control character", url)
	case !strings.HasPrefix(rest, "/"):
		return l, fmt.Errorf("storage URL %q is not absolute: give the whole path, such as hdfs:///data/in or /data/in", url)
	}
	l.Path = path.Clean(rest)
	return l, nil
}

func schemeName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}

// Mux finds the file system of a URL: an Opener for each scheme, and one open FS for each (scheme, authority, user),
// made when it is first asked for. It is safe for concurrent use.
type Mux struct {
	openers  map[string]Opener
	fallback string // default URL of plain paths

	mu     sync.Mutex
	open   map[muxKey]*muxEntry
	closed bool
}

type muxKey struct{ scheme, authority, user string }

type muxEntry struct {
	turn chan struct{} // capacity one: held while opening, so that a slow NameNode is asked once
	fs   FS
}

// NewMux returns a Mux over openers, keyed by scheme. defaultURL ("hdfs://namenode:8020", "hdfs:///", "file:///") tells
// the file system of plain paths; empty means the local one.
func NewMux(openers map[string]Opener, defaultURL string) *Mux {
	m := &Mux{openers: make(map[string]Opener, len(openers)), fallback: defaultURL, open: make(map[muxKey]*muxEntry)}
	if m.fallback == "" {
		m.fallback = "file:///"
	}
	for scheme, o := range openers {
		m.openers[strings.ToLower(scheme)] = o
	}
	return m
}

// Locate parses url and fills scheme and authority of a plain path from the default.
func (m *Mux) Locate(url string) (Location, error) {
	l, err := Parse(url)
	if err != nil || l.Scheme != "" {
		return l, err
	}
	d, err := Parse(m.fallback)
	if err != nil {
		return l, fmt.Errorf("default file system: %w", err)
	}
	if d.Scheme == "" {
		return l, fmt.Errorf("default file system %q names no scheme: set it to hdfs://HOST:PORT or file:///", m.fallback)
	}
	l.Scheme, l.Authority = d.Scheme, d.Authority
	return l, nil
}

// Resolve returns the file system of url for user ("" is the process's own) and the path in it. The FS belongs to the
// Mux: callers do not close it. A failure to open is not remembered.
func (m *Mux) Resolve(ctx context.Context, url, user string) (FS, string, error) {
	l, err := m.Locate(url)
	if err != nil {
		return nil, "", err
	}
	opener := m.openers[l.Scheme]
	if opener == nil {
		return nil, "", fmt.Errorf("%s: no support for scheme %q here; known: %s", url, l.Scheme, strings.Join(m.schemes(), ", "))
	}
	entry, err := m.entry(muxKey{l.Scheme, l.Authority, user})
	if err != nil {
		return nil, "", err
	}
	select {
	case entry.turn <- struct{}{}:
		defer func() { <-entry.turn }()
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	if entry.fs == nil {
		f, err := opener(ctx, l.Authority, user)
		if err != nil {
			return nil, "", err
		}
		if err := m.keep(entry, f); err != nil {
			return nil, "", err
		}
	}
	return entry.fs, l.Path, nil
}

func (m *Mux) entry(key muxKey) (*muxEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, fs.ErrClosed
	}
	e := m.open[key]
	if e == nil {
		e = &muxEntry{turn: make(chan struct{}, 1)}
		m.open[key] = e
	}
	return e, nil
}

// keep stores a fresh FS, or closes it if the Mux was closed meanwhile.
func (m *Mux) keep(e *muxEntry, f FS) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.Join(fs.ErrClosed, f.Close())
	}
	e.fs = f
	return nil
}

func (m *Mux) schemes() []string {
	names := make([]string, 0, len(m.openers))
	for s := range m.openers {
		names = append(names, s)
	}
	sort.Strings(names)
	return names
}

// Close closes every open file system. Later calls of Resolve fail with fs.ErrClosed.
func (m *Mux) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	var errs []error
	for _, e := range m.open {
		if e.fs != nil {
			errs = append(errs, e.fs.Close())
		}
	}
	m.open = nil
	return errors.Join(errs...)
}
