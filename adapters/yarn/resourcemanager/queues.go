package resourcemanager

import (
	"cmp"
	"os/user"
	"slices"
	"strings"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/wire"
)

// queue is a role as YARN names it.
type queue struct {
	role string // a/b
	name string // root.a.b
}

func queueOf(role string) *queue {
	return &queue{role: role, name: strings.TrimSuffix("root."+strings.ReplaceAll(role, "/", "."), ".")}
}

// findQueue is the queue that a client names: its whole path, the path without root, or its last name if no other has it.
func (s *snapshot) findQueue(name string) *queue {
	name = cmp.Or(name, "default")
	short := strings.TrimPrefix(name, "root.")
	if path := strings.ReplaceAll(short, ".", "/"); s.roles[path] != nil {
		return queueOf(path)
	}
	var found *queue
	for path := range s.roles {
		q := queueOf(path)
		if q.name == "root."+short {
			return q // a role whose name has a dot
		}
		if path == name || path[strings.LastIndexByte(path, '/')+1:] == name {
			if found != nil {
				return nil
			}
			found = q
		}
	}
	return found
}

// isOperator tells whether a user may do everything.
func (m *Manager) isOperator(name string) bool { return slices.Contains(m.o.Operators, name) }

// allows tells whether a list of users and groups, as Hadoop writes them, names a user.
func allows(list, name string) bool {
	return listed(list, name, func() []string { return groupsOf(name) })
}

// listed is allows with the user's groups, which are asked for if the list names groups.
func listed(list, name string, groups func() []string) bool {
	if strings.TrimSpace(list) == "*" {
		return true
	}
	has := func(names, name string) bool {
		for n := range strings.SplitSeq(names, ",") {
			if strings.TrimSpace(n) == name {
				return true
			}
		}
		return false
	}
	users, more, _ := strings.Cut(list, " ")
	if has(users, name) {
		return true
	}
	return strings.TrimSpace(more) != "" && slices.ContainsFunc(groups(), func(g string) bool { return has(more, g) })
}

// groupsOf are the groups of an account of this machine; none if there is no such account.
func groupsOf(name string) (out []string) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	for _, i := range ids {
		if g, err := user.LookupGroupId(i); err == nil {
			out = append(out, g.Name)
		}
	}
	return out
}

// setting is what the operator set for a queue.
func (m *Manager) setting(path string) Queue { return (*m.rights.Load())[path] }

// each parent of a path, itself first, "" (the root) last.
func upward(path string) (out []string) {
	for p := path; p != ""; p = parentOf(p) {
		out = append(out, p)
	}
	return append(out, "")
}

func (m *Manager) maySubmit(who, path string) bool {
	if m.mayAdminister(who, path) {
		return true
	}
	stated := false
	for _, p := range upward(path) {
		list := m.setting(p).Submit
		stated = stated || list != ""
		if list != "" && allows(list, who) {
			return true
		}
	}
	return !stated
}

func (m *Manager) mayAdminister(who, path string) bool {
	if m.isOperator(who) {
		return true
	}
	for _, p := range upward(path) {
		if list := m.setting(p).Administer; list != "" && allows(list, who) {
			return true
		}
	}
	return false
}

// mayModify tells whether a user may kill or change an application.
func (a *application) mayModify(who string) bool {
	if who == a.user || a.m.mayAdminister(who, a.queue.role) {
		return true
	}
	for _, x := range a.submission.GetAmContainerSpec().GetApplication_ACLs() {
		if x.GetAccessType() == wire.ApplicationAccessTypeProto_APPACCESS_MODIFY_APP && strings.TrimSpace(x.GetAcl()) != "" && allows(x.GetAcl(), who) {
			return true
		}
	}
	return false
}

func (a *application) checkModify(who string) error {
	if a.mayModify(who) {
		return nil
	}
	return hadooprpc.Errorf(hadooprpc.AccessControlException, "User %s cannot perform operation MODIFY_APP on %s", who, a.id)
}

// isStopped tells whether a queue or one above it takes no applications.
func (m *Manager) isStopped(path string) bool {
	return slices.ContainsFunc(upward(path), func(p string) bool { return m.setting(p).Stopped })
}

// mayTake says in YARN's words why a queue does not take one more application.
func (m *Manager) mayTake(q *queue, who, application string, live int) error {
	if !m.maySubmit(who, q.role) {
		return hadooprpc.Errorf(hadooprpc.AccessControlException, "User %s does not have permission to submit %s to queue %s", who, application, q.name)
	}
	for _, p := range upward(q.role) {
		if m.setting(p).Stopped {
			return hadooprpc.Errorf(hadooprpc.YarnException, "Queue %s is STOPPED. Cannot accept submission of application: %s", queueOf(p).name, application)
		}
	}
	if most := cmp.Or(m.setting(q.role).MaxApplications, defaultApplications); live >= most {
		return hadooprpc.Errorf(hadooprpc.YarnException, "Queue %s already has %d applications, cannot accept submission of application: %s", q.name, live, application)
	}
	return nil
}

// liveIn counts the live applications of a queue.
func (m *Manager) liveIn(path string) (n int) {
	for _, a := range m.all() {
		a.mu.Lock()
		if !a.closing && a.queue.role == path {
			n++
		}
		a.mu.Unlock()
	}
	return n
}
