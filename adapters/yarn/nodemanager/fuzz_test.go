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
