package agent

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairway/agent/checkpoint"
	"fairway/agent/sandbox"
	"go.uber.org/zap"
)

// Headers of the data server's requests.
const (
	// SignatureHeader bears SignFile's value.
	SignatureHeader = "X-Fairway-Signature"
	// TicketHeader bears LogTicket's value.
	TicketHeader = "X-Fairway-Ticket"
)

const (
	// ticketSkew is how many seconds the broker's clock may be behind the agent's.
	ticketSkew = 60
	// A file is sent within this time, or the reader has stopped reading.
	sendPatience = time.Hour
)

// SignFile signs a request for a file of a job: path is the URL's path as it is sent, ranges the Range header's value.
func SignFile(secret []byte, path, ranges string) string {
	return hex.EncodeToString(mac(secret, "GET\n"+path+"\n"+ranges))
}

// LogTicket permits reading the logs of one task until a time, in seconds since 1970.
func LogTicket(secret []byte, framework string, sequence uint64, expiry int64) string {
	return fmt.Sprintf("%d:%s", expiry, hex.EncodeToString(mac(secret, fmt.Sprintf("logs\n%s/%d\n%d", framework, sequence, expiry))))
}

func mac(secret []byte, text string) []byte {
	h := hmac.New(sha256.New, secret)
	io.WriteString(h, text)
	return h.Sum(nil)
}

func signed(secret []byte, text, given string) bool {
	b, err := hex.DecodeString(given)
	return err == nil && len(secret) > 0 && hmac.Equal(b, mac(secret, text))
}

// served is what the data server may hand out. The owner writes it, requests read it.
type served struct {
	mu    sync.RWMutex
	jobs  map[string]servedJob
	tasks map[string]servedTask
}

type servedJob struct {
	dir    string
	secret []byte
	uid    int
}

type servedTask struct {
	dir    string
	secret []byte
	uid    int
	done   <-chan struct{}
}

func newServed() *served {
	return &served{jobs: map[string]servedJob{}, tasks: map[string]servedTask{}}
}

func (s *served) setJob(job, dir string, r *checkpoint.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[job] = servedJob{dir, r.Secret, r.UID}
}

func (s *served) dropJob(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, job)
}

func (s *served) setTask(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks[t.key] = servedTask{t.record.Sandbox, t.record.Spec.GetJobSecret(), t.record.UID, t.done}
}

func (s *served) dropTask(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tasks, key)
}

func (s *served) job(job string) (servedJob, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	j, ok := s.jobs[job]
	return j, ok
}

func (s *served) task(key string) (servedTask, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, ok := s.tasks[key]
	return t, ok
}

// serveData runs the data server until ctx ends.
func (a *Agent) serveData(ctx context.Context) error {
	server := &http.Server{
		Handler:           a.dataHandler(),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(a.log.Named("data")),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(a.listener); err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return fmt.Errorf("data server: %w", err)
	}
	return nil
}

func (a *Agent) dataHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/jobs/{job}/files/{name...}", a.serveFile)
	mux.HandleFunc("GET /v1/logs/{framework}/{sequence}/{stream}", a.serveLog)
	for name, s := range a.services {
		if h := s.Handler(); h != nil {
			prefix := "/v1/services/" + name
			mux.Handle(prefix+"/", http.StripPrefix(prefix, h))
		}
	}
	return mux
}

// serveFile sends a file of a job's folder, or a range of it, by sendfile.
func (a *Agent) serveFile(w http.ResponseWriter, r *http.Request) {
	job, ok := a.served.job(r.PathValue("job"))
	given := r.Header.Get(SignatureHeader)
	if given == "" {
		http.Error(w, "no "+SignatureHeader, http.StatusUnauthorized)
		return
	}
	// An unknown job and a wrong signature look the same to whoever does not know the secret.
	if !ok || !signed(job.secret, "GET\n"+r.URL.EscapedPath()+"\n"+r.Header.Get("Range"), given) {
		http.Error(w, "wrong signature, or the job has ended", http.StatusForbidden)
		return
	}
	f, err := sandbox.Open(job.dir, r.PathValue("name"), job.uid)
	if err != nil {
		httpError(w, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendPatience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		a.log.Debug("no deadline for a file", zap.Error(err))
	}
	counted := &countingWriter{ResponseWriter: w}
	// Without a name and a time ServeContent neither guesses types nor answers "not modified".
	http.ServeContent(counted, r, "", time.Time{}, f)
	a.metrics.sent.WithLabelValues("files").Add(float64(counted.n))
}

func httpError(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "no such file", http.StatusNotFound)
	case errors.Is(err, fs.ErrPermission):
		http.Error(w, "not a file that is served", http.StatusForbidden)
	default:
		http.Error(w, "cannot be read", http.StatusInternalServerError)
	}
}

