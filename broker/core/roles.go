package core

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"fairway/broker/allocator"
	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
	"fairway/broker/state"
)

// loadRoles takes the roles of the state and then those of the configuration. A role that the configuration no longer
// names goes if nobody uses it, and else stays as one that an operator has set.
func (m *machine) loadRoles() {
	m.roles[0] = &role{}
	for r := range m.st.Roles() {
		m.roles[r.Number] = &role{num: r.Number, path: r.Path}
	}
	for _, n := range m.rolesInOrder()[1:] {
		r := m.st.Role(n.num)
		n.parent = m.roles[r.Parent]
	}
	for _, n := range m.rolesInOrder()[1:] { // by path, so parents come first
		m.roleEvent(m.st.Role(n.num))
	}
	named := map[string]bool{DefaultRole: true}
	if m.roleByPath(DefaultRole) == nil {
		m.setRole(DefaultRole, 1000, resource.Vector{}, resource.None(), true)
	}
	for _, c := range m.cfg.Roles {
		named[c.Path] = true
		weight := c.Weight
		if weight == 0 {
			weight = 1
		}
		guarantee, err := vector(c.Guarantee, &m.kinds)
		limit, err2 := limitVector(c.Limit, &m.kinds)
		if err = cmp.Or(err, err2); err != nil {
			m.log.Error(fmt.Sprintf("role %s of the configuration: %v", c.Path, err))
			continue
		}
		m.setRole(c.Path, int64(math.Round(weight*1000)), guarantee, limit, true)
	}
	all := m.rolesInOrder()
	for i := len(all) - 1; i > 0; i-- { // children first
		r := m.st.Role(all[i].num)
		if !r.Config || named[r.Path] || slices.ContainsFunc(all, func(o *role) bool { return strings.HasPrefix(o.path, r.Path+"/") }) {
			continue
		}
		if m.roleUse(all[i]) == "" {
			m.dropRole(all[i])
			continue
		}
		m.setRole(r.Path, r.Weight, r.Guarantee, r.Limit, false)
	}
}

// rolesInOrder are the root and all roles, parents before children.
func (m *machine) rolesInOrder() []*role {
	all := make([]*role, 0, len(m.roles))
	for _, r := range m.roles {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *role) int { return strings.Compare(a.path, b.path) })
	return all
}

func (m *machine) roleByPath(path string) *role {
	if r := m.st.RoleByPath(path); r != nil {
		return m.roles[r.Number]
	}
	return nil
}

// findRole is the role that a peer names, or an error that names those there are.
func (m *machine) findRole(path string) (*role, error) {
	if path == "" {
		path = DefaultRole
	}
	if r := m.roleByPath(path); r != nil {
		return r, nil
	}
	var known []string
	for _, r := range m.rolesInOrder()[1:] {
		if known = append(known, r.path); len(known) == 20 {
			known = append(known, "...")
			break
		}
	}
	return nil, fmt.Errorf("%w: role %q is unknown; there are %s; `fairway roles set` makes more", api.ErrNotFound, path, strings.Join(known, ", "))
}

// setRole makes or changes a role, with the parents it lacks.
func (m *machine) setRole(path string, weight int64, guarantee, limit resource.Vector, config bool) *role {
	parent := m.roles[0]
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		if parent = m.roleByPath(path[:i]); parent == nil {
			parent = m.setRole(path[:i], 1000, resource.Vector{}, resource.None(), config)
		}
	}
	old := m.st.RoleByPath(path)
	f := state.Fact{Kind: state.RoleSet, Parent: parent.num, Name: path, Weight: weight, Guarantee: guarantee, Limit: limit, Flag: config}
	if old != nil {
		if old.Weight == weight && old.Guarantee == guarantee && old.Limit == limit && old.Config == config {
			return m.roles[old.Number]
		}
		f.Role = old.Number
	} else {
		f.Role = m.st.NextRole()
	}
	m.fact(f)
	r := m.roles[f.Role]
	if r == nil {
		r = &role{num: f.Role, path: path, parent: parent}
		m.roles[f.Role] = r
	}
	m.roleEvent(m.st.Role(f.Role))
	m.changed = true
	return r
}

func (m *machine) roleEvent(r *state.Role) {
	m.event(allocator.Event{
		Kind: allocator.RoleSet, Role: allocator.RoleID(r.Number), Parent: allocator.RoleID(r.Parent),
		Weight: r.Weight, Guarantee: r.Guarantee, Limit: r.Limit,
	})
}

// roleUse says who keeps a role from going; "" if nobody.
func (m *machine) roleUse(r *role) string {
	for _, o := range m.roles {
		if o.parent == r {
			return "it has roles below it"
		}
	}
	for f := range m.st.Frameworks() {
		if f.Role == r.num && (!f.HasEnded || m.st.LiveTasksOfFramework(f.Number) > 0) && !(strings.HasPrefix(f.ID, launcherPrefix) && m.st.LiveTasksOfFramework(f.Number) == 0) {
			return "framework " + f.ID + " works for it"
		}
	}
	for j := range m.st.Jobs() {
		if j.Role == r.num && !j.HasEnded() {
			return "job " + j.ID + " works for it"
		}
	}
	return ""
}

