package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager"
)

// A page is read from the address that masters know the proxy by, in the name of the application's user, and from nowhere
// but the master.
func TestPage(t *testing.T) {
	m := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/base/api":
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			_, _ = io.WriteString(w, host+" "+r.RequestURI+" "+r.Header.Get("Cookie"))
		case "/base/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer m.Close()
	s := server(t, newFake())
	d := resourcemanager.Driver{Attempt: id.AttemptID{Application: appID, Number: 1}, User: "an;n", URL: m.URL + "/base"}
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Page(early, d, "api", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("before the pages are served: %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	body, err := s.Page(t.Context(), d, "api", url.Values{"status": {"active", "complete"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(body)
	body.Close()
	if want := "127.0.0.2 /base/api?status=active&status=complete proxy-user=an%3Bn"; err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
	for path, want := range map[string]string{"away": "302", "absent": "404"} {
		if _, err := s.Page(t.Context(), d, path, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	d.URL = "N/A"
	if _, err := s.Page(t.Context(), d, "api", nil); !errors.Is(err, errNoURL) {
		t.Errorf("a master without pages: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
