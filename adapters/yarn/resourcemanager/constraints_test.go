package resourcemanager

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/wire"
)

// simple is a constraint on one set of tags.
func simple(scope string, least, most int32, tags ...string) *wire.PlacementConstraintProto {
	return &wire.PlacementConstraintProto{SimpleConstraint: &wire.SimplePlacementConstraintProto{
		Scope: proto.String(scope), MinCardinality: proto.Int32(least), MaxCardinality: proto.Int32(most),
		TargetExpressions: []*wire.PlacementConstraintTargetProto{target(wire.PlacementConstraintTargetProto_ALLOCATION_TAG, "self", tags...)},
	}}
}

func target(kind wire.PlacementConstraintTargetProto_TargetType, key string, values ...string) *wire.PlacementConstraintTargetProto {
	return &wire.PlacementConstraintTargetProto{TargetType: kind.Enum(), TargetKey: proto.String(key), TargetValues: values}
}

func apart(scope string, tags ...string) *wire.PlacementConstraintProto {
	return simple(scope, 0, 0, tags...)
}

func near(scope string, tags ...string) *wire.PlacementConstraintProto {
	return simple(scope, 1, math.MaxInt32, tags...)
}

func composite(kind wire.CompositePlacementConstraintProto_CompositeType, children ...*wire.PlacementConstraintProto) *wire.PlacementConstraintProto {
	return &wire.PlacementConstraintProto{CompositeConstraint: &wire.CompositePlacementConstraintProto{CompositeType: kind.Enum(), ChildConstraints: children}}
}

const (
	and = wire.CompositePlacementConstraintProto_AND
	or  = wire.CompositePlacementConstraintProto_OR
)

