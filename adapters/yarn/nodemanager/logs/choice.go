package logs

import (
	"fmt"
	"regexp"
	"strings"

	"fairway/adapters/yarn/wire"
	"google.golang.org/protobuf/proto"
)

// choice is which logs of an application are kept.
type choice struct {
	include, exclude *regexp.Regexp // nil: all, none
	policy           string
}

// parseChoice reads a LogAggregationContextProto; empty: all logs. A pattern that is Java's and not Go's is left out, so that
// rather too much is kept; the error says which.
func parseChoice(b []byte) (choice, error) {
	var c choice
	p := &wire.LogAggregationContextProto{}
	if err := proto.Unmarshal(b, p); err != nil {
		return c, fmt.Errorf("log aggregation context: %w", err)
	}
	name := p.GetLogAggregationPolicyClassName()
	c.policy = strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "LogAggregationPolicy")
	var first error
	compile := func(pattern string) *regexp.Regexp {
		if pattern == "" {
			return nil
		}
		re, err := regexp.Compile(pattern)
		if err != nil && first == nil {
			first = fmt.Errorf("log aggregation context: %w", err)
		}
		if err != nil {
			return nil
		}
		return re
	}
	c.include, c.exclude = compile(p.GetIncludePattern()), compile(p.GetExcludePattern())
	return c, first
}

// container tells whether a container's logs are kept. Of an unknown policy all are.
func (c choice) container(k EndedContainer) bool {
	killed := k.ExitStatus == 137 || k.ExitStatus == 143
	switch c.policy {
	case "NoneContainer":
		return false
	case "AMOnly":
		return k.Master
	case "AMOrFailedContainer":
		return k.Master || k.ExitStatus != 0 && !killed
	case "FailedContainer":
		return k.ExitStatus != 0 && !killed
	case "FailedOrKilledContainer":
		return k.ExitStatus != 0
	case "LimitSizeContainer":
		return k.ExitStatus != -109 // killed for the size of its logs
	}
	return true
}

// file tells whether a log is kept; a pattern may match any part of its name.
func (c choice) file(name string) bool {
	return (c.include == nil || c.include.MatchString(name)) && (c.exclude == nil || !c.exclude.MatchString(name))
}
