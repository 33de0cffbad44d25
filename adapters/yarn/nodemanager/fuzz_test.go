package nodemanager

import (
	"path/filepath"
	"testing"

	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/nodemanager/localize"
	"fairway/adapters/yarn/wire"
	"google.golang.org/protobuf/proto"
)

// Whatever a client sends as a launch context: its links stay inside, and its script is written or refused.
func FuzzLaunchContext(f *testing.F) {
	lc := said("{{JAVA_HOME}}/bin/java <ADD_OPENS> X", "CLASSPATH", "$PWD<CPS>{{A}}", "A", "$CLASSPATH")
	for _, key := range []string{"a", "a/b", "../a", "/etc/passwd", "d/*", ""} {
		lc.LocalResources = append(lc.LocalResources, &wire.StringLocalResourceMapProto{Key: proto.String(key), Value: &wire.LocalResourceProto{
			Resource: &wire.URLProto{Scheme: proto.String("hdfs"), Host: proto.String("h"), Port: proto.Int32(1), File: proto.String("/a/../b")}}})
	}
	b, err := proto.Marshal(lc)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for i, r := range lc.LocalResources {
		one, _ := proto.Marshal(&wire.ContainerLaunchContextProto{LocalResources: []*wire.StringLocalResourceMapProto{r}, Command: []string{lc.Command[0], string(rune('a' + i))}})
		f.Add(one)
	}
	empty := f.TempDir()
	m := newManager(Options{})
	m.found = Found{Env: map[string]string{"JAVA_HOME": "/jdk"}, Java: 17}
	m.node = id.NodeID{Host: "here", Port: 1}
	c := &container{id: cid(1), app: newApplication(testApp, keptApplication{Application: testApp.String(), User: "alice"}), grant: &grant.Grant{}}
	f.Fuzz(func(t *testing.T, b []byte) {
		lc := &wire.ContainerLaunchContextProto{}
		if proto.Unmarshal(b, lc) != nil {
			return
		}
		for _, r := range lc.GetLocalResources() {
			_, _ = resource(r.GetValue())
			_ = serviceData(lc, r.GetKey())
		}
		files := make([]localize.Held, len(lc.GetLocalResources()))
		for i := range files {
			files[i].Path = empty
		}
		l, err := links(lc, files)
		if err == nil {
			for _, x := range l {
				if !filepath.IsLocal(x.key) {
					t.Errorf("link %q", x.key)
				}
			}
		}
		_, _ = m.script(c, lc, "/work", "/logs", "0,0,0,0,0")
	})
}

// Whatever a master sends to be added to a running container: it is refused, or its names are inside and each comes once.
func FuzzLocalize(f *testing.F) {
	q := &wire.ResourceLocalizationRequestProto{ContainerId: cid(1).Proto()}
	for _, key := range []string{"a", "a/b", "a", "d/*"} {
		q.LocalResources = append(q.LocalResources, &wire.StringLocalResourceMapProto{Key: proto.String(key), Value: &wire.LocalResourceProto{
			Resource: &wire.URLProto{Scheme: proto.String("hdfs"), Host: proto.String("h"), Port: proto.Int32(1), File: proto.String("/a/" + key)}}})
	}
	for i := range q.LocalResources {
		for _, l := range [][]*wire.StringLocalResourceMapProto{q.LocalResources, q.LocalResources[i : i+1], {{Key: proto.String("../" + q.LocalResources[i].GetKey()), Value: q.LocalResources[i].Value}}} {
			b, err := proto.Marshal(&wire.ResourceLocalizationRequestProto{LocalResources: l})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q := &wire.ResourceLocalizationRequestProto{}
		if proto.Unmarshal(b, q) != nil {
			return
		}
		more, err := additions(q.GetLocalResources())
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, a := range more {
			key, err := linkKey(a.Key)
			if err != nil || !filepath.IsLocal(key) || seen[a.Key] {
				t.Errorf("link %q, %v", a.Key, err)
			}
			seen[a.Key] = true
			p := &wire.LocalResourceProto{}
			if err := proto.Unmarshal(a.Resource, p); err != nil {
				t.Error(err)
			}
			if _, err := resource(p); err != nil {
				t.Error(err)
			}
		}
		if all, fresh := extended(nil, more); len(all) != len(more) || len(fresh) != len(more) {
			t.Errorf("%d of %d", len(fresh), len(more))
		}
		if all, fresh := extended(more, more); len(all) != len(more) || len(fresh) != 0 {
			t.Errorf("%d again", len(fresh))
		}
	})
}
