package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "fairway/broker/api/fairwayv1"
	"golang.org/x/sync/semaphore"
)

// ErrMismatch: the content is not what the request said (checksum or size).
var ErrMismatch = errors.New("content is not as stated")

// Options of a Fetcher.
type Options struct {
	CacheDir   string            // made if missing, 0700
	CacheBytes int64             // 0: 10 GiB
	Sources    map[string]Source // by URL scheme
	Limits     Limits            // of archives; zero fields take the defaults
	Parallel   int64             // transfers at once; 0: 8
	Attempts   int               // of a transfer that failed for no lasting reason; 0: 3
	// Wait is called between attempts; nil waits.
	Wait func(ctx context.Context, attempt int) error
}

// Fetcher brings files into sandboxes. It is safe for concurrent use.
type Fetcher struct {
	o     Options
	cache *cache
	slots *semaphore.Weighted
}

// New opens the cache.
func New(o Options) (*Fetcher, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = 10 << 30
	}
	if o.Parallel == 0 {
		o.Parallel = 8
	}
	if o.Attempts == 0 {
		o.Attempts = 3
	}
	if o.Wait == nil {
		o.Wait = func(ctx context.Context, attempt int) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(attempt) * 500 * time.Millisecond):
				return nil
			}
		}
	}
	o.Limits = o.Limits.orDefault()
	c, err := openCache(o.CacheDir, o.CacheBytes)
	if err != nil {
		return nil, fmt.Errorf("open fetch cache: %w", err)
	}
	return &Fetcher{o: o, cache: c, slots: semaphore.NewWeighted(o.Parallel)}, nil
}

// Shrink drops the least recently used cached files until at most bytes are left.
func (f *Fetcher) Shrink(bytes int64) { f.cache.shrink(bytes) }

// Fetch brings one file into a sandbox that still belongs to the agent. temp is a folder inside it for what is on its way.
func (f *Fetcher) Fetch(ctx context.Context, uri *v1.URI, user User, into *os.Root, temp string) error {
	err := f.fetch(ctx, uri, user, into, temp)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", uri.GetValue(), err)
	}
	return nil
}

func (f *Fetcher) fetch(ctx context.Context, uri *v1.URI, user User, into *os.Root, temp string) error {
	parsed, err := url.Parse(uri.GetValue())
	if err != nil {
		return errors.New("not a URL")
	}
	source := f.o.Sources[parsed.Scheme]
	if source == nil {
		return fmt.Errorf("no source for scheme %q", parsed.Scheme)
	}
	target, err := Target(uri)
	if err != nil {
		return err
	}
	if dir := path.Dir(target); dir != "." {
		if err := into.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	want := expectation{sha256: strings.ToLower(uri.GetSha256()), size: uri.GetSizeBytes()}
	if err := f.slots.Acquire(ctx, 1); err != nil {
		return err
	}
	defer f.slots.Release(1)

	if uri.GetCache() {
		// Asked in any case: whoever may not read the file does not get its cached copy either.
		info, err := retry(ctx, f.o, func() (Info, error) { return source.Stat(ctx, uri.GetValue(), user) })
		if err != nil {
			return err
		}
		if want.size > 0 && info.Size >= 0 && info.Size != want.size {
			return fmt.Errorf("%w: it has %d bytes, stated were %d", ErrMismatch, info.Size, want.size)
		}
		if key := cacheKey(uri.GetValue(), info, user, want.sha256); key != "" && info.Size <= f.o.CacheBytes {
			cached, err := f.cache.get(ctx, key, func(to *os.File) error {
				return f.transfer(ctx, source, uri.GetValue(), user, to, expectation{sha256: want.sha256, size: max(want.size, info.Size)})
			})
			if err != nil {
				return err
			}
			defer cached.Close()
			return f.place(ctx, cached, uri, into, target)
		}
	}
	if !uri.GetExtract() {
		to, err := into.OpenFile(target, os.O_RDWR|os.O_CREATE|os.O_TRUNC, mode(uri))
		if err != nil {
			return err
		}
		return errors.Join(f.transfer(ctx, source, uri.GetValue(), user, to, want), to.Close())
	}
	name := path.Join(temp, "fetch-"+hex.EncodeToString([]byte(path.Base(target))))
	if len(name) > 200 {
		name = name[:200]
	}
	to, err := into.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	defer into.Remove(name)
	if err := f.transfer(ctx, source, uri.GetValue(), user, to, want); err != nil {
		return err
	}
	return f.place(ctx, to, uri, into, target)
}

func mode(uri *v1.URI) fs.FileMode {
	if uri.GetExecutable() {
		return 0o700
	}
	return 0o600
}

// place copies or unpacks a whole local file into the sandbox.
func (f *Fetcher) place(ctx context.Context, from *os.File, uri *v1.URI, into *os.Root, target string) error {
	if uri.GetExtract() {
		if err := into.MkdirAll(target, 0o700); err != nil {
			return err
		}
		sub, err := into.OpenRoot(target)
		if err != nil {
			return err
		}
		return errors.Join(Unpack(ctx, from, sub, f.o.Limits), sub.Close())
	}
	to, err := into.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode(uri))
	if err != nil {
		return err
	}
	if _, err = from.Seek(0, io.SeekStart); err == nil {
		_, err = io.Copy(to, from) // copy_file_range where the file system can
	}
	return errors.Join(err, to.Close())
}

