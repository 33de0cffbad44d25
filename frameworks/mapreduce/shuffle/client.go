package shuffle

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"fairway/frameworks/mapreduce/run"
	"fairway/frameworks/mapreduce/spec"
)

// SignatureHeader bears the request's signature.
const SignatureHeader = "X-Fairway-Signature"

// errGone marks an output that no retry will bring.
var errGone = errors.New("map output is gone")

// fileName is what a map output may be called; nothing else is asked for or opened.
var fileName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}$`)

// Sign signs a request for bytes of a file of a job's folder: path is the URL's escaped path, byteRange the Range
// header.
func Sign(secret []byte, path, byteRange string) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("GET\n" + path + "\n" + byteRange))
	return hex.EncodeToString(m.Sum(nil))
}

// Config of a Client.
type Config struct {
	Job    string // id
	Secret []byte
	// Local is the data address of this task's own agent, and Dir the job's folder on it: outputs that lie there are
	// read directly. Either empty: everything goes over HTTP.
	Local string
	Dir   string

	Parallel int           // fetches at once; 0: 5
	Attempts int           // tries of one output before it counts as failed; 0: 4
	Backoff  time.Duration // before the second try, doubled for each further one; 0: 200 ms
	Timeout  time.Duration // without a byte; 0: 30 s. The first try gives up after a quarter of it, the second after half
	HTTP     *http.Client  // nil: one of its own
}

// Client fetches map outputs. It is safe for concurrent use.
type Client struct{ cfg Config }

// New returns a client.
func New(cfg Config) *Client {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 5
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = 4
	}
	if cfg.Backoff <= 0 {
		cfg.Backoff = 200 * time.Millisecond
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: min(cfg.Timeout, 10*time.Second)}).DialContext,
				MaxIdleConnsPerHost: cfg.Parallel,
				IdleConnTimeout:     time.Minute,
				DisableCompression:  true,
				ReadBufferSize:      64 << 10,
			},
			// An agent never redirects; a peer that does so is not asked to lead us elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Client{cfg: cfg}
}

// patience is how long a try, counted from 0, waits for a byte. The first ones are short, unless they are the last: what
// hangs on a connection that is broken comes over another at once.
func (c *Client) patience(try int) time.Duration {
	return c.cfg.Timeout >> max(0, min(2-try, c.cfg.Attempts-1-try))
}

// get fetches one output, checked, into memory or to a file in folder. A large one that lies in the task's own job
// folder is left there.
func (c *Client) get(ctx context.Context, out spec.MapOutput, try int, memory bool, folder string) (*Segment, error) {
	if !fileName.MatchString(out.File) || out.Offset < 0 || out.Length < 0 || out.Records < 0 ||
		out.Offset > 1<<60 || out.Length > 1<<60 {
		return nil, fmt.Errorf("%w: map %d announced %q bytes %d+%d", errGone, out.Map, out.File, out.Offset, out.Length)
	}
	if c.local(out) {
		if seg, err := c.getLocal(out, memory); err == nil {
			return seg, nil
		}
		// The agent may know more than this task can see: ask it.
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := c.patience(try)
	idle := time.AfterFunc(patience, func() {
		c.cfg.HTTP.CloseIdleConnections() // they may be dead too: the next try makes its own
		cancel(fmt.Errorf("no byte for %s: %w", patience, context.DeadlineExceeded))
	})
	defer idle.Stop()
	seg, err := c.getHTTP(ctx, out, memory, folder, func() { idle.Reset(patience) })
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
			err = cause
		}
		return nil, fmt.Errorf("fetch output of map %d from %s: %w", out.Map, out.Address, err)
	}
	return seg, nil
}

func (c *Client) local(out spec.MapOutput) bool {
	return c.cfg.Dir != "" && c.cfg.Local != "" && out.Address == c.cfg.Local
}

// getLocal opens an output in the task's own job folder. A small one is read at once; larger ones stay where they are,
// for they are in the page cache already.
func (c *Client) getLocal(out spec.MapOutput, memory bool) (*Segment, error) {
	f, err := os.Open(filepath.Join(c.cfg.Dir, out.File))
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && (!fi.Mode().IsRegular() || fi.Size() < out.Offset+out.Length) {
		err = fmt.Errorf("%w: %s is shorter than announced", run.ErrCorrupt, out.File)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !memory || out.Length > small {
		return &Segment{Output: out, file: f, offset: out.Offset, length: out.Length, records: out.Records}, nil
	}
	seg := &Segment{Output: out, mem: make([]byte, out.Length), length: out.Length, records: out.Records}
	_, err = f.ReadAt(seg.mem, out.Offset)
	if err == io.EOF {
		err = nil
	}
	if err == nil {
		err = run.Verify(seg.mem, out.Records)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return seg, nil
}

func (c *Client) getHTTP(ctx context.Context, out spec.MapOutput, memory bool, folder string, alive func()) (*Segment, error) {
	u := url.URL{Scheme: "http", Host: out.Address, Path: "/v1/jobs/" + c.cfg.Job + "/files/" + out.File}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	byteRange := fmt.Sprintf("bytes=%d-%d", out.Offset, out.Offset+out.Length-1)
	req.Header.Set("Range", byteRange)
	req.Header.Set(SignatureHeader, Sign(c.cfg.Secret, req.URL.EscapedPath(), byteRange))
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && resp.ContentLength == out.Length:
	case resp.StatusCode == http.StatusPartialContent:
		return nil, fmt.Errorf("%w: %d bytes came, expected %d", run.ErrCorrupt, resp.ContentLength, out.Length)
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
		return nil, fmt.Errorf("%w: %s", errGone, resp.Status)
	default:
		return nil, fmt.Errorf("unexpected answer %s", resp.Status)
	}
	body := &watchedReader{r: io.LimitReader(resp.Body, out.Length), alive: alive}
	if memory {
		seg := &Segment{Output: out, mem: make([]byte, out.Length), length: out.Length, records: out.Records}
		if _, err := io.ReadFull(body, seg.mem); err != nil {
			return nil, err
		}
		if err := run.Verify(seg.mem, out.Records); err != nil {
			return nil, err
		}
		return seg, nil
	}
	return c.toDisk(out, body, folder)
}

// toDisk writes a large output to a file that has no name, checking it on the way.
func (c *Client) toDisk(out spec.MapOutput, body io.Reader, folder string) (seg *Segment, err error) {
	f, err := tempFile(folder)
	if err != nil {
		return nil, err
	}
	v := &run.Verifier{Length: out.Length, Records: out.Records}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(v, f)}, body, make([]byte, 128<<10))
	if err == nil && n < out.Length {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = v.Close()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Segment{Output: out, file: f, length: out.Length, records: out.Records}, nil
}

// tempFile makes a file whose name is removed at once: its space goes when it is closed.
func tempFile(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, "shuffle-*.run")
	if err != nil {
		return nil, fmt.Errorf("spill of the shuffle: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("spill of the shuffle: %w", err), f.Close())
	}
	return f, nil
}

// watchedReader tells that bytes still move.
type watchedReader struct {
	r     io.Reader
	alive func()
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.alive()
	}
	return n, err
}
