package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"fairway/adapters/yarn/wire"
)

// serve runs a server on an address of this machine and returns its URL and a client that follows nothing.
func serve(t *testing.T, f *fake, address string) (string, *http.Client) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := server(t, f)
	go func() { done <- s.Serve(ctx, l) }()
	tr := &http.Transport{}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String(), &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// master is an ApplicationMaster's page; what it saw is in its header Saw.
func master(t *testing.T, f *fake, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	m := httptest.NewServer(handler)
	t.Cleanup(m.Close)
	f.apps[0].OriginalURL = m.URL
	return m
}

func fetch(t *testing.T, c *http.Client, method, url, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Cookie", "secret=1")
	r.Header.Set("Authorization", "Bearer x")
	r.Header.Set("X-Forwarded-For", "x")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestProxyPassesOn(t *testing.T) {
	f := newFake()
	m := master(t, f, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Own", "kept")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "dropped")
		w.WriteHeader(http.StatusTeapot)
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s from %s accept=%s cookie=%s auth=%s forwarded=%s body=%s", r.Method, r.RequestURI, host, r.Header.Get("Accept"), r.Header.Get("Cookie"),
			r.Header.Get("Authorization"), r.Header.Get("X-Forwarded-For"), b)
	})
	at, c := serve(t, f, "127.0.0.2:0") // masters know the proxy by its address
	const tail = " from 127.0.0.2 accept=text/html cookie=proxy-user="
	app := at + "/proxy/" + appID.String()
	for _, v := range []struct{ method, url, body, base, want string }{
		{"GET", app + "/", "", "", "GET /" + tail + "dr.who auth= forwarded= body="},
		{"GET", app, "", "", "GET /" + tail + "dr.who auth= forwarded= body="},
		{"GET", app + "/a/b%2Fc?x=1&y=%20", "", "", "GET /a/b%2Fc?x=1&y=%20" + tail + "dr.who auth= forwarded= body="},
		{"GET", app + "/mapreduce?user.name=an%3Bn", "", "", "GET /mapreduce?user.name=an%3Bn" + tail + "an%3Bn auth= forwarded= body="},
		{"PUT", app + "/ws", "{}", "", "PUT /ws" + tail + "dr.who auth= forwarded= body={}"},
		{"GET", app + "/jobs/", "", "/base?k=v", "GET /base/jobs/?k=v" + tail + "dr.who auth= forwarded= body="},
		{"GET", app + "/jobs?a=b", "", "/base?k=v", "GET /base/jobs?k=v&a=b" + tail + "dr.who auth= forwarded= body="},
		// Whatever the path says, the request goes to the master, and nowhere else.
		{"GET", app + "/http://192.0.2.1/", "", "", "GET /http:/192.0.2.1/" + tail + "dr.who auth= forwarded= body="},
		{"GET", app + "/%2e%2e/%2e%2e/x", "", "/base", "GET /base/%2e%2e/%2e%2e/x" + tail + "dr.who auth= forwarded= body="},
		{"GET", app + "//192.0.2.1/../x", "", "", "GET /x" + tail + "dr.who auth= forwarded= body="},
		{"GET", app + "/@192.0.2.1/", "", "", "GET /@192.0.2.1/" + tail + "dr.who auth= forwarded= body="},
	} {
		f.apps[0].OriginalURL = m.URL + v.base
		resp, body := fetch(t, c, v.method, v.url, v.body)
		if resp.StatusCode != http.StatusTeapot || body != v.want || resp.Header.Get("X-Own") != "kept" || resp.Header.Get("X-Hop") != "" {
			t.Errorf("%s %s: %s %q %v, want %q", v.method, v.url, resp.Status, body, resp.Header, v.want)
		}
	}
	f.apps[0].OriginalURL = strings.TrimPrefix(m.URL, "http://") // as MapReduce registers it
	if resp, body := fetch(t, c, "GET", app+"/", ""); resp.StatusCode != http.StatusTeapot {
		t.Errorf("without a scheme: %s %s", resp.Status, body)
	}
	if resp, _ := fetch(t, c, "POST", app+"/", "x"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", resp.Status)
	}
	if resp, body := fetch(t, c, "HEAD", app+"/", ""); resp.StatusCode != http.StatusTeapot || body != "" {
		t.Errorf("HEAD: %s %q", resp.Status, body)
	}
	if resp, _ := fetch(t, c, "PUT", app+"/", strings.Repeat("x", proxyBody+1)); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %s", resp.Status)
	}
}

