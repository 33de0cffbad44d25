package launch

import (
	"errors"
	"slices"
	"strings"
)

// Variable is an environment variable whose place in the script is fixed.
type Variable struct{ Name, Value string }

// Script is what a container's script is made of. All values stand in double quotes, not escaped.
type Script struct {
	Inherited []Variable // the node's own: set unless they are set
	Node      []Variable // about the container, in this order
	Said      map[string]string
	Command   []string // joined by spaces
	LogDir    string
}

// Errors of Bash.
var (
	ErrZero    = errors.New("the launch context holds a zero byte")
	ErrCommand = errors.New("the launch context has no command")
)

// Bash is the script. The shell writes its own output to prelaunch.out and prelaunch.err in LogDir.
func (s *Script) Bash() ([]byte, error) {
	if len(s.Command) == 0 {
		return nil, ErrCommand
	}
	var b strings.Builder
	b.Grow(8 << 10)
	b.WriteString("#!/bin/bash\n\nset -o pipefail -e\n")
	export(&b, "PRELAUNCH_OUT", s.LogDir+"/prelaunch.out")
	b.WriteString("exec >\"${PRELAUNCH_OUT}\"\n")
	export(&b, "PRELAUNCH_ERR", s.LogDir+"/prelaunch.err")
	b.WriteString("exec 2>\"${PRELAUNCH_ERR}\"\necho \"Setting up env variables\"\n")
	for _, v := range s.Inherited {
		if _, said := s.Said[v.Name]; !said {
			b.WriteString("export " + v.Name + "=${" + v.Name + ":-\"" + v.Value + "\"}\n")
		}
	}
	for _, v := range s.Node {
		export(&b, v.Name, v.Value)
	}
	for _, k := range order(s.Said) {
		if !slices.ContainsFunc(s.Node, func(v Variable) bool { return v.Name == k }) {
			export(&b, k, s.Said[k])
		}
	}
	b.WriteString("echo \"Launching container\"\nexec /bin/bash -c \"")
	for i, c := range s.Command {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(c)
	}
	b.WriteString("\"\n")
	if strings.IndexByte(b.String(), 0) >= 0 {
		return nil, ErrZero
	}
	return []byte(b.String()), nil
}

func export(b *strings.Builder, name, value string) {
	b.WriteString("export " + name + "=\"" + value + "\"\n")
}
