package resourcemanager

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/wire"
)

// Placement constraints, as YARN's placement processor understands them: a container with allocation tags may go where the
// tags of the application's containers that are there already are as many as its constraint says. What is counted is what
// stood there before, so at most 0 of its own tag lets one stand on each node.

// Bounds of what a master may state.
const (
	maxRuleDepth      = 8
	maxRuleParts      = 64  // constraints and targets of one constraint
	maxRuleTags       = 256 // target values of one constraint
	maxRules          = 256 // that are registered with an application
	maxAllocationTags = 16  // of one container
)

// boundless is a maximum that is none: Integer.MAX_VALUE.
const boundless = math.MaxInt32

type ruleKind uint8

const (
	countOf ruleKind = iota // every target's tags are so many in its scope
	allOf
	anyOf
)

// rule is a constraint that was checked. nil holds everywhere.
type rule struct {
	kind     ruleKind
	rack     bool // its scope; else a node
	min, max int64
	targets  [][]string // tags of each, in order; an empty one is all tags that are there
	children []*rule
}

func unsupported(format string, args ...any) error {
	return hadooprpc.Errorf(hadooprpc.YarnException, "Invalid placement constraint: "+format, args...)
}

// ruleOf checks a constraint; nil is none.
func ruleOf(p *wire.PlacementConstraintProto) (*rule, error) {
	if p == nil {
		return nil, nil
	}
	b := &ruleBudget{parts: maxRuleParts, tags: maxRuleTags}
	return b.parse(p, 1)
}

// ruleBudget is what one constraint may still hold.
type ruleBudget struct{ parts, tags int }

func (b *ruleBudget) parse(p *wire.PlacementConstraintProto, depth int) (*rule, error) {
	b.parts -= 1 + len(p.GetSimpleConstraint().GetTargetExpressions())
	switch {
	case depth > maxRuleDepth:
		return nil, unsupported("it is nested deeper than %d", maxRuleDepth)
	case b.parts < 0:
		return nil, unsupported("it has more than %d constraints and targets", maxRuleParts)
	case p.GetSimpleConstraint() != nil && p.GetCompositeConstraint() != nil:
		return nil, unsupported("it is simple and composite")
	case p.GetSimpleConstraint() != nil:
		return b.simple(p.GetSimpleConstraint())
	case p.GetCompositeConstraint() == nil:
		return nil, unsupported("it says nothing")
	}
	c := p.GetCompositeConstraint()
	r := &rule{kind: allOf}
	switch {
	case c.GetCompositeType() == wire.CompositePlacementConstraintProto_OR:
		r.kind = anyOf
	case c.GetCompositeType() != wire.CompositePlacementConstraintProto_AND || len(c.GetTimedChildConstraints()) > 0:
		return nil, unsupported("Unsupported type of constraint: DelayedOr")
	}
	if len(c.GetChildConstraints()) == 0 {
		return nil, unsupported("a composite one has no children")
	}
	for _, child := range c.GetChildConstraints() {
		x, err := b.parse(child, depth+1)
		if err != nil {
			return nil, err
		}
		r.children = append(r.children, x)
	}
	return r, nil
}

func (b *ruleBudget) simple(p *wire.SimplePlacementConstraintProto) (*rule, error) {
	r := &rule{min: int64(p.GetMinCardinality()), max: int64(p.GetMaxCardinality())}
	switch p.GetScope() {
	case "node":
	case "rack":
		r.rack = true
	default:
		return nil, unsupported("scope %.64q; node and rack are supported", p.GetScope())
	}
	if r.min < 0 || r.max < 0 {
		return nil, unsupported("cardinality %d to %d", r.min, r.max)
	}
	for _, e := range p.GetTargetExpressions() {
		switch {
		case e.GetTargetType() == wire.PlacementConstraintTargetProto_NODE_ATTRIBUTE && e.GetTargetKey() == "yarn_node_partition/":
			return nil, unsupported("a node partition as its target; state the label in the application's submission or in a resource request")
		case e.GetTargetType() == wire.PlacementConstraintTargetProto_NODE_ATTRIBUTE:
			return nil, unsupported("node attribute %.64q as its target; nodes have no attributes here", e.GetTargetKey())
		case e.GetTargetType() != wire.PlacementConstraintTargetProto_ALLOCATION_TAG:
			return nil, unsupported("target type %s; ALLOCATION_TAG is supported", e.GetTargetType())
		}
		if space := strings.TrimSpace(e.GetTargetKey()); space != "" && space != "self" {
			return nil, unsupported("Invalid namespace prefix: %.64q, valid values are: self", space)
		}
		if b.tags -= len(e.GetTargetValues()); b.tags < 0 {
			return nil, unsupported("it names more than %d tags", maxRuleTags)
		}
		tags, err := tagsOf(e.GetTargetValues(), maxRuleTags)
		if err != nil {
			return nil, err
		}
		r.targets = append(r.targets, tags)
	}
	return r, nil
}

