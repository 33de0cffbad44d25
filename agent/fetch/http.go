package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"
)

// HTTP is the source of http:// and https:// URLs. It sends no credentials, so what it reads is readable by all.
type HTTP struct {
	Client *http.Client
	Idle   time.Duration // a transfer that stands still for so long fails; 0: 1 min
}

// NewHTTP returns a source with bounded waits.
func NewHTTP() *HTTP {
	return &HTTP{Client: &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			DisableCompression:    true, // the file's own bytes are wanted
		},
	}}
}

// Stat implements Source.
func (h *HTTP) Stat(ctx context.Context, url string, _ User) (Info, error) {
	r, err := h.do(ctx, http.MethodHead, url)
	if err != nil {
		return Info{}, err
	}
	r.Body.Close()
	i := Info{Size: r.ContentLength, Public: true, Version: r.Header.Get("ETag")}
	if i.Version == "" {
		i.Version = r.Header.Get("Last-Modified")
	}
	return i, nil
}

// Open implements Source.
func (h *HTTP) Open(ctx context.Context, url string, _ User) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r, err := h.do(ctx, http.MethodGet, url)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	idle := h.Idle
	if idle == 0 {
		idle = time.Minute
	}
	timer := time.AfterFunc(idle, func() { cancel(fmt.Errorf("no data for %v", idle)) })
	return &body{ctx: ctx, r: r.Body, idle: idle, timer: timer, cancel: cancel}, nil
}

func (h *HTTP) do(ctx context.Context, method, url string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	r, err := h.Client.Do(request)
	if err != nil {
		return nil, err
	}
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	r.Body.Close()
	switch {
	case r.StatusCode == http.StatusNotFound || r.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("%s: %w", r.Status, fs.ErrNotExist)
	case r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("%s: %w", r.Status, fs.ErrPermission)
	case r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusRequestTimeout:
		return nil, errors.New(r.Status)
	}
	return nil, &refusal{r.Status}
}

// body ends a transfer that stands still.
type body struct {
	ctx    context.Context
	r      io.ReadCloser
	idle   time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.timer.Reset(b.idle)
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *body) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.r.Close()
}
