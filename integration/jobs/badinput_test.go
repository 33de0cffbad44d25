package jobs

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/storage"
	"fairway/integration/cluster"
)

func TestRefusals(t *testing.T) {
	in := put(t, "/jobs/bad/in.txt", "a b\n")
	for _, tc := range []struct {
		name string
		want []string
		args []string
	}{
		{"missing input", []string{"/jobs/absent"}, []string{"wordcount", "hdfs:///jobs/absent", "hdfs:///jobs/o1"}},
		{"existing output", []string{"/jobs/bad", "exist"}, []string{"wordcount", in, "hdfs:///jobs/bad"}},
		{"glob of nothing", []string{"*.nope"}, []string{"wordcount", "hdfs:///jobs/bad/*.nope", "hdfs:///jobs/o2"}},
		{"no program", []string{"no-such-program"}, []string{"-input", in, "-output", "hdfs:///jobs/o3", "-mapper", "./no-such-program", "-reducer", "sum"}},
		{"missing file", []string{"absent.py"}, []string{"-input", in, "-output", "hdfs:///jobs/o4", "-mapper", "cat", "-file", "absent.py"}},
		{"unknown role", []string{"nobody", "analytics"}, []string{"wordcount", in, "hdfs:///jobs/o5", "--role", "nobody"}},
		{"larger than any agent", []string{"memory", "6GiB"}, []string{"wordcount", in, "hdfs:///jobs/o6", "--map-memory", "100GiB"}},
		{"no NameNode there", []string{"127.0.0.1:1"}, []string{"wordcount", "hdfs://127.0.0.1:1/x", "hdfs:///jobs/o7"}},
		{"no such host", []string{"no-such-host.invalid"}, []string{"wordcount", "hdfs://no-such-host.invalid:8020/x", "hdfs:///jobs/o8"}},
		{"unknown scheme", []string{"gopher"}, []string{"wordcount", "gopher://x/y", "hdfs:///jobs/o9"}},
		{"no output", []string{"-output"}, []string{"-input", in, "-mapper", "cat"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			oneLine(t, refused(t, world.c, tc.want, append([]string{"submit", "mapreduce", "-q"}, tc.args...)...).Error())
		})
	}
}

func oneLine(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(strings.TrimSpace(text), "\n") {
		t.Errorf("more than one line: %s", text)
	}
}

