package resourcemanager

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/wire"
	v1 "fairway/broker/api/fairwayv1"
)

// Node labels are YARN's exclusive partitions. An agent is in the one that its attribute yarn.label names, or in that
// without a name; a container comes from the partition that the "*" row of its ask names, or its submission, and from no other.

const labelAttribute = "yarn.label"

// labelPattern is what YARN takes for the name of a label.
var labelPattern = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z_-]{0,254}$`)

// labelPause is how long an agent that came before its snapshot is not offered to a group that may not have it.
const labelPause = 2 * time.Second

const (
	saidNoLabels     = "Invalid resource request, node label not enabled but request contains label expression"
	saidUnknownLabel = "Invalid label resource request, cluster do not contain , label= "
	saidOwnLabels    = "Error when invoke method=%s because centralized node label configuration is not enabled. " +
		"An agent's label is agent.attributes \"" + labelAttribute + "\" of its own configuration; change it there and restart the agent"
)

// partitions say which agents may serve whom. They do not change once they are made.
type partitions struct {
	labels  []string          // of all agents, in order
	of      map[string]string // label by agent, of agents with the service; "": none
	foreign []string          // agents without the service, or with a label that is none; in order

	mu      sync.Mutex
	outside map[string][]string // by label
}

func newPartitions() *partitions {
	return &partitions{of: map[string]string{}, outside: map[string][]string{}}
}

func (p *partitions) add(agent, label string) {
	p.of[agent] = label
	if label != "" && !slices.Contains(p.labels, label) {
		p.labels = append(p.labels, label)
	}
}

func (p *partitions) settle() {
	slices.Sort(p.labels)
	slices.Sort(p.foreign)
}

// excluded are the agents that may not serve a label, in order.
func (p *partitions) excluded(label string) []string {
	if len(p.labels) == 0 && label == "" {
		return p.foreign
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out, known := p.outside[label]
	if !known {
		out = slices.Clone(p.foreign)
		for agent, l := range p.of {
			if l != label {
				out = append(out, agent)
			}
		}
		slices.Sort(out)
		p.outside[label] = out
	}
	return out
}

// same tells whether two divide the agents in the same way, as far as labels go.
func (p *partitions) same(q *partitions) bool {
	return slices.Equal(p.labels, q.labels) && (len(p.labels) == 0 || maps.Equal(p.of, q.of) && slices.Equal(p.foreign, q.foreign))
}

// checkLabel is the label that an expression of a row names; "": no label. isUsed knows labels whose agents may all be gone.
func (s *snapshot) checkLabel(expression, place, queue string, isUsed func(string) bool) (string, error) {
	label := strings.TrimSpace(expression)
	said := strings.ToValidUTF8(cut(label, 255), "\uFFFD")
	known := slices.Contains(s.split.labels, label) || isUsed != nil && isUsed(label)
	switch {
	case label == "" || known && place == anywhere:
		return label, nil
	case len(s.split.labels) == 0 && !known:
		return "", hadooprpc.Errorf(hadooprpc.InvalidLabelResourceRequest, "%s", saidNoLabels)
	case place != anywhere:
		return "", hadooprpc.Errorf(hadooprpc.InvalidLabelResourceRequest,
			"Invalid resource request, queue=%s specified node label expression in a resource request has resource name = %s", queue, place)
	case strings.Contains(label, "&&"):
		return "", hadooprpc.Errorf(hadooprpc.InvalidLabelResourceRequest,
			"Invalid resource request, queue=%s specified more than one node label in a node label expression, node label expression = %s", queue, said)
	}
	return "", hadooprpc.Errorf(hadooprpc.InvalidLabelResourceRequest, "%s%s", saidUnknownLabel, said)
}

// adoptLabels takes from the submission the label of the application's asks that name none, and that of its master.
func (a *application) adoptLabels() {
	a.label = strings.TrimSpace(a.submission.GetNodeLabelExpression())
	a.masterLabel = a.label
	for _, r := range a.submission.GetAmContainerResourceRequest() {
		if r.GetResourceName() == anywhere && r.NodeLabelExpression != nil {
			a.masterLabel = strings.TrimSpace(r.GetNodeLabelExpression())
		}
	}
}

// checkLabels holds what a submission says of labels against the cluster.
func (a *application) checkLabels() error {
	s, x := a.m.cluster(), a.submission
	queue := cut(x.GetQueue(), maxName)
	if _, err := s.checkLabel(x.GetNodeLabelExpression(), anywhere, queue, nil); err != nil {
		return err
	}
	for _, r := range x.GetAmContainerResourceRequest() {
		if _, err := s.checkLabel(r.GetNodeLabelExpression(), r.GetResourceName(), queue, nil); err != nil {
			return err
		}
	}
	return nil
}

// checkLabel is the label of a row of an ask. Only the "*" row has one: it is that of its whole group.
func (a *application) checkLabel(s *snapshot, t *attempt, r *wire.ResourceRequestProto) (string, error) {
	switch {
	case r.NodeLabelExpression != nil:
		return s.checkLabel(r.GetNodeLabelExpression(), r.GetResourceName(), a.queue.name, func(label string) bool { return slices.Contains(a.labels(t), label) })
	case r.GetResourceName() == anywhere:
		return a.label, nil
	}
	return "", nil
}

// labels are those that the application asks by, its own first.
func (a *application) labels(t *attempt) []string {
	out := []string{a.label}
	if a.masterLabel != a.label {
		out = append(out, a.masterLabel)
	}
	if t != nil && t.asks != nil {
		for _, g := range t.asks.byID {
			if !slices.Contains(out, g.label) {
				out = append(out, g.label)
			}
		}
	}
	return out
}

// mayServe tells whether an offer is of the partition that its group asks for. The agent may have come, or come back with
// another label, before a snapshot knew of it.
func (a *application) mayServe(t *attempt, o *v1.Offer) bool {
	label := ""
	if o.Group == t.masterAsk {
		label = a.masterLabel
	} else if g := t.asks.byID[o.Group]; g != nil {
		label = g.label
	}
	return o.Attributes[labelAttribute] == label
}

// repartition states the application's requests again, as other agents may serve them now.
func (a *application) repartition() {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.current()
	if t == nil || t.asks == nil || a.session == nil || a.closing || a.ended || a.restoring {
		return // a session that begins states all of them
	}
	if t.masterAsk != 0 {
		a.send(&v1.FrameworkCall{Call: &v1.FrameworkCall_Requests{Requests: &v1.UpdateRequests{Removed: []uint64{t.masterAsk}, LastOffer: a.lastOffer}}})
		t.masterAsk = 0
		a.askMaster()
	}
	t.asks.soil()
	a.ask()
}

// divide tells applications when the partitions are not those of the snapshot before.
func (m *Manager) divide(before, s *snapshot) {
	if s.split.same(before.split) {
		return
	}
	for _, a := range m.all() {
		a.repartition()
	}
}

// reach is what is free in the partitions that an application asks by.
func (a *application) reach(s *snapshot) (free amount) {
	for _, label := range a.labels(a.current()) {
		free = free.plus(s.freeOf[label])
	}
	return free
}

// least is the smaller memory and vcores of two.
func (a amount) least(b amount) amount {
	return amount{memory: min(a.memory, b.memory), vcores: min(a.vcores, b.vcores)}
}

// expressionText is a label as reports show it.
func expressionText(label string) string {
	if label == "" {
		return "<Not set>"
	}
	return label
}

func (m *Manager) getNodeToLabels(ctx context.Context, c *hadooprpc.Caller, q *wire.GetNodesToLabelsRequestProto) (proto.Message, error) {
	r := &wire.GetNodesToLabelsResponseProto{}
	for _, n := range m.cluster().nodes {
		if n.Label != "" {
			r.NodeToLabels = append(r.NodeToLabels, &wire.NodeIdToLabelsProto{NodeId: n.ID.Proto(), NodeLabels: []string{n.Label}})
		}
	}
	return r, nil
}

func (m *Manager) getLabelsToNodes(ctx context.Context, c *hadooprpc.Caller, q *wire.GetLabelsToNodesRequestProto) (proto.Message, error) {
	if len(q.GetNodeLabels()) > maxFilters {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "a filter of %d values", len(q.GetNodeLabels()))
	}
	s := m.cluster()
	r := &wire.GetLabelsToNodesResponseProto{}
	for _, label := range s.split.labels {
		if len(q.GetNodeLabels()) > 0 && !slices.Contains(q.GetNodeLabels(), label) {
			continue
		}
		x := &wire.LabelsToNodeIdsProto{NodeLabels: proto.String(label)}
		for _, n := range s.nodes {
			if n.Label == label {
				x.NodeId = append(x.NodeId, n.ID.Proto())
			}
		}
		r.LabelsToNodes = append(r.LabelsToNodes, x)
	}
	return r, nil
}

func (m *Manager) getClusterNodeLabels(ctx context.Context, c *hadooprpc.Caller, q *wire.GetClusterNodeLabelsRequestProto) (proto.Message, error) {
	r := &wire.GetClusterNodeLabelsResponseProto{}
	for _, label := range m.cluster().split.labels {
		r.NodeLabels = append(r.NodeLabels, &wire.NodeLabelProto{Name: proto.String(label), IsExclusive: proto.Bool(true)})
	}
	return r, nil
}
