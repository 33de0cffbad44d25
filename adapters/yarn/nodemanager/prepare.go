package nodemanager

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/yarn/grant"
	"fairway/adapters/yarn/nodemanager/launch"
	"fairway/adapters/yarn/nodemanager/localize"
	"fairway/adapters/yarn/wire"
	"fairway/agent/service"
	v1 "fairway/broker/api/fairwayv1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
)

const (
	script     = "launch_container.sh"
	tokensFile = "container_tokens"
	maxLinks   = 10_000

	// Of a link's name. A container could not use a longer one, and each level is a folder to be made.
	maxLinkBytes = 4096
	maxLinkDepth = 100
)

// Prepare implements service.Service.
func (m *Manager) Prepare(ctx context.Context, t service.Task) (*service.Launch, error) {
	g := &grant.Grant{}
	if err := proto.Unmarshal(t.Spec.Data, g); err != nil {
		return nil, fmt.Errorf("grant: %w", err)
	}
	a, err := m.admit(g, t.Spec.JobId, t.Spec.JobSecret, t.Account)
	if err != nil {
		return nil, err
	}
	c, err := m.granted(a, g, t.Spec)
	if err != nil {
		return nil, err
	}
	l, err := m.prepare(ctx, c, t)
	m.metrics.prepared(err)
	if err != nil && ctx.Err() == nil {
		var f *failure
		if !errors.As(err, &f) {
			f = &failure{statusInvalid, err.Error()}
		}
		m.mu.Lock()
		c.failure = f
		m.mu.Unlock()
	}
	return l, err
}

func (m *Manager) prepare(ctx context.Context, c *container, t service.Task) (*service.Launch, error) {
	lc, err := m.await(ctx, c)
	if err != nil {
		return nil, err
	}
	a := c.app
	if err := m.folders(ctx, a); err != nil {
		return nil, err
	}
	begun := time.Now()
	var told errgroup.Group // beside the files: a service may wait for a disk
	for _, aux := range m.auxiliary {
		told.Go(func() error {
			if err := aux.InitApplication(a.kept.Application, a.kept.User, t.Account.UID, serviceData(lc, aux.Name()), []string{m.appDir(a)}); err != nil {
				return fmt.Errorf("service %s: %w", aux.Name(), err)
			}
			return nil
		})
	}
	files, err := m.localise(ctx, c, lc.GetLocalResources(), t.Account)
	if problem := told.Wait(); err == nil && problem != nil {
		m.cache.Release(identifiers(files))
		err = problem
	}
	if err != nil {
		return nil, err
	}
	m.metrics.localise.Observe(time.Since(begun).Seconds())
	ids := make([]int64, len(files))
	var counts [4]int64 // bytes fetched and found, files fetched and found
	for i, f := range files {
		ids[i] = f.ID
		at := 0
		if f.Cached {
			at = 1
		}
		counts[at] += f.Bytes
		counts[2+at]++
	}
	m.mu.Lock()
	c.kept.Held, c.kept.Started = ids, time.Now().UnixMilli()
	k := c.kept
	m.mu.Unlock()
	if err := m.keepContainer(c.id, k); err != nil {
		return nil, err
	}
	work := filepath.Join(m.appDir(a), c.id.String())
	logs := filepath.Join(m.logDir(a), c.id.String())
	if err := ownFolder(logs, 0o700, t.Account); err != nil {
		return nil, err
	}
	m.metrics.bytes.WithLabelValues("fetched").Add(float64(counts[0]))
	m.metrics.bytes.WithLabelValues("cached").Add(float64(counts[1]))
	counters := fmt.Sprintf("%d,%d,%d,%d,%d", counts[0], counts[1], counts[2], counts[3], time.Since(begun).Milliseconds())
	body, err := m.script(c, lc, work, logs, counters)
	if err != nil {
		return nil, err
	}
	if err := m.fill(c, lc, files, body, t.Account); err != nil {
		return nil, err
	}
	shareLogs(t.Sandbox, logs, t.Account)
	showLaunch(work, logs)
	return &service.Launch{
		Command: &v1.Command{Argv: []string{"/bin/bash", filepath.Join(work, script)}, Env: map[string]string{"PATH": m.found.Env["PATH"]}},
		Dir:     work, BareEnv: true,
		// The backstop: the rule itself looks at resident memory every few seconds.
		MemoryLimitBytes: hardLimit(t.Spec.GetResources().GetMemoryBytes()),
		HardCPU:          m.o.HardCPU,
	}, nil
}

func hardLimit(bytes int64) int64 { return bytes + bytes/5 }

func serviceData(lc *wire.ContainerLaunchContextProto, name string) []byte {
	for _, d := range lc.GetServiceData() {
		if d.GetKey() == name {
			return d.GetValue()
		}
	}
	return nil
}