func TestProxyRedirects(t *testing.T) {
	f := newFake()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy went to another host") }))
	defer other.Close()
	var at string
	master(t, f, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			http.Redirect(w, r, "/mapreduce", http.StatusFound)
		case "/mapreduce":
			io.WriteString(w, "the page")
		case "/out":
			http.Redirect(w, r, other.URL+"/x", http.StatusFound)
		case "/filter": // AmIpFilter when it does not know the proxy
			http.Redirect(w, r, at+"/proxy/redirect/"+appID.String()+"/filter", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	})
	at, c := serve(t, f, "127.0.0.1:0")
	app := at + "/proxy/" + appID.String()
	for _, v := range []struct {
		path     string
		status   int
		location string
	}{
		{"/", 200, ""},
		{"/out", 302, other.URL + "/x"},
		{"/filter", 302, "/cluster/failure/" + appID.String()},
		{"/loop", 502, ""},
	} {
		// at is set by now, and only read by the master.
		if resp, body := fetch(t, c, "GET", app+v.path, ""); resp.StatusCode != v.status || resp.Header.Get("Location") != v.location {
			t.Errorf("%s: %s to %q: %s", v.path, resp.Status, resp.Header.Get("Location"), body)
		}
	}
}

func TestProxyRules(t *testing.T) {
	f := newFake()
	m := master(t, f, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page") })
	s := server(t, f)
	app := "/proxy/" + appID.String() + "/"
	check := func(what, path string, status int, location string) {
		t.Helper()
		if resp := get(s, "GET", path, ""); resp.StatusCode != status || resp.Header.Get("Location") != location {
			t.Errorf("%s: %s to %q, want %d to %q", what, resp.Status, resp.Header.Get("Location"), status, location)
		}
	}
	check("running", app, 200, "")
	check("sent by the master's filter", "/proxy/redirect/"+appID.String()+"/x", 200, "") // the test's reader is on another host
	check("no id", "/proxy/x/", 404, "")
	check("nothing", "/proxy/", 404, "")
	check("unknown", "/proxy/application_1_0001/", 404, "")
	for _, url := range []string{"", "N/A", "ftp://x/", "http://", "http://user@x/", "file:///etc/passwd", "http://[x"} {
		f.apps[0].OriginalURL = url
		check("tracking URL "+url, app, 302, "/cluster/app/"+appID.String())
	}
	f.apps[0].OriginalURL = m.URL + "/history"
	f.apps[0].State = wire.YarnApplicationStateProto_FINISHED
	check("finished", app+"job/1?a=b", 302, m.URL+"/history/job/1?a=b")
	f.apps[0].State = wire.YarnApplicationStateProto_RUNNING
	m.Close()
	check("master has gone", app, 502, "")

	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/proxy/redirect/"+appID.String()+"/", nil)
	r.RemoteAddr = "127.0.0.1:1"
	s.ServeHTTP(w, r)
	if w.Code != 302 || w.Header().Get("Location") != "/cluster/failure/"+appID.String() {
		t.Errorf("from this host: %d to %q", w.Code, w.Header().Get("Location"))
	}
	for range proxyBusy {
		s.proxy.slots <- struct{}{}
	}
	check("busy", app, 503, "")
}

// A master that registers the proxy's own address does not make it call itself for ever.
func TestProxyOfItself(t *testing.T) {
	f := newFake()
	at, c := serve(t, f, "127.0.0.1:0")
	f.apps[0].OriginalURL = at + "/proxy/" + appID.String()
	resp, body := fetch(t, c, "GET", at+"/proxy/"+appID.String()+"/", "")
	if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(body, "does not know the proxy") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// What a master does not send to its end is not passed on as if it were all.
func TestProxyOfHalfAPage(t *testing.T) {
	f := newFake()
	master(t, f, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("x", 100_000))
		panic(http.ErrAbortHandler)
	})
	at, c := serve(t, f, "127.0.0.1:0")
	resp, err := c.Get(at + "/proxy/" + appID.String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read to its end: %v", err)
	}
}

func TestLocalAddress(t *testing.T) {
	for _, c := range []struct{ listen, host, want string }{
		{"127.0.0.3:1", "x", "127.0.0.3"}, {"0.0.0.0:1", "127.0.0.4", "127.0.0.4"}, {"0.0.0.0:1", "192.0.2.1", "<nil>"}, {"[::]:1", "127.0.0.1", "127.0.0.1"},
	} {
		a, err := net.ResolveTCPAddr("tcp", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := localAddress(a, c.host).String(); got != c.want {
			t.Errorf("%s for %s: %s, want %s", c.listen, c.host, got, c.want)
		}
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("http://am:1/base?x=1", "a/../../b", "q=1")
	f.Add("am:1", "//evil/", "")
	f.Add("http://am:1", "%2e%2e/@evil", "#x")
	f.Fuzz(func(t *testing.T, original, rest, query string) {
		base, err := trackingURL(original)
		if err != nil {
			return
		}
		u := join(base, rest, query)
		if u.Host != base.Host || u.Scheme != base.Scheme || u.User != nil {
			t.Errorf("%q and %q lead to %s", original, rest, u)
		}
		if back, err := url.Parse(u.String()); err == nil && back.Host != base.Host {
			t.Errorf("%q and %q are written %s", original, rest, u)
		}
	})
}
