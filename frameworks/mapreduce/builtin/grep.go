package builtin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"fairway/frameworks/mapreduce"
	"fairway/frameworks/mapreduce/run"
	"fairway/frameworks/mapreduce/sorter"
	"fairway/frameworks/mapreduce/spec"
)

// Properties of grep, by Hadoop's names.
const (
	regexProperty = "mapreduce.mapper.regex"
	groupProperty = "mapreduce.mapper.regexmapper..group"
)

// Grep counts the matches of a regular expression (of Go's syntax, https://golang.org/s/re2syntax) in lines of text, or
// of one of its groups. The output has the counts, highest first, each with its match. Args: IN OUT REGEX [GROUP].
// Hadoop's example takes two jobs for that; here the one reduce sorts once more.
func Grep(args []string) (spec.Job, error) {
	if len(args) != 3 && len(args) != 4 {
		return spec.Job{}, usageError("grep")
	}
	group := "0"
	if len(args) == 4 {
		group = args[3]
	}
	if _, err := newGrep(args[2], group); err != nil {
		return spec.Job{}, err
	}
	return spec.Job{
		Name: "grep", Inputs: args[:1], Output: args[1], Reduces: 1,
		Mapper:   spec.Stage{Function: "grep"},
		Combiner: spec.Stage{Function: "sum"},
		Reducer:  spec.Stage{Function: "grep"},
		Conf:     map[string]string{regexProperty: args[2], groupProperty: group},
	}, nil
}

// grepMap emits each match with a one.
type grepMap struct {
	re     *regexp.Regexp
	group  int
	prefix []byte // every match starts with it
}

func newGrep(expression, group string) (*grepMap, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("grep: %w", err)
	}
	n, err := strconv.Atoi(group)
	if err != nil || n < 0 || n > re.NumSubexp() {
		return nil, fmt.Errorf("grep: group %q: the expression has groups 0 to %d", group, re.NumSubexp())
	}
	prefix, _ := re.LiteralPrefix()
	return &grepMap{re: re, group: n, prefix: []byte(prefix)}, nil
}

func (g *grepMap) Setup(cx *mapreduce.Context) error {
	made, err := newGrep(cx.Conf(regexProperty, ""), cx.Conf(groupProperty, "0"))
	if err == nil {
		*g = *made
	}
	return err
}

func (g *grepMap) Map(_ *mapreduce.Context, _, line []byte, out mapreduce.Emitter) error {
	for _, m := range g.re.FindAllSubmatchIndex(line, -1) {
		start, end := m[2*g.group], m[2*g.group+1]
		if start < 0 {
			continue // a group that took no part in the match
		}
		if err := out.EmitInt(line[start:end], 1); err != nil {
			return err
		}
	}
	return nil
}

// MapChunk looks for the prefix first: most lines have no match.
func (g *grepMap) MapChunk(cx *mapreduce.Context, lines []byte, out mapreduce.Emitter) error {
	for len(lines) > 0 {
		if len(g.prefix) > 0 {
			at := bytes.Index(lines, g.prefix)
			if at < 0 {
				return nil
			}
			lines = lines[bytes.LastIndexByte(lines[:at], '\n')+1:]
		}
		line, rest, _ := bytes.Cut(lines, []byte{'\n'})
		if err := g.Map(cx, nil, line, out); err != nil {
			return err
		}
		lines = rest
	}
	return nil
}

// grepReduce adds the counts up and sorts by them.
type grepReduce struct {
	path   string
	counts sorter.Collector
	key    []byte
}

func (g *grepReduce) Setup(cx *mapreduce.Context) (err error) {
	g.path = filepath.Join(cx.Sandbox, "grep-counts.run")
	g.counts, err = sorter.New(sorter.Options{Partitions: 1, Memory: 16 << 20, Dir: cx.Sandbox})
	return err
}

func (g *grepReduce) Reduce(_ *mapreduce.Context, key []byte, values mapreduce.Values, _ mapreduce.Emitter) error {
	var sum int64
	for v := range values {
		n, err := mapreduce.ParseInt(v)
		if err != nil {
			return err
		}
		sum += n
	}
	// Counts are positive: their complement sorts the highest first.
	g.key = append(binary.BigEndian.AppendUint64(g.key[:0], ^uint64(sum)), key...)
	return g.counts.Emit(g.key, nil)
}

func (g *grepReduce) Close() error {
	if g.counts == nil {
		return nil
	}
	return g.counts.Close()
}

func (g *grepReduce) Cleanup(_ *mapreduce.Context, out mapreduce.Emitter) error {
	ix, err := g.counts.Finish(g.path)
	if err != nil {
		return err
	}
	f, err := os.Open(g.path)
	if err != nil {
		return err
	}
	r := run.NewReader(f, ix[0].Length, ix[0].Records)
	for r.Next() {
		count := strconv.FormatUint(^binary.BigEndian.Uint64(r.Key), 10)
		if err := out.Emit([]byte(count), r.Key[8:]); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(r.Err(), f.Close(), os.Remove(g.path))
}