// resource checks and translates what a client asked for.
func resource(p *wire.LocalResourceProto) (localize.Resource, error) {
	u := p.GetResource()
	r := localize.Resource{Timestamp: p.GetTimestamp(), Pattern: p.GetPattern()}
	if !strings.HasPrefix(u.GetFile(), "/") || strings.ContainsAny(u.GetHost()+u.GetScheme(), "/\x00") {
		return r, fmt.Errorf("resource address %.300s is not absolute", u.String())
	}
	r.URL = u.GetFile()
	if u.GetScheme() != "" {
		authority := u.GetHost()
		if authority != "" && u.GetPort() > 0 {
			authority += ":" + strconv.Itoa(int(u.GetPort()))
		}
		r.URL = u.GetScheme() + "://" + authority + u.GetFile()
	}
	switch p.GetType() {
	case wire.LocalResourceTypeProto_ARCHIVE:
		r.Kind = localize.Archive
	case wire.LocalResourceTypeProto_PATTERN:
		r.Kind = localize.Pattern
	}
	switch p.GetVisibility() {
	case wire.LocalResourceVisibilityProto_PRIVATE:
		r.Visibility = localize.Private
	case wire.LocalResourceVisibilityProto_APPLICATION:
		r.Visibility = localize.Application
	case wire.LocalResourceVisibilityProto_PUBLIC:
		r.Visibility = localize.Public
	}
	return r, nil
}