// countingWriter counts what is sent without losing the way to sendfile.
type countingWriter struct {
	http.ResponseWriter
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	return n, err
}

// ReadFrom is what io.Copy looks for; net/http's own uses sendfile.
func (c *countingWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.n += n
	return n, err
}

// serveLog sends a task's stdout or stderr from an offset, and with follow what is added until the task has ended.
func (a *Agent) serveLog(w http.ResponseWriter, r *http.Request) {
	stream := r.PathValue("stream")
	if stream != "stdout" && stream != "stderr" {
		http.Error(w, "there are stdout and stderr", http.StatusNotFound)
		return
	}
	key := r.PathValue("framework") + "/" + r.PathValue("sequence")
	t, ok := a.served.task(key)
	ticket := r.Header.Get(TicketHeader)
	if ticket == "" {
		http.Error(w, "no "+TicketHeader, http.StatusUnauthorized)
		return
	}
	expiry, signature, _ := strings.Cut(ticket, ":")
	until, err := strconv.ParseInt(expiry, 10, 64)
	if !ok || err != nil || !signed(t.secret, "logs\n"+key+"\n"+expiry, signature) {
		http.Error(w, "wrong ticket, or the task's sandbox has gone", http.StatusForbidden)
		return
	}
	if time.Now().Unix() > until+ticketSkew {
		http.Error(w, "the ticket has expired", http.StatusForbidden)
		return
	}
	offset, err := strconv.ParseInt(r.FormValue("offset"), 10, 64)
	if err != nil && r.FormValue("offset") != "" {
		http.Error(w, "offset is a number of bytes", http.StatusBadRequest)
		return
	}
	follow, err := strconv.ParseBool(r.FormValue("follow"))
	if err != nil && r.FormValue("follow") != "" {
		http.Error(w, "follow is true or false", http.StatusBadRequest)
		return
	}
	f, err := sandbox.Open(t.dir, stream, t.uid)
	if err != nil {
		httpError(w, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		httpError(w, err)
		return
	}
	if offset < 0 {
		offset = max(0, info.Size()+offset)
	}
	offset = min(offset, info.Size())
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		httpError(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Fairway-Offset", strconv.FormatInt(offset, 10))
	counted := &countingWriter{ResponseWriter: w}
	if !follow {
		// Only what was there: a busy writer must not keep the request open.
		w.Header().Set("Content-Length", strconv.FormatInt(info.Size()-offset, 10))
		io.CopyN(counted, f, info.Size()-offset)
	} else if err := endless(w); err != nil {
		a.log.Debug("log not followed", zap.Error(err))
	} else if err := followFile(r.Context(), counted, f, t.done, http.NewResponseController(w).Flush); err != nil && r.Context().Err() == nil {
		a.log.Debug("log not followed to its end", zap.String("task", key), zap.Error(err))
	}
	a.metrics.sent.WithLabelValues("logs").Add(float64(counted.n))
}

// endless takes away the deadline that a file before it on the same connection may have left.
func endless(w http.ResponseWriter) error {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// followFile copies a file as it grows until done is closed and everything was sent, or ctx ends. The kernel says when
// there is more (inotify); nothing polls.
func followFile(ctx context.Context, w io.Writer, f *os.File, done <-chan struct{}, flush func() error) error {
	watch, err := watchFile(f)
	if err != nil {
		return err
	}
	defer watch.Close()
	// A read of the watch returns when the file was written, or when these interrupt it.
	stop := context.AfterFunc(ctx, watch.interrupt)
	defer stop()
	ended, cancel := context.WithCancel(ctx)
	defer cancel()
	released := make(chan struct{})
	go func() {
		defer close(released)
		select {
		case <-done:
			watch.interrupt()
		case <-ended.Done():
		}
	}()
	defer func() { cancel(); <-released }()
	for {
		// What was written before done was closed is in the file by now, so the last copy comes after the look.
		last := false
		select {
		case <-done:
			last = true
		default:
		}
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		if last || ctx.Err() != nil {
			return ctx.Err()
		}
		if err := watch.wait(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}
