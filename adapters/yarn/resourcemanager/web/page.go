package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"fairway/adapters/yarn/resourcemanager"
)

// Page reads a page of an application's master as the proxy does, for the application's own user: path is below what the
// master registered and is escaped. It waits until Serve has begun. Any answer but 200 is an error, redirects too: they
// would lead away from the master. The caller bounds what it reads, closes it, and ends ctx in time.
func (s *Server) Page(ctx context.Context, d resourcemanager.Driver, path string, query url.Values) (io.ReadCloser, error) {
	select {
	case <-s.serving:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	base, err := trackingURL(d.URL)
	if err != nil {
		return nil, fmt.Errorf("page of %s: %w", d.Attempt, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, join(base, path, query.Encode()).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("page of %s: %w", d.Attempt, err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header["User-Agent"] = nil
	r.Header.Set(proxyLoop, "1")
	r.Header.Set("Cookie", userCookie+"="+url.QueryEscape(d.User))
	resp, err := s.proxy.transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("page of %s: %w", d.Attempt, err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("page of %s: %s", d.Attempt, resp.Status)
	}
	return resp.Body, nil
}