// localise fetches all at once. On an error nothing stays held.
func (m *Manager) localise(ctx context.Context, c *container, wanted []*wire.StringLocalResourceMapProto, who service.Account) ([]localize.Held, error) {
	if len(wanted) > maxLinks {
		return nil, fmt.Errorf("more than %d local resources", maxLinks)
	}
	user := localize.User{Name: c.app.kept.User, Account: who, Application: c.app.kept.Application}
	held := make([]localize.Held, len(wanted))
	g, ctx := errgroup.WithContext(ctx)
	for i, w := range wanted {
		r, err := resource(w.GetValue())
		if err != nil {
			return nil, err
		}
		g.Go(func() (err error) {
			held[i], err = m.cache.Fetch(ctx, r, user)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		m.cache.Release(identifiers(held))
		return nil, err
	}
	return held, nil
}

func identifiers(held []localize.Held) []int64 {
	var ids []int64
	for _, h := range held {
		if h.ID != 0 {
			ids = append(ids, h.ID)
		}
	}
	return ids
}

// script writes the launch script's text.
func (m *Manager) script(c *container, lc *wire.ContainerLaunchContextProto, work, logs, counters string) ([]byte, error) {
	expand := func(s string) string { return launch.Expand(s, logs, m.found.Java) }
	s := &launch.Script{Inherited: m.found.variables(), Said: make(map[string]string, len(lc.GetEnvironment())), LogDir: logs}
	for _, e := range lc.GetEnvironment() {
		s.Said[e.GetKey()] = expand(e.GetValue())
	}
	needs := false
	for _, part := range lc.GetCommand() {
		s.Command = append(s.Command, expand(part))
		needs = needs || strings.Contains(part, "JAVA_HOME")
	}
	if needs && m.found.Env["JAVA_HOME"] == "" && s.Said["JAVA_HOME"] == "" {
		return nil, errors.New("JAVA_HOME is not known on this node: set yarn.env.JAVA_HOME in the agent's configuration")
	}
	user, _, _ := strings.Cut(c.app.kept.User, "@")
	s.Node = []launch.Variable{
		{Name: "HADOOP_TOKEN_FILE_LOCATION", Value: filepath.Join(work, tokensFile)},
		{Name: "CONTAINER_ID", Value: c.id.String()},
		{Name: "NM_PORT", Value: strconv.Itoa(int(m.node.Port))},
		{Name: "NM_HOST", Value: m.node.Host},
		{Name: "NM_HTTP_PORT", Value: strconv.Itoa(m.httpPort)},
		{Name: "LOCAL_DIRS", Value: m.appDir(c.app)},
		{Name: "LOCAL_USER_DIRS", Value: filepath.Join(m.local, "usercache", c.app.kept.User) + "/"},
		{Name: "LOG_DIRS", Value: logs},
		{Name: "USER", Value: user},
		{Name: "LOGNAME", Value: user},
		{Name: "HOME", Value: "/home/"},
		{Name: "PWD", Value: work},
		{Name: "LOCALIZATION_COUNTERS", Value: counters},
		{Name: "JVM_PID", Value: "$$"},
	}
	if _, said := s.Said["MALLOC_ARENA_MAX"]; !said {
		s.Node = append(s.Node, launch.Variable{Name: "MALLOC_ARENA_MAX", Value: "$MALLOC_ARENA_MAX"})
	}
	for _, aux := range m.o.Auxiliary {
		s.Node = append(s.Node, launch.Variable{Name: "NM_AUX_SERVICE_" + aux.Name(), Value: base64.StdEncoding.EncodeToString(aux.Metadata())})
	}
	return s.Bash()
}

type link struct{ key, target string }

// links are the names that the localised files get in the working folder. A name that ends in a star stands for each entry
// of a folder, linked into the working folder itself (MapReduce asks for the jars of -libjars so).
func links(lc *wire.ContainerLaunchContextProto, files []localize.Held) ([]link, error) {
	var out []link
	for i, w := range lc.GetLocalResources() {
		key, err := linkKey(w.GetKey())
		if err != nil {
			return nil, err
		}
		if path.Base(key) != "*" {
			out = append(out, link{key, files[i].Path})
			continue
		}
		entries, err := os.ReadDir(files[i].Path)
		if err != nil {
			return nil, fmt.Errorf("link %q: %w", w.GetKey(), err)
		}
		for _, e := range entries {
			out = append(out, link{e.Name(), filepath.Join(files[i].Path, e.Name())})
		}
		if len(out) > maxLinks {
			return nil, fmt.Errorf("more than %d links", maxLinks)
		}
	}
	return out, nil
}

// linkKey is the path in the working folder that a client names for a link.
func linkKey(said string) (string, error) {
	key := path.Clean(said)
	if !filepath.IsLocal(key) || key == "." || strings.IndexByte(key, 0) >= 0 {
		return "", fmt.Errorf("link %.200q leaves the working folder", said)
	}
	if len(said) > maxLinkBytes || strings.Count(key, "/") >= maxLinkDepth {
		return "", fmt.Errorf("link %.200q has more than %d bytes or %d levels", said, maxLinkBytes, maxLinkDepth)
	}
	return key, nil
}

// fill makes the working folder: links to what was localised, tokens, script. It belongs to the account in the end.
func (m *Manager) fill(c *container, lc *wire.ContainerLaunchContextProto, files []localize.Held, body []byte, who service.Account) error {
	app, err := os.OpenRoot(m.appDir(c.app))
	if err != nil {
		return err
	}
	defer app.Close()
	name := c.id.String()
	if err := app.RemoveAll(name); err != nil { // of a start that an agent's death cut short
		return err
	}
	if err := app.Mkdir(name, 0o700); err != nil {
		return err
	}
	root, err := app.OpenRoot(name)
	if err != nil {
		return err
	}
	defer root.Close()
	made := []string{"tmp", tokensFile, script}
	if err := root.Mkdir("tmp", 0o700); err != nil {
		return err
	}
	links, err := links(lc, files)
	if err != nil {
		return err
	}
	for _, l := range links {
		key := l.key
		for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
			made = append(made, dir)
		}
		if dir := path.Dir(key); dir != "." {
			if err := root.MkdirAll(dir, 0o700); err != nil {
				return err
			}
		}
		if err := root.Symlink(l.target, key); err != nil {
			if !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := errors.Join(root.Remove(key), root.Symlink(l.target, key)); err != nil {
				return err
			}
		}
		made = append(made, key)
	}
	tokens := lc.GetTokens()
	if len(tokens) == 0 {
		tokens = (&writable.Credentials{}).Marshal()
	}
	if err := root.WriteFile(tokensFile, tokens, 0o600); err != nil {
		return err
	}
	if err := root.WriteFile(script, body, 0o700); err != nil {
		return err
	}
	if !who.Switch {
		return nil
	}
	slices.Sort(made)
	for _, n := range slices.Compact(made) {
		if err := root.Lchown(n, who.UID, who.GID); err != nil {
			return err
		}
	}
	return root.Lchown(".", who.UID, who.GID)
}

// showLaunch puts the script among the logs, as YARN does for people who look into a start.
func showLaunch(work, logs string) {
	_ = os.Link(filepath.Join(work, script), filepath.Join(logs, script))
}

// shareLogs makes the container's stdout and stderr those of the task, so that they are found where all tasks' are. It is
// a convenience: what fails is left.
func shareLogs(sandbox, logs string, who service.Account) {
	for _, name := range []string{"stdout", "stderr"} {
		own := filepath.Join(sandbox, name)
		f, err := os.OpenFile(own, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
		if err != nil {
			continue
		}
		f.Close()
		if who.Switch {
			_ = os.Lchown(own, who.UID, who.GID)
		}
		_ = os.Link(own, filepath.Join(logs, name))
	}
}