func TestConstraintHolds(t *testing.T) {
	var x tagCensus
	x.add(1, "a1", "/r1", []string{"db"})
	x.add(2, "a1", "/r1", []string{"db", "web"})
	x.add(3, "a2", "/r1", []string{"web"})
	x.add(4, "a3", "/r2", []string{"log"})
	x.add(5, "a3", "/r2", []string{"gone"})
	x.remove(5)
	x.remove(5)
	x.add(4, "a3", "/r2", []string{"log"}) // once only
	for _, c := range []struct {
		name string
		rule *wire.PlacementConstraintProto
		want string // agents on which it holds
	}{
		{"none", nil, "a1 a2 a3 a4"},
		{"apart from a tag", apart("node", "db"), "a2 a3 a4"},
		{"apart in racks", apart("rack", "db"), "a3 a4"},
		{"near a tag", near("node", "web"), "a1 a2"},
		{"near in racks", near("rack", "web"), "a1 a2"},
		{"at least two", simple("node", 2, math.MaxInt32, "db"), "a1"},
		{"at most one", simple("node", 0, 1, "db"), "a2 a3 a4"},
		{"a range in racks", simple("rack", 1, 2, "db"), "a1 a2"},
		{"the most frequent of several counts for the minimum", near("node", "db", "log"), "a1 a3"},
		{"the rarest of several counts for the maximum", apart("node", "db", "log"), "a1 a2 a3 a4"},
		{"any tag at all", near("node"), "a1 a2 a3"},
		{"no tag at all", apart("node"), "a4"},
		{"a tag that was removed", near("node", "gone"), ""},
		{"and", composite(and, near("node", "web"), apart("node", "db")), "a2"},
		{"or", composite(or, near("node", "log"), near("node", "db")), "a1 a3"},
		{"nested", composite(and, apart("node", "log"), composite(or, near("rack", "db"), near("node", "log"))), "a1 a2"},
		{"no targets", &wire.PlacementConstraintProto{SimpleConstraint: &wire.SimplePlacementConstraintProto{Scope: proto.String("node")}}, "a1 a2 a3 a4"},
	} {
		r, err := ruleOf(c.rule)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, place := range [][2]string{{"a1", "/r1"}, {"a2", "/r1"}, {"a3", "/r2"}, {"a4", "/r3"}} {
			if r.holds(&x, place[0], place[1]) {
				got = append(got, place[0])
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: holds on %q, want %q", c.name, s, c.want)
		}
	}
}

func TestConstraintRefused(t *testing.T) {
	deep := apart("node", "a")
	for range maxRuleDepth {
		deep = composite(and, deep)
	}
	wide := composite(and)
	for range maxRuleParts {
		wide.CompositeConstraint.ChildConstraints = append(wide.CompositeConstraint.ChildConstraints, apart("node", "a"))
	}
	many := composite(and, apart("node", strings.Fields(strings.Repeat("a ", maxRuleTags))...), apart("node", "a"))
	with := func(e *wire.PlacementConstraintTargetProto) *wire.PlacementConstraintProto {
		p := apart("node", "a")
		p.SimpleConstraint.TargetExpressions = append(p.SimpleConstraint.TargetExpressions, e)
		return p
	}
	mixed := composite(and, apart("node", "a"))
	mixed.SimpleConstraint = apart("node", "a").SimpleConstraint
	tag := wire.PlacementConstraintTargetProto_ALLOCATION_TAG
	for name, c := range map[string]struct {
		rule *wire.PlacementConstraintProto
		said string
	}{
		"scope":         {apart("cluster", "a"), "scope"},
		"no scope":      {apart("", "a"), "scope"},
		"negative":      {simple("node", -1, 0, "a"), "cardinality"},
		"partition":     {with(target(wire.PlacementConstraintTargetProto_NODE_ATTRIBUTE, "yarn_node_partition/", "gpu")), "node partition"},
		"attribute":     {with(target(wire.PlacementConstraintTargetProto_NODE_ATTRIBUTE, "rm.yarn.io/os", "linux")), "node attribute"},
		"self type":     {with(target(wire.PlacementConstraintTargetProto_SELF, "", "a")), "target type"},
		"all":           {with(target(tag, "all", "a")), "namespace"},
		"not-self":      {with(target(tag, "not-self", "a")), "namespace"},
		"app-id":        {with(target(tag, "app-id/application_1_0001", "a")), "namespace"},
		"delayed or":    {composite(wire.CompositePlacementConstraintProto_DELAYED_OR, apart("node", "a")), "DelayedOr"},
		"no children":   {composite(or), "children"},
		"nothing":       {&wire.PlacementConstraintProto{}, "nothing"},
		"two at once":   {mixed, "simple and composite"},
		"empty child":   {composite(and, nil), "nothing"},
		"too deep":      {deep, "deeper"},
		"too wide":      {wide, "more than"},
		"too many tags": {many, "more than"},
		"long tag":      {apart("node", strings.Repeat("a", maxPlaceName+1)), "allocation tag"},
		"empty tag":     {apart("node", ""), "allocation tag"},
		"not UTF-8":     {apart("node", "a\xff"), "allocation tag"},
	} {
		_, err := ruleOf(c.rule)
		var e *hadooprpc.Exception
		if !errors.As(err, &e) || e.Class != hadooprpc.YarnException || !strings.Contains(e.Message, c.said) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := rulesOf(make([]*wire.PlacementConstraintMapEntryProto, maxRules+1)); err == nil {
		t.Error("constraints without end were registered")
	}
	rules, err := rulesOf([]*wire.PlacementConstraintMapEntryProto{
		{AllocationTags: []string{"a"}, PlacementConstraint: apart("node", "a")}, {AllocationTags: []string{"b", "c"}, PlacementConstraint: apart("node", "b")},
	})
	if err != nil || len(rules) != 1 || rules["a"] == nil {
		t.Errorf("registered %v, %v", rules, err)
	}
}

// The counts of a census are those of counting anew, whatever came and went; and rules with one key agree.
func TestCensus(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var x tagCensus
	live := map[uint64]tagged{}
	for range 2000 {
		task := rnd.Uint64N(30)
		if rnd.IntN(3) == 0 {
			x.remove(task)
			delete(live, task)
		} else {
			n := rnd.IntN(5)
			c := tagged{agent: string(rune('a' + n)), rack: string(rune('r' + n%2)), tags: []string{"x", "y", "z"}[:1+rnd.IntN(3)]}
			x.add(task, c.agent, c.rack, c.tags)
			live[task] = c
		}
		var y tagCensus
		for task, c := range live {
			y.add(task, c.agent, c.rack, c.tags)
		}
		for range 3 {
			p := randomRule(rnd, 3)
			r, err := ruleOf(p)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := ruleOf(proto.Clone(p).(*wire.PlacementConstraintProto))
			if r.key() != again.key() {
				t.Fatalf("%v has the keys %s and %s", p, r.key(), again.key())
			}
			for n := range 6 {
				agent, rack := string(rune('a'+n)), string(rune('r'+n%2))
				if r.holds(&x, agent, rack) != again.holds(&y, agent, rack) {
					t.Fatalf("%v on %s after changes: %v", p, agent, r.holds(&x, agent, rack))
				}
			}
		}
	}
	for _, c := range live {
		if len(c.tags) == 0 {
			t.Error("a container without tags")
		}
	}
	for task := range live {
		x.remove(task)
	}
	if len(x.of)+len(x.agents)+len(x.racks) != 0 {
		t.Errorf("nothing lives, and there is %v", x)
	}
}

// randomRule is a valid constraint.
func randomRule(rnd *rand.Rand, depth int) *wire.PlacementConstraintProto {
	if depth > 1 && rnd.IntN(3) == 0 {
		c := composite([]wire.CompositePlacementConstraintProto_CompositeType{and, or}[rnd.IntN(2)])
		for range 1 + rnd.IntN(3) {
			c.CompositeConstraint.ChildConstraints = append(c.CompositeConstraint.ChildConstraints, randomRule(rnd, depth-1))
		}
		return c
	}
	scope := []string{"node", "node", "rack"}[rnd.IntN(3)]
	tags := []string{"x", "y", "z"}
	rnd.Shuffle(3, func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
	tags = tags[:1+rnd.IntN(2)]
	switch rnd.IntN(4) {
	case 0:
		return near(scope, tags...)
	case 1:
		return apart(scope, tags...)
	case 2:
		return simple(scope, 0, int32(1+rnd.IntN(3)), tags...)
	}
	least := int32(rnd.IntN(3))
	return simple(scope, least, least+int32(rnd.IntN(3)), tags...)
}

func FuzzConstraint(f *testing.F) {
	for _, p := range []*wire.PlacementConstraintProto{
		nil, {}, apart("node", "a"), near("rack", "a", "b"), composite(and, apart("node", "a"), composite(or, near("node", "b"))), composite(and, nil),
		composite(wire.CompositePlacementConstraintProto_DELAYED_OR), simple("node", -1, 5, ""),
		{SimpleConstraint: &wire.SimplePlacementConstraintProto{Scope: proto.String("node"), TargetExpressions: []*wire.PlacementConstraintTargetProto{
			target(wire.PlacementConstraintTargetProto_NODE_ATTRIBUTE, "k", "v"), target(wire.PlacementConstraintTargetProto_SELF, "not-self")}}},
	} {
		b, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p wire.PlacementConstraintProto
		if (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(b, &p) != nil {
			return
		}
		r, err := ruleOf(&p)
		if err != nil {
			var e *hadooprpc.Exception
			if !errors.As(err, &e) || !utf8Clean(e.Message) || len(e.Message) > 1024 {
				t.Errorf("refused with %v", err)
			}
			return
		}
		var x tagCensus
		x.add(1, "a1", "/r1", []string{"a"})
		r.holds(&x, "a1", "/r1")
		if k := r.key(); k != r.key() {
			t.Error("a key that changes")
		}
	})
}