func (m *machine) dropRole(r *role) {
	if r.launcher != nil {
		m.endFramework(r.launcher, v1.TaskReason_TASK_REASON_FRAMEWORK_GONE, api.ErrSessionEnded)
		r.launcher = nil
	}
	m.fact(state.Fact{Kind: state.RoleRemoved, Role: r.num})
	m.event(allocator.Event{Kind: allocator.RoleRemove, Role: allocator.RoleID(r.num)})
	delete(m.roles, r.num)
	m.changed = true
}

// charge counts a task for a role and all above it.
func (r *role) charge(v resource.Vector) {
	for ; r != nil; r = r.parent {
		r.used = r.used.Add(v)
		r.running++
	}
}

func (r *role) discharge(v resource.Vector) {
	for ; r != nil; r = r.parent {
		r.used = r.used.Sub(v)
		r.running--
	}
}

// ListRoles implements api.Broker.
func (b *Broker) ListRoles(ctx context.Context, caller api.Caller) ([]*v1.Role, error) {
	return ask(ctx, b, func(m *machine, reply func([]*v1.Role, error)) {
		all := m.rolesInOrder()[1:]
		out := make([]*v1.Role, 0, len(all))
		shares := make(map[uint32]allocator.Share, len(all))
		m.alloc.Shares(func(id allocator.RoleID, s allocator.Share) { shares[uint32(id)] = s })
		for _, r := range all {
			out = append(out, m.roleMessage(r, shares[r.num]))
		}
		reply(out, nil)
	})
}

func (m *machine) roleMessage(r *role, share allocator.Share) *v1.Role {
	s := m.st.Role(r.num)
	out := &v1.Role{
		Path: r.path, Weight: float64(s.Weight) / 1000, Guarantee: amounts(s.Guarantee, &m.kinds), Limit: amounts(s.Limit, &m.kinds),
		Used: amounts(r.used, &m.kinds), TasksRunning: r.running, FromConfiguration: s.Config,
	}
	out.DominantShare, _ = r.used.Dominant(m.total)
	out.Offered, out.Frameworks = amounts(share.Offered, &m.kinds), uint32(share.Frameworks)
	out.TasksWaiting = uint32(min(share.Waiting, math.MaxUint32))
	return out
}

// SetRole implements api.Broker.
func (b *Broker) SetRole(ctx context.Context, caller api.Caller, r *v1.SetRoleRequest) (*v1.Role, error) {
	if !caller.Operator {
		return nil, fmt.Errorf("%w: only an operator may set roles", api.ErrDenied)
	}
	want := r.GetRole()
	if err := checkRolePath(want.GetPath()); err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrInvalid, err)
	}
	weight := want.Weight
	if weight == 0 {
		weight = 1
	}
	if !(weight >= 0.001 && weight <= 1e6) {
		return nil, fmt.Errorf("%w: a weight of %v; it lies between 0.001 and 1000000", api.ErrInvalid, weight)
	}
	return ask(ctx, b, func(m *machine, reply func(*v1.Role, error)) {
		old := m.st.RoleByPath(want.Path)
		if old != nil && r.CreateOnly {
			reply(nil, fmt.Errorf("%w: role %s", api.ErrExists, want.Path))
			return
		}
		guarantee, err := vector(want.Guarantee, &m.kinds)
		limit, err2 := limitVector(want.Limit, &m.kinds)
		if err = cmp.Or(err, err2); err != nil {
			reply(nil, fmt.Errorf("role %s: %w", want.Path, err))
			return
		}
		out := m.setRole(want.Path, int64(math.Round(weight*1000)), guarantee, limit, false)
		m.step()
		share, _ := m.alloc.RoleShare(allocator.RoleID(out.num))
		reply(m.roleMessage(out, share), nil)
	})
}

// RemoveRole implements api.Broker.
func (b *Broker) RemoveRole(ctx context.Context, caller api.Caller, path string) error {
	if !caller.Operator {
		return fmt.Errorf("%w: only an operator may remove roles", api.ErrDenied)
	}
	_, err := ask(ctx, b, func(m *machine, reply func(struct{}, error)) {
		r := m.roleByPath(path)
		switch {
		case r == nil:
			_, err := m.findRole(path)
			reply(struct{}{}, err)
		case path == DefaultRole:
			reply(struct{}{}, fmt.Errorf("%w: role %s always exists", api.ErrInvalid, path))
		default:
			if use := m.roleUse(r); use != "" {
				reply(struct{}{}, fmt.Errorf("%w: role %s is in use: %s", api.ErrInvalid, path, use))
				return
			}
			m.dropRole(r)
			reply(struct{}{}, nil)
		}
	})
	return err
}
