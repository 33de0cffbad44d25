package logs

import (
	"os/user"
	"slices"
	"strings"
)

// anonymous is who asks without a name, as Hadoop's pages call him.
const anonymous = "dr.who"

// viewRight is the access type that reading asks for.
const viewRight = "VIEW_APP"

// allows tells whether an access list ("user1,user2 group1,group2", or "*") names a user or a group of his.
func allows(acl, who string, groups func(string) []string) bool {
	if strings.TrimSpace(acl) == "*" {
		return true
	}
	users, of, _ := strings.Cut(acl, " ")
	if slices.Contains(names(users), who) {
		return true
	}
	listed := names(of)
	return len(listed) > 0 && slices.ContainsFunc(groups(who), func(g string) bool { return slices.Contains(listed, g) })
}

func names(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// hostGroups are a user's groups on this host; of an unknown user none.
func hostGroups(who string) []string {
	u, err := user.Lookup(who)
	if err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	var all []string
	for _, gid := range ids {
		if g, err := user.LookupGroupId(gid); err == nil {
			all = append(all, g.Name)
		}
	}
	return all
}
