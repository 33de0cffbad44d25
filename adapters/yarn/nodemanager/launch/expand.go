package launch

import (
	"slices"
	"strings"
)

// Expand replaces what clients leave for the node to fill in: <LOG_DIR>, <CPS> (the separator of class paths), <ADD_OPENS>
// (what a JVM from 17 on needs) and {{X}}, which becomes $X. As in YARN the braces need not match.
func Expand(s, logDir string, java int) string {
	if !strings.ContainsAny(s, "<{}") {
		return s
	}
	opens := ""
	if java >= 17 {
		opens = addOpens
	}
	return strings.NewReplacer("<LOG_DIR>", logDir, "<CPS>", ":", "<ADD_OPENS>", opens, "{{", "$", "}}", "").Replace(s)
}

// addOpens are the options that Hadoop 3.4 puts in place of <ADD_OPENS>.
const addOpens = "--add-opens=java.base/java.lang=ALL-UNNAMED --add-exports=java.base/sun.net.dns=ALL-UNNAMED --add-exports=java.base/sun.net.util=ALL-UNNAMED"

// order sorts variables so that each comes after those that its value refers to; otherwise by name. Of a circle the first
// by name comes first.
func order(vars map[string]string) []string {
	names := make([]string, 0, len(vars))
	for k := range vars {
		names = append(names, k)
	}
	slices.Sort(names)
	sorted := make([]string, 0, len(names))
	seen := make(map[string]bool, len(names))
	type frame struct {
		name string
		refs []string
	}
	// A stack of our own: a chain of references may be as long as there are variables.
	for _, n := range names {
		if seen[n] {
			continue
		}
		seen[n] = true
		stack := []frame{{n, references(vars[n])}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.refs) == 0 {
				sorted = append(sorted, top.name)
				stack = stack[:len(stack)-1]
				continue
			}
			next := top.refs[0]
			top.refs = top.refs[1:]
			if v, ok := vars[next]; ok && !seen[next] {
				seen[next] = true
				stack = append(stack, frame{next, references(v)})
			}
		}
	}
	return sorted
}

// references are the variables that a double-quoted value refers to.
func references(v string) []string {
	var l []string
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '$':
			at := i + 1
			if at < len(v) && v[at] == '{' {
				at++
			}
			end := at
			for end < len(v) && letter(v[end], end > at) {
				end++
			}
			if end > at {
				l = append(l, v[at:end])
			}
			i = end - 1
		}
	}
	return l
}

func letter(c byte, digits bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digits && c >= '0' && c <= '9'
}