// Target is where a file goes inside the sandbox: a clean relative path.
func Target(uri *v1.URI) (string, error) {
	target := uri.GetTarget()
	if target == "" {
		parsed, err := url.Parse(uri.GetValue())
		if err != nil {
			return "", errors.New("not a URL")
		}
		target = path.Base(parsed.Path)
		if uri.GetExtract() && parsed.Path != "" {
			return ".", nil // archives are unpacked into the sandbox itself
		}
	}
	clean := path.Clean(target)
	if !filepath.IsLocal(clean) || strings.ContainsRune(clean, 0) || clean == "." && !uri.GetExtract() {
		return "", fmt.Errorf("target %q is no path inside the sandbox", target)
	}
	return clean, nil
}

// expectation is what a request says about the content; zero values say nothing.
type expectation struct {
	sha256 string
	size   int64
}

// transfer copies the source's file into to, from its beginning at each attempt, and checks it.
func (f *Fetcher) transfer(ctx context.Context, source Source, url string, user User, to *os.File, want expectation) error {
	_, err := retry(ctx, f.o, func() (struct{}, error) {
		if err := to.Truncate(0); err != nil {
			return struct{}{}, err
		}
		if _, err := to.Seek(0, io.SeekStart); err != nil {
			return struct{}{}, err
		}
		from, err := source.Open(ctx, url, user)
		if err != nil {
			return struct{}{}, err
		}
		defer from.Close()
		return struct{}{}, copyChecked(ctx, to, from, want)
	})
	return err
}

func copyChecked(ctx context.Context, to io.Writer, from io.Reader, want expectation) error {
	var sum hash.Hash
	if want.sha256 != "" {
		sum = sha256.New()
		to = io.MultiWriter(to, sum)
	}
	if want.size > 0 { // one byte more would be seen below
		from = io.LimitReader(from, want.size+1)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, contextReader{ctx, from}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if want.size > 0 && n != want.size {
		return fmt.Errorf("%w: it has %d bytes or more, stated were %d", ErrMismatch, n, want.size)
	}
	if sum != nil {
		if got := hex.EncodeToString(sum.Sum(nil)); got != want.sha256 {
			return fmt.Errorf("%w: its SHA-256 is %s, stated was %s", ErrMismatch, got, want.sha256)
		}
	}
	return nil
}

// contextReader ends a copy between two reads.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// retry repeats what may go better the next time.
func retry[T any](ctx context.Context, o Options, try func() (T, error)) (T, error) {
	for attempt := 1; ; attempt++ {
		v, err := try()
		if err == nil || attempt >= o.Attempts || ctx.Err() != nil || lasting(err) {
			return v, err
		}
		if o.Wait(ctx, attempt) != nil {
			return v, err
		}
	}
}

// lasting tells whether another attempt would fail the same way.
func lasting(err error) bool {
	var refused *refusal
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrMismatch) || errors.As(err, &refused)
}

// refusal is an answer of a source that will not change soon.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }
