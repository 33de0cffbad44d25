package yarnjobs

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairway/adapters/hadooprpc/writable"
	"fairway/adapters/hdfs"
	"fairway/integration/testbed"
)

// tenant is a user with a job whose map has ended and whose reduce waits at a gate: all that such a job has on disks and
// behind ports is there.
type tenant struct {
	user, queue string
	uid, gid    uint32 // that its containers run as
	job         *job
	app         string
	started     func() int
	open        func()
	credentials *writable.Credentials // of one of its containers
}

const tenantLines = 20

func (u *tenant) begin(t *testing.T, r *rig) {
	t.Helper()
	account, err := user.Lookup(u.user)
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			t.Fatal(err)
		}
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	u.uid, u.gid = uint32(uid), uint32(gid)
	var b strings.Builder
	for i := range tenantLines {
		fmt.Fprintf(&b, "line %d of %s\n", i, u.user)
	}
	world.Put(t, u.user, home(u.user, "two/in.txt"), b.String())
	var reducer string
	reducer, u.started, u.open = gate(t)
	u.job = r.begin(t.Context(), u.user, world.In.StreamingJar(), "-Dmapreduce.job.queuename="+u.queue, "-Dmapreduce.job.maps=1", "-files", reducer,
		"-input", home(u.user, "two"), "-output", home(u.user, "two-out"), "-mapper", "cat", "-reducer", filepath.Base(reducer))
}

// hold waits until the reduce has begun and finds out what the job is called and what its containers know.
func (u *tenant) hold(t *testing.T, r *rig) {
	t.Helper()
	await(t, "the reduce of "+u.user, 4*time.Minute, func() bool {
		select {
		case <-u.job.done:
			t.Fatalf("the job of %s ended: %v\n%s\n%s", u.user, u.job.err, u.job.res.Output, r.Logs())
		default:
		}
		return u.started() > 0
	})
	var page struct {
		Apps struct {
			App []struct{ ID, User, Queue string }
		}
	}
	r.get(t, "/ws/v1/cluster/apps?states=RUNNING&user="+u.user, &page)
	if len(page.Apps.App) != 1 || page.Apps.App[0].User != u.user || page.Apps.App[0].Queue != "root."+u.queue {
		t.Fatalf("the running applications of %s are %+v", u.user, page.Apps.App)
	}
	u.app = page.Apps.App[0].ID
	files := u.files(t, r, "local/usercache", u.user, "appcache", u.app, "container_*", "container_tokens")
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if u.credentials, err = writable.ParseCredentials(text); err != nil {
		t.Fatal(err)
	}
	if len(u.secret()) == 0 {
		t.Fatalf("%s holds no secret of the shuffle", files[0])
	}
}

// files are the paths on agents' disks that match; there is at least one.
func (u *tenant) files(t *testing.T, r *rig, pattern ...string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(append([]string{r.Dir, "agent*", "services", "yarn"}, pattern...)...))
	if err != nil || len(all) == 0 {
		t.Fatalf("no agent has %v (%v)", pattern, err)
	}
	return all
}

// secret is what the job's reduces sign their requests to the shuffle with.
func (u *tenant) secret() []byte { return u.credentials.Secret("MapReduceShuffleToken") }

// owns tells a path on an agent's disk that is the tenant's.
func (u *tenant) owns(path string, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == u.uid || strings.Contains(path, u.app) || strings.Contains(path, "/usercache/"+u.user+"/")
}

