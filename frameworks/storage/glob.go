package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Bounds of Glob, so that a pattern from a user cannot take unbounded memory or time.
const (
	MaxGlobMatches      = 1 << 20 // files and folders found
	maxGlobAlternatives = 1024    // patterns after the braces are expanded
	maxGlobLength       = 4096    // bytes of pattern
)

// HasGlob tells whether path holds a character that Glob gives a meaning to.
func HasGlob(path string) bool { return strings.ContainsAny(path, `*?[{\`) }

// Glob returns what matches pattern, sorted by path, each once. The pattern is Hadoop's: * and ? (not across a slash),
// [abc], [a-z], [^a], {one,two} and \ to take a character as it is. A pattern without such characters is a plain path,
// which must exist (fs.ErrNotExist); a pattern that matches nothing returns none. Entries that vanish or may not be
// listed below a wildcard are errors, never silently skipped, but for vanished ones.
func Glob(ctx context.Context, fsys FS, pattern string) ([]Info, error) {
	if !HasGlob(pattern) {
		info, err := fsys.Stat(ctx, path.Clean(pattern))
		if err != nil {
			return nil, err
		}
		return []Info{info}, nil
	}
	if len(pattern) > maxGlobLength {
		return nil, fmt.Errorf("glob pattern of %d bytes: at most %d are allowed", len(pattern), maxGlobLength)
	}
	alternatives, err := expandBraces(pattern)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Info)
	for _, alternative := range alternatives {
		if !strings.HasPrefix(alternative, "/") {
			return nil, fmt.Errorf("glob pattern %q is not absolute", pattern)
		}
		if err := globWalk(ctx, fsys, "/", splitPattern(alternative), found); err != nil {
			return nil, err
		}
	}
	infos := make([]Info, 0, len(found))
	for _, info := range found {
		infos = append(infos, info)
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Path < infos[j].Path })
	return infos, nil
}

func splitPattern(p string) []string {
	var parts []string
	for _, s := range strings.Split(p, "/") {
		if s != "" && s != "." {
			parts = append(parts, s)
		}
	}
	return parts
}

// globWalk adds what matches parts below dir. Parts without wildcards are joined and looked up, not listed.
func globWalk(ctx context.Context, fsys FS, dir string, parts []string, found map[string]Info) error {
	for len(parts) > 1 && !HasGlob(parts[0]) {
		dir, parts = path.Join(dir, parts[0]), parts[1:]
	}
	if len(parts) == 0 || !HasGlob(parts[0]) {
		info, err := fsys.Stat(ctx, path.Join(append([]string{dir}, parts...)...))
		if missing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return keepMatch(found, info)
	}
	if _, err := path.Match(goPattern(parts[0]), ""); err != nil {
		return fmt.Errorf("glob pattern %q: %w", parts[0], err)
	}
	if info, err := fsys.Stat(ctx, dir); missing(err) || err == nil && !info.IsDir {
		return nil
	} else if err != nil {
		return err
	}
	entries, err := fsys.List(ctx, dir)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if ok, _ := path.Match(goPattern(parts[0]), path.Base(entry.Path)); !ok {
			continue
		}
		if len(parts) == 1 {
			if err := keepMatch(found, entry); err != nil {
				return err
			}
		} else if entry.IsDir {
			if err := globWalk(ctx, fsys, entry.Path, parts[1:], found); err != nil {
				return err
			}
		}
	}
	return nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func keepMatch(found map[string]Info, info Info) error {
	found[info.Path] = info
	if len(found) > MaxGlobMatches {
		return fmt.Errorf("glob pattern matches more than %d files: narrow it", MaxGlobMatches)
	}
	return nil
}

// goPattern turns Hadoop's [!a] into the [^a] of path.Match.
func goPattern(p string) string { return strings.ReplaceAll(p, "[!", "[^") }

// expandBraces expands {a,b} (nested too) into plain patterns. A backslash protects the next character.
func expandBraces(pattern string) ([]string, error) {
	done, todo := []string(nil), []string{pattern}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		open, close, commas, err := innerBraces(p)
		if err != nil {
			return nil, fmt.Errorf("glob pattern %q: %w", pattern, err)
		}
		if open < 0 {
			done = append(done, p)
		} else {
			start := open + 1
			for _, comma := range append(commas[:len(commas):len(commas)], close) {
				todo = append(todo, p[:open]+p[start:comma]+p[close+1:])
				start = comma + 1
			}
		}
		if len(done)+len(todo) > maxGlobAlternatives {
			return nil, fmt.Errorf("glob pattern %q: more than %d alternatives", pattern, maxGlobAlternatives)
		}
	}
	return done, nil
}

// innerBraces finds the first innermost pair of braces of p and its commas; open is -1 if there is none.
func innerBraces(p string) (open, close int, commas []int, err error) {
	open = -1
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '{':
			open, commas = i, nil
		case ',':
			commas = append(commas, i)
		case '}':
			if open < 0 {
				return 0, 0, nil, errors.New("} without {")
			}
			return open, i, commas, nil
		}
	}
	if open >= 0 {
		return 0, 0, nil, errors.New("{ without }")
	}
	return -1, 0, nil, nil
}
