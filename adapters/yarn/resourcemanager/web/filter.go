package web

import (
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"fairway/adapters/yarn/resourcemanager"
	"fairway/adapters/yarn/wire"
)

// filter is what a query of /apps wants. Empty lists want all.
type filter struct {
	states            []wire.YarnApplicationStateProto
	final             *wire.FinalApplicationStatusProto
	user, name        string
	queues            []string // full paths and last names
	types, tags       []string // lower case
	limit             int
	started, finished span
}

// span is a range of milliseconds, both ends in it.
type span struct{ begin, end int64 }

func (s span) has(t time.Time) bool {
	v := int64(0)
	if !t.IsZero() {
		v = t.UnixMilli()
	}
	return v >= s.begin && v <= s.end
}

// values are the items of a parameter that is given several times, or once with commas.
func values(lists []string) []string {
	var l []string
	for _, list := range lists {
		for v := range strings.SplitSeq(list, ",") {
			if v = strings.TrimSpace(v); v != "" {
				l = append(l, v)
			}
		}
	}
	return l
}

// parseFilter reads a query; queues is asked only if it names one. Parameters that it does not know are left alone.
func parseFilter(q url.Values, queues func() []resourcemanager.QueueInfo) (*filter, error) {
	f := &filter{user: q.Get("user"), name: q.Get("name"), limit: math.MaxInt}
	for _, name := range values(append(q["states"], q["state"]...)) {
		v, ok := wire.YarnApplicationStateProto_value[strings.ToUpper(name)]
		if !ok {
			return nil, badRequest("Invalid application-state " + clip(name) + " specified. It should be one of [NEW, NEW_SAVING, SUBMITTED, ACCEPTED, RUNNING, FINISHED, FAILED, KILLED]")
		}
		f.states = append(f.states, wire.YarnApplicationStateProto(v))
	}
	if name := q.Get("finalStatus"); name != "" {
		v, ok := wire.FinalApplicationStatusProto_value["APP_"+name]
		if !ok {
			return nil, badArgument("No enum constant org.apache.hadoop.yarn.api.records.FinalApplicationStatus." + clip(name))
		}
		f.final = wire.FinalApplicationStatusProto(v).Enum()
	}
	f.queues = values(q["queue"])
	if len(f.queues) > 0 {
		known := queues()
		for _, name := range f.queues {
			if !slices.ContainsFunc(known, func(k resourcemanager.QueueInfo) bool { return k.Path == name || k.Name == name }) {
				return nil, badRequest("Unknown queue: " + clip(name))
			}
		}
	}
	for _, t := range values(q["applicationTypes"]) {
		f.types = append(f.types, strings.ToLower(t))
	}
	for _, t := range values(q["applicationTags"]) {
		f.tags = append(f.tags, strings.ToLower(t))
	}
	if text := q.Get("limit"); text != "" {
		n, err := parseInt("limit", text)
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			return nil, badRequest("limit value must be greater then 0")
		}
		f.limit = int(n)
	}
	var err error
	if f.started, err = parseSpan(q, "startedTime"); err != nil {
		return nil, err
	}
	f.finished, err = parseSpan(q, "finishedTime")
	return f, err
}

func parseSpan(q url.Values, name string) (span, error) {
	s := span{0, math.MaxInt64}
	for _, end := range []struct {
		name string
		at   *int64
	}{{name + "Begin", &s.begin}, {name + "End", &s.end}} {
		text := q.Get(end.name)
		if text == "" {
			continue
		}
		n, err := parseInt(end.name, text)
		if err != nil {
			return s, err
		}
		if n < 0 {
			return s, badRequest(end.name + " must be greater than 0")
		}
		*end.at = n
	}
	if s.begin > s.end {
		return s, badRequest(name + "End must be greater than " + name + "Begin")
	}
	return s, nil
}

func (f *filter) matches(a *resourcemanager.Application) bool {
	return (len(f.states) == 0 || slices.Contains(f.states, a.State)) &&
		(f.final == nil || *f.final == a.FinalStatus) &&
		(f.user == "" || f.user == a.User) &&
		(f.name == "" || f.name == a.Name) &&
		(len(f.queues) == 0 || slices.Contains(f.queues, a.Queue) || slices.Contains(f.queues, a.Queue[strings.LastIndexByte(a.Queue, '.')+1:])) &&
		(len(f.types) == 0 || slices.Contains(f.types, strings.ToLower(a.Type))) &&
		(len(f.tags) == 0 || slices.ContainsFunc(a.Tags, func(t string) bool { return slices.Contains(f.tags, strings.ToLower(t)) })) &&
		f.started.has(a.Submitted) && f.finished.has(a.Finished)
}