// may tries paths as a process of the tenant's account, which may read and write what is returned.
func (u *tenant) may(t *testing.T, paths []string) (read, write map[string]bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/bash", "-c", `while IFS= read -r -d '' f; do
if [ -d "$f" ]; then [ -r "$f" ] && printf 'r%s\0' "$f"; else { : <"$f"; } 2>/dev/null && printf 'r%s\0' "$f"; fi
[ -w "$f" ] && printf 'w%s\0' "$f"
done; exit 0`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid}}
	cmd.Dir, cmd.Env, cmd.Stdin = "/", []string{"LC_ALL=C"}, strings.NewReader(strings.Join(paths, "\x00")+"\x00")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	read, write = map[string]bool{}, map[string]bool{}
	for _, p := range strings.Split(string(out), "\x00") {
		if name, ok := strings.CutPrefix(p, "r"); ok {
			read[name] = true
		} else if name, ok := strings.CutPrefix(p, "w"); ok {
			write[name] = true
		}
	}
	return read, write
}

// Two users' jobs in two queues at once: both succeed, and while they run neither user gets at what the other's job has in
// the file system, on the agents' disks and behind the shuffle. The owner does, so what is refused is there.
func TestTwoUsersInTwoQueues(t *testing.T) {
	r := world.rig
	users := []*tenant{{user: testbed.WithAccount, queue: "analytics"}, {user: testbed.WithoutAccount, queue: "batch"}}
	for _, u := range users {
		u.begin(t, r)
	}
	for _, u := range users {
		u.hold(t, r)
	}
	for i, u := range users {
		other := users[1-i]
		t.Run("staging of "+u.user, func(t *testing.T) { checkStaging(t, u, other) })
		t.Run("disks of "+u.user, func(t *testing.T) { checkDisks(t, r, u, other) })
		t.Run("shuffle of "+u.user, func(t *testing.T) { checkShuffle(t, r, u, other) })
	}
	for _, u := range users {
		u.open()
	}
	for _, u := range users {
		u.job.wait(t, r, 3*time.Minute)
		checkLines(t, home(u.user, "two-out"), tenantLines)
		info, err := world.FS.Stat(t.Context(), home(u.user, "two-out/_SUCCESS"))
		if err != nil || info.Owner != u.user {
			t.Errorf("output of %s is owned by %q (%v)", u.user, info.Owner, err)
		}
	}
}

// checkStaging reads the job's files in HDFS as its owner and as another user.
func checkStaging(t *testing.T, u, other *tenant) {
	dir := "/tmp/hadoop-yarn/staging/" + u.user + "/.staging"
	file := dir + "/" + strings.Replace(u.app, "application", "job", 1) + "/job.xml"
	look := func(who string) (list, read error) {
		f, err := hdfs.Opener(hdfs.Options{ConfDir: world.DFS.ConfDir})(t.Context(), "", who)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, list = f.List(t.Context(), dir)
		in, read := f.Open(t.Context(), file)
		if read == nil {
			_, read = in.Read(make([]byte, 1))
			in.Close()
		}
		return list, read
	}
	if list, read := look(u.user); list != nil || read != nil {
		t.Errorf("its owner cannot list %s (%v) or read %s (%v)", dir, list, file, read)
	}
	if list, read := look(other.user); !errors.Is(list, fs.ErrPermission) || !errors.Is(read, fs.ErrPermission) {
		t.Errorf("%s lists %s (%v) or reads %s (%v)", other.user, dir, list, file, read)
	}
}

// checkDisks tries every file and folder of the daemons' as both accounts.
func checkDisks(t *testing.T, r *rig, u, other *tenant) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: agents of another account run all containers as themselves")
	}
	var paths []string
	infos := map[string]fs.FileInfo{}
	err := filepath.WalkDir(r.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return nil // it went while we looked
		}
		if info, err := d.Info(); err == nil {
			paths, infos[path] = append(paths, path), info
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	read, _ := u.may(t, paths)
	found := map[string]bool{}
	for p := range read {
		if u.owns(p, infos[p]) && strings.Contains(p, u.app) || strings.Contains(p, "/usercache/"+u.user+"/filecache/") {
			found[filepath.Base(p)] = true
		}
	}
	for _, name := range []string{"container_tokens", "launch_container.sh", "job.xml", "gate.sh", "file.out", "syslog"} {
		if !found[name] {
			t.Errorf("%s, whose job has a %s on an agent's disk, cannot read it", u.user, name)
		}
	}
	var secrets [][]byte
	for _, s := range u.credentials.Secrets {
		secrets = append(secrets, s.Key, []byte(base64.StdEncoding.EncodeToString(s.Key)))
	}
	for _, n := range u.credentials.Tokens {
		secrets = append(secrets, n.Token.Password, []byte(base64.StdEncoding.EncodeToString(n.Token.Password)))
	}
	read, write := other.may(t, paths)
	for p := range write {
		if u.owns(p, infos[p]) {
			t.Errorf("%s may write %s of %s", other.user, p, u.user)
		}
	}
	for p := range read {
		if u.owns(p, infos[p]) {
			t.Errorf("%s may read %s of %s", other.user, p, u.user)
		}
		if infos[p].IsDir() || infos[p].Size() > 8<<20 && infos[p].Mode()&0o111 != 0 { // our own program
			continue
		}
		body, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		for _, s := range secrets {
			if len(s) >= 8 && bytes.Contains(body, s) {
				t.Errorf("%s, which %s may read, holds a secret of %s", p, other.user, u.user)
			}
		}
	}
}

// checkShuffle asks for the job's map output, signed by its own secret and by another job's.
func checkShuffle(t *testing.T, r *rig, u, other *tenant) {
	output := u.files(t, r, "local/usercache", u.user, "appcache", u.app, "output", "attempt_*", "file.out")[0]
	attempt := filepath.Base(filepath.Dir(output))
	agent, _, _ := strings.Cut(strings.TrimPrefix(output, filepath.Join(r.Dir, "agent")), "/")
	n, err := strconv.Atoi(agent)
	if err != nil {
		t.Fatal(err)
	}
	port := shufflePort(t, filepath.Join(r.Dir, "agent"+agent, "services", "yarn", "logs", u.app))
	address := net.JoinHostPort(testbed.Hosts()[n-1].Name, strconv.Itoa(port))
	ask := func(app string, secret []byte) (int, string) {
		uri := "/mapOutput?job=" + strings.Replace(app, "application", "job", 1) + "&reduce=0&map=" + attempt
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("name", "mapreduce")
		req.Header.Set("version", "1.0.0")
		if secret != nil {
			h := hmac.New(sha1.New, secret)
			io.WriteString(h, strconv.Itoa(port)+uri)
			req.Header.Set("UrlHash", base64.StdEncoding.EncodeToString(h.Sum(nil)))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	line := "line 0 of " + u.user
	if status, body := ask(u.app, u.secret()); status != http.StatusOK || !strings.Contains(body, line) {
		t.Errorf("by its own secret: %d %.200q", status, body)
	}
	for what, c := range map[string]struct {
		app    string
		secret []byte
		status int
	}{
		"by the other's secret":       {u.app, other.secret(), http.StatusUnauthorized},
		"as a map of the other's job": {other.app, other.secret(), http.StatusBadRequest},
		"without a hash":              {u.app, nil, http.StatusUnauthorized},
		"by the other's job token":    {u.app, jobToken(other), http.StatusUnauthorized},
	} {
		if status, body := ask(c.app, c.secret); status != c.status || strings.Contains(body, line) {
			t.Errorf("%s: %d %.200q, want %d", what, status, body, c.status)
		}
	}
}

// jobToken is the password of the token that the job's tasks know their master by.
func jobToken(u *tenant) []byte {
	if t, ok := u.credentials.OfKind("mapreduce.job"); ok {
		return t.Password
	}
	return []byte("none") // a master's container has none yet
}

var shuffleVariable = regexp.MustCompile(`NM_AUX_SERVICE_mapreduce_shuffle=["']?([A-Za-z0-9+/=]+)`)

// shufflePort is what the containers that have logs in a folder were told of their node's shuffle.
func shufflePort(t *testing.T, logs string) int {
	t.Helper()
	scripts, _ := filepath.Glob(filepath.Join(logs, "container_*", "launch_container.sh"))
	for _, s := range scripts {
		text, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		m := shuffleVariable.FindSubmatch(text)
		if m == nil {
			continue
		}
		if b, err := base64.StdEncoding.DecodeString(string(m[1])); err == nil && len(b) >= 4 {
			return int(binary.BigEndian.Uint32(b))
		}
	}
	t.Fatalf("no launch script in %s names the shuffle's port", logs)
	return 0
}
