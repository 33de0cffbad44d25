package resourcemanager

import (
	"fmt"
	"slices"
	"sync"

	"fairway/adapters/hadooprpc"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
)

// Who may see an application, where access lists are on (Options.ACLs): its user, administrators of its queue, operators,
// Options.Admins, and whom VIEW_APP of its submission names. Others see that it is there, as in YARN, and no more.

// maxViewACL bounds the list that is kept of an application that has ended; of a longer one nobody is left.
const maxViewACL = 8 << 10

// viewer is somebody who asks about applications. What is found out about him holds for one call: a list of thousands of
// applications looks up his groups once. It serves one goroutine.
type viewer struct {
	m      *Manager
	name   string
	all    bool // sees every application
	groups func() []string
	queues map[string]bool // whether he administers them, by role
}

func (m *Manager) viewer(name string) *viewer {
	v := &viewer{m: m, name: name, queues: map[string]bool{}, groups: sync.OnceValue(func() []string { return groupsOf(name) })}
	v.all = !m.o.ACLs || m.isOperator(name) || listed(m.o.Admins, name, v.groups)
	return v
}

// sees tells whether he may see an application. Its mu must not be held: groups are looked up.
func (v *viewer) sees(a *application) bool {
	if v.all || v.name == a.user {
		return true
	}
	a.mu.Lock()
	role, list := a.queue.role, a.viewers
	a.mu.Unlock()
	if listed(list, v.name, v.groups) {
		return true
	}
	may, known := v.queues[role]
	if !known {
		may = slices.ContainsFunc(upward(role), func(p string) bool { return listed(v.m.setting(p).Administer, v.name, v.groups) })
		v.queues[role] = may
	}
	return may
}

// check refuses in YARN's words to tell of a part of an application.
func (v *viewer) check(a *application, what string, i fmt.Stringer) error {
	if v.sees(a) {
		return nil
	}
	return hadooprpc.Errorf(hadooprpc.YarnException, "User %s does not have privilege to see this %s %s", v.name, what, i)
}

// viewACL is the list of VIEW_APP of a submission; "" names nobody.
func viewACL(x *wire.ApplicationSubmissionContextProto) (list string) {
	for _, l := range x.GetAmContainerSpec().GetApplication_ACLs() {
		if l.GetAccessType() == wire.ApplicationAccessTypeProto_APPACCESS_VIEW_APP {
			list = l.GetAcl()
		}
	}
	return list
}

// keptViewers is the list as it is kept of an application that has ended.
func (a *application) keptViewers() string {
	if len(a.viewers) > maxViewACL || !utf8Clean(a.viewers) {
		return ""
	}
	return a.viewers
}

// Sees tells of which applications a caller may see more than that they are there. The function is for one goroutine, and
// for one page.
func (m *Manager) Sees(who Caller) func(id.ApplicationID) bool {
	v := m.viewer(shortName(who.User))
	return func(i id.ApplicationID) bool {
		if v.all {
			return true
		}
		a := m.find(i)
		return a != nil && v.sees(a)
	}
}

// Hidden is what an application's report shows to those who may not see it, as RMAppImpl.createAndGetApplicationReport has
// it: whose and which it is, its state, times and limits.
func (x Application) Hidden() Application {
	return Application{
		ID: x.ID, User: x.User, Name: x.Name, Queue: x.Queue, Type: x.Type, Tags: x.Tags, Priority: x.Priority, State: x.State, FinalStatus: x.FinalStatus,
		Submitted: x.Submitted, Launched: x.Launched, Finished: x.Finished, Expires: x.Expires, Unmanaged: x.Unmanaged, Label: x.Label, MasterLabel: x.MasterLabel,
		Diagnostics: "N/A", Host: "N/A", RPCPort: -1, TrackingURL: "N/A", OriginalURL: "N/A",
	}
}