// tagsOf checks a set of allocation tags: at most limit, in order.
func tagsOf(tags []string, limit int) ([]string, error) {
	if len(tags) > limit {
		return nil, unsupported("%d allocation tags; %d are the most", len(tags), limit)
	}
	for _, tag := range tags {
		if tag == "" || len(tag) > maxPlaceName || !utf8Clean(tag) {
			return nil, unsupported("no allocation tag: %.64q", strings.ToValidUTF8(tag, "\uFFFD"))
		}
	}
	out := slices.Clone(tags)
	slices.Sort(out)
	return slices.Compact(out), nil
}

// both holds where both do.
func both(a, b *rule) *rule {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &rule{kind: allOf, children: []*rule{a, b}}
}

// key is the same for rules that hold in the same places.
func (r *rule) key() string { return fmt.Sprintf("%#v", r.plain()) }

// plain is r without pointers.
func (r *rule) plain() any {
	if r == nil {
		return nil
	}
	children := make([]any, len(r.children))
	for i, c := range r.children {
		children[i] = c.plain()
	}
	return []any{r.kind, r.rack, r.min, r.max, r.targets, children}
}

// holds tells whether one more container may go to an agent in a rack. Of several tags of one target YARN takes the most
// frequent for the minimum, and the rarest for the maximum.
func (r *rule) holds(x *tagCensus, agent, rack string) bool {
	if r == nil {
		return true
	}
	switch r.kind {
	case allOf:
		return !slices.ContainsFunc(r.children, func(c *rule) bool { return !c.holds(x, agent, rack) })
	case anyOf:
		return slices.ContainsFunc(r.children, func(c *rule) bool { return c.holds(x, agent, rack) })
	}
	counts := x.agents[agent]
	if r.rack {
		counts = x.racks[rack]
	}
	for _, tags := range r.targets {
		least, most := counts.extremes(tags)
		if r.min > 0 && most < r.min || r.max != boundless && least > r.max {
			return false
		}
	}
	return true
}

// tagCounts is how many containers in one place bear each tag.
type tagCounts map[string]int64

func (c tagCounts) extremes(tags []string) (least, most int64) {
	first := true
	see := func(n int64) {
		if first || n < least {
			least = n
		}
		most, first = max(most, n), false
	}
	if len(tags) == 0 {
		for _, n := range c {
			see(n)
		}
	}
	for _, tag := range tags {
		see(c[tag])
	}
	return least, most
}

// tagCensus counts the tags of an application's live containers.
type tagCensus struct {
	agents, racks map[string]tagCounts
	of            map[uint64]tagged // what was counted, by task
}

// tagged is a container as it was counted.
type tagged struct {
	agent, rack string
	tags        []string
}

// add counts a container once.
func (x *tagCensus) add(task uint64, agent, rack string, tags []string) {
	if x.of == nil {
		x.agents, x.racks, x.of = map[string]tagCounts{}, map[string]tagCounts{}, map[uint64]tagged{}
	}
	x.remove(task)
	x.of[task] = tagged{agent, rack, tags}
	x.count(x.agents, agent, tags, 1)
	x.count(x.racks, rack, tags, 1)
}

// remove takes a container off, if it was counted.
func (x *tagCensus) remove(task uint64) {
	if c, ok := x.of[task]; ok {
		delete(x.of, task)
		x.count(x.agents, c.agent, c.tags, -1)
		x.count(x.racks, c.rack, c.tags, -1)
	}
}

func (x *tagCensus) count(places map[string]tagCounts, name string, tags []string, n int64) {
	c := places[name]
	if c == nil {
		c = tagCounts{}
		places[name] = c
	}
	for _, tag := range tags {
		if c[tag] += n; c[tag] == 0 {
			delete(c, tag)
		}
	}
	if len(c) == 0 {
		delete(places, name)
	}
}

// rulesOf checks the constraints that a master registers, by the tag that each is for. As in YARN's constraint manager, one
// whose key is not a single tag is for no container.
func rulesOf(entries []*wire.PlacementConstraintMapEntryProto) (map[string]*rule, error) {
	if len(entries) > maxRules {
		return nil, unsupported("%d are registered; %d are the most", len(entries), maxRules)
	}
	out := map[string]*rule{}
	for _, e := range entries {
		tags, err := tagsOf(e.GetAllocationTags(), maxAllocationTags)
		if err != nil {
			return nil, err
		}
		r, err := ruleOf(e.GetPlacementConstraint())
		if err != nil {
			return nil, err
		}
		if len(tags) == 1 && r != nil {
			out[tags[0]] = r
		}
	}
	return out, nil
}