// TestNotANameNode: a server that speaks something else, and one that says nothing.
func TestNotANameNode(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"speaks HTTP": func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); c.Close() },
		"silent":      func(c net.Conn) { io.Copy(io.Discard, c) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go serve(c)
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := world.c.Command(ctx, "submit", "mapreduce", "wordcount", "hdfs://"+l.Addr().String()+"/in", "hdfs:///jobs/nn-out")
			cmd.Env = append(cmd.Env, "FAIRWAY_HDFS_TIMEOUT=3s")
			out, err := cmd.CombinedOutput()
			if err == nil || ctx.Err() != nil || !strings.Contains(string(out), l.Addr().String()) {
				t.Errorf("%v: %s", err, out)
			}
			oneLine(t, string(out))
			if code := cmd.ProcessState.ExitCode(); code != 1 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestMapperFailures(t *testing.T) {
	text, _ := lines(2_000)
	in := put(t, "/jobs/fail/in.txt", text)
	fail := filepath.Join(t.TempDir(), "fail.sh")
	write(t, fail, "head -1 >/dev/null\necho this is why >&2\nexit 3\n")
	refused(t, world.c, []string{"this is why", "3"}, "submit", "mapreduce", "-input", in, "-output", "hdfs:///jobs/fail/out", "-mapper", "sh fail.sh",
		"-reducer", "sum", "-file", fail, "-D", "mapreduce.map.maxattempts=2")
	if _, err := world.FS.Stat(t.Context(), "/jobs/fail/out/_SUCCESS"); err == nil {
		t.Error("a failed job left _SUCCESS")
	}
	hang := filepath.Join(t.TempDir(), "hang.sh")
	write(t, hang, "echo hanging now >&2\nexec tail -f /dev/null\n")
	refused(t, world.c, []string{"hang"}, "submit", "mapreduce", "-input", in, "-output", "hdfs:///jobs/hang/out", "-mapper", "sh hang.sh",
		"-reducer", "sum", "-file", hang, "-D", "mapreduce.map.maxattempts=1", "-D", "mapreduce.task.timeout=3000")
	quiet := filepath.Join(t.TempDir(), "quiet.sh")
	write(t, quiet, "echo I read nothing >&2\n") // ends well without reading its input
	refused(t, world.c, []string{"I read nothing"}, "submit", "mapreduce", "-input", in, "-output", "hdfs:///jobs/quiet/out", "-mapper", "sh quiet.sh",
		"-reducer", "sum", "-file", quiet, "-D", "mapreduce.map.maxattempts=1")
}

func TestUnreadableFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("switching to another account needs root")
	}
	if exec.Command("id", "nobody").Run() != nil {
		t.Skip("no account nobody")
	}
	put(t, "/jobs/secret/in.txt", "x\n")
	if err := world.FS.Mkdir(t.Context(), "/jobs/locked", 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := world.FS.Create(t.Context(), "/jobs/locked/in.txt", storage.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	oneLine(t, refused(t, world.c, []string{"/jobs/locked", "ermission"}, "submit", "mapreduce", "-q", "wordcount", "hdfs:///jobs/locked", "hdfs:///tmp/locked-out",
		"--user", "nobody").Error())
}

func TestCorruptBlock(t *testing.T) {
	text, _ := lines(20_000)
	put(t, "/jobs/corrupt/in.txt", text)
	if err := world.DFS.CorruptFile(t.Context(), "/jobs/corrupt/in.txt"); err != nil {
		t.Fatal(err)
	}
	oneLine(t, refused(t, world.c, []string{"/jobs/corrupt/in.txt", "corrupt"}, "submit", "mapreduce", "-q", "wordcount", "hdfs:///jobs/corrupt/in.txt",
		"hdfs:///jobs/corrupt-out", "-D", "mapreduce.map.maxattempts=1").Error())
}

func TestBadGzip(t *testing.T) {
	put(t, "/jobs/badgz/in.gz", "\x1f\x8b\x08\x00garbage that is no deflate stream")
	refused(t, world.c, []string{"/jobs/badgz/in.gz"}, "submit", "mapreduce", "wordcount", "hdfs:///jobs/badgz/in.gz", "hdfs:///jobs/badgz-out",
		"-D", "mapreduce.map.maxattempts=1")
}

func TestMemoryLimit(t *testing.T) {
	in := put(t, "/jobs/mem/in.txt", "x\n")
	hog := filepath.Join(t.TempDir(), "hog.py")
	write(t, hog, "import sys\nb = bytearray(400 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nsys.stdin.read()\n")
	refused(t, world.c, []string{"memory", "96MiB"}, "submit", "mapreduce", "-input", in, "-output", "hdfs:///jobs/mem/out", "-mapper", "python3 hog.py",
		"-reducer", "sum", "-file", hog, "--map-memory", "96MiB", "-D", "mapreduce.map.maxattempts=1")
	j := submit(t, world.c, "wordcount", in, "hdfs:///jobs/mem/after") // the others go on
	if j.Phase != v1.JobPhase_JOB_PHASE_SUCCEEDED {
		t.Errorf("after it: %v", j.Phase)
	}
}

func TestGarbageOnEveryPort(t *testing.T) {
	b, err := world.c.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r, err := b.ListAgents(t.Context(), api.Caller{}, &v1.ListAgentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	doors := map[string]string{world.c.Socket: "unix"}
	for _, a := range r.Agents {
		doors[a.Info.DataAddress] = "tcp"
	}
	for address, network := range doors {
		for _, junk := range []string{"\x00\x01\x02\xff\xfe", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v1/jobs/..%2f..%2fetc/files/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			"hrpc\x09\x00\x00" + strings.Repeat("\xff", 4096), strings.Repeat("A", 1<<20)} {
			c, err := net.Dial(network, address)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(20 * time.Second))
			c.Write([]byte(junk))
			if u, ok := c.(interface{ CloseWrite() error }); ok {
				u.CloseWrite()
			}
			answer, err := io.ReadAll(io.LimitReader(c, 1<<20))
			if err != nil && os.IsTimeout(err) {
				t.Errorf("%s: %.20q was not cut off", address, junk)
			}
			if strings.Contains(string(answer), "root:") || strings.Contains(string(answer), " 200 ") {
				t.Errorf("%s answers %.20q with %.80q", address, junk, answer)
			}
			c.Close()
		}
	}
	in := put(t, "/jobs/garbage/in.txt", "a\n")
	submit(t, world.c, "wordcount", in, "hdfs:///jobs/garbage/out")
}

func TestKillAndDetach(t *testing.T) {
	in := put(t, "/jobs/kill/in.txt", "x\n")
	hang := filepath.Join(t.TempDir(), "hang.sh")
	write(t, hang, "exec tail -f /dev/null\n")
	id, err := world.c.Run(t.Context(), "submit", "mapreduce", "-input", in, "-output", "hdfs:///jobs/kill/out", "-mapper", "sh hang.sh", "-reducer", "sum", "-file", hang, "--detach")
	if err != nil {
		t.Fatal(err)
	}
	id = strings.TrimSpace(id)
	await(t, world.c, id, func(j *v1.Job) bool { return j.TasksRunning >= 2 })
	if _, err := world.c.Run(t.Context(), "kill", id); err != nil {
		t.Fatal(err)
	}
	j := await(t, world.c, id, func(j *v1.Job) bool { return j.FinishedUnixNanos != 0 })
	if j.Phase != v1.JobPhase_JOB_PHASE_KILLED {
		t.Errorf("phase = %v", j.Phase)
	}
	// Ctrl-C of a client that waits asks the job to stop.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := world.c.Command(ctx, "submit", "mapreduce", "-input", in, "-output", "hdfs:///jobs/kill/out2", "-mapper", "sh hang.sh", "-reducer", "sum", "-file", hang, "-name", "interrupted")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j = awaitNamed(t, world.c, "interrupted", func(j *v1.Job) bool { return j.TasksRunning >= 2 })
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("exit %d, %v", cmd.ProcessState.ExitCode(), err)
	}
	if j = await(t, world.c, j.Id, func(j *v1.Job) bool { return j.FinishedUnixNanos != 0 }); j.Phase != v1.JobPhase_JOB_PHASE_KILLED {
		t.Errorf("phase = %v", j.Phase)
	}
}

// await watches a job until ok, for a minute at most.
func await(t *testing.T, c *cluster.Cluster, id string, ok func(*v1.Job) bool) *v1.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	j, err := c.Job(ctx, id, ok)
	if err != nil {
		t.Fatalf("job %s: %v, last %v\n%s", id, err, j, c.Logs())
	}
	return j
}

func awaitNamed(t *testing.T, c *cluster.Cluster, name string, ok func(*v1.Job) bool) *v1.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	j, err := c.JobNamed(ctx, name, ok)
	if err != nil {
		t.Fatalf("job %s: %v\n%s", name, err, c.Logs())
	}
	return j
}
