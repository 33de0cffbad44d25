package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager"
)

const (
	proxyDial     = 10 * time.Second // to reach a master
	proxyHeader   = time.Minute      // for its answer to begin
	proxyTotal    = 10 * time.Minute // for all of it
	proxyBusy     = 64               // pages under way
	proxyBody     = 1 << 20          // bytes of a PUT
	proxyHops     = 8                // redirects of a master to itself
	proxyLoop     = "X-Fairway-Proxy"
	userCookie    = "proxy-user" // whom the master takes for the reader
	redirectInfix = "redirect"
)

// passed are the request headers that a master sees, as in YARN's proxy.
var passed = []string{
	"User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Accept-Charset", "Content-Type", "Origin",
	"Access-Control-Request-Method", "Access-Control-Request-Headers",
}

// hop are response headers that are about one connection only.
var hop = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// proxy shows masters' pages.
type proxy struct {
	s         *Server
	transport *http.Transport
	dialer    net.Dialer
	slots     chan struct{}
}

func newProxy(s *Server) *proxy {
	p := &proxy{s: s, slots: make(chan struct{}, proxyBusy), dialer: net.Dialer{Timeout: proxyDial}}
	p.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return p.dialer.DialContext(ctx, network, address)
		},
		ResponseHeaderTimeout:  proxyHeader,
		TLSHandshakeTimeout:    proxyDial,
		MaxResponseHeaderBytes: 256 << 10,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxIdleConns:           64,
		DisableCompression:     true, // the reader's Accept-Encoding is passed on
	}
	return p
}

// from sets the address that connections come from; nil: whichever.
func (p *proxy) from(ip net.IP) {
	if ip != nil {
		p.dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
}

func (p *proxy) close() { p.transport.CloseIdleConnections() }

// localAddress is where connections must come from to be taken for ours: the address that is listened on, or if that is
// the wildcard, the one that clients know this host by, if it is this machine's.
func localAddress(l net.Addr, host string) net.IP {
	a, ok := l.(*net.TCPAddr)
	if !ok {
		return nil
	}
	if !a.IP.IsUnspecified() {
		return a.IP
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return nil
	}
	for _, ip := range ips {
		if isLocal(ip) && (ip.To4() != nil || a.IP.To4() == nil) {
			return ip
		}
	}
	return nil
}

// isLocal says whether an address is this machine's.
func isLocal(ip net.IP) bool {
	if ip.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return true
		}
	}
	return false
}

// serve answers /proxy/{application}/{path of the master} and /proxy/redirect/{application}/{path}, where a master's filter
// sends readers who came to it directly.
func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.s.requests.WithLabelValues("proxy").Inc()
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/proxy/")
	redirected := false
	if rest, ok := strings.CutPrefix(path, redirectInfix+"/"); ok {
		path, redirected = rest, true
	}
	name, rest, _ := strings.Cut(path, "/")
	i, err := id.ParseApplication(name)
	if err != nil {
		p.s.plain(w, http.StatusNotFound, clip(name)+" appears to be formatted incorrectly.")
		return
	}
	// A master that takes us for a stranger sends us to ourselves: without this the two would do so for ever.
	if host, _, err := net.SplitHostPort(r.RemoteAddr); redirected && err == nil && isLocal(net.ParseIP(host)) || r.Header.Get(proxyLoop) != "" {
		p.s.log.Warn("a master's page redirects to the proxy: it does not know this host's address, see yarn.host", zap.Stringer("application", i), zap.String("peer", r.RemoteAddr))
		http.Redirect(w, r, "/cluster/failure/"+i.String(), http.StatusFound)
		return
	}
	a, ok := p.s.m.Application(i)
	if !ok {
		p.s.plain(w, http.StatusNotFound, "Application "+i.String()+" could not be found in RM or history server")
		return
	}
	base, err := trackingURL(a.OriginalURL)
	if err != nil {
		http.Redirect(w, r, "/cluster/app/"+i.String(), http.StatusFound)
		return
	}
	target := join(base, rest, r.URL.RawQuery)
	if ended(a.State) {
		http.Redirect(w, r, target.String(), http.StatusFound)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut:
		p.fetch(w, r, &a, target)
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		p.s.plain(w, http.StatusMethodNotAllowed, "The proxy passes on GET, HEAD and PUT.")
	}
}

var errNoURL = errors.New("no tracking URL")

// trackingURL is what a master registered, which may lack the scheme.
func trackingURL(text string) (*url.URL, error) {
	if !hasURL(text) {
		return nil, errNoURL
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, errNoURL
	}
	return u, nil
}

// join adds a path, as it was escaped, and a query to a master's URL. Neither changes where the request goes to.
func join(base *url.URL, rest, query string) *url.URL {
	u := *base
	u.Fragment = ""
	if rest != "" {
		u = *u.JoinPath(rest)
	}
	if u.RawQuery != "" && query != "" {
		query = "&" + query
	}
	u.RawQuery += query
	return &u
}

// fetch has the master answer. Its redirects are followed while they stay with it.
func (p *proxy) fetch(w http.ResponseWriter, r *http.Request, a *resourcemanager.Application, target *url.URL) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		p.s.plain(w, http.StatusServiceUnavailable, "Too many pages of masters are under way.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), proxyTotal)
	defer cancel()
	deadline(w, proxyTotal)
	master := target.Host
	var body io.Reader
	if r.Method == http.MethodPut {
		body = http.MaxBytesReader(w, r.Body, proxyBody)
	}
	for range proxyHops {
		out, err := http.NewRequestWithContext(ctx, r.Method, target.String(), body)
		if err != nil {
			p.unreachable(w, r, a, err)
			return
		}
		for _, name := range passed {
			if v := r.Header.Values(name); len(v) > 0 {
				out.Header[name] = v
			}
		}
		if out.Header.Get("User-Agent") == "" {
			out.Header["User-Agent"] = nil // net/http would add its own
		}
		out.Header.Set(proxyLoop, "1")
		out.Header.Set("Cookie", userCookie+"="+url.QueryEscape(caller(r).User))
		resp, err := p.transport.RoundTrip(out)
		if err != nil {
			p.unreachable(w, r, a, err)
			return
		}
		next, err := resp.Location()
		if err != nil || resp.StatusCode < 300 || resp.StatusCode > 399 || r.Method == http.MethodPut {
			p.copy(w, r, resp)
			return
		}
		if next.Host != master || next.Scheme != target.Scheme {
			if strings.HasPrefix(next.Path, "/proxy/"+redirectInfix+"/"+a.ID.String()) {
				resp.Body.Close()
				p.s.log.Warn("a master takes the proxy for a stranger: it does not know this host's address, see yarn.host", zap.Stringer("application", a.ID))
				http.Redirect(w, r, "/cluster/failure/"+a.ID.String(), http.StatusFound)
				return
			}
			p.copy(w, r, resp) // the reader may go there, we do not
			return
		}
		resp.Body.Close()
		target = next
	}
	p.s.plain(w, http.StatusBadGateway, "The master of "+a.ID.String()+" redirects without an end.")
}

func (p *proxy) unreachable(w http.ResponseWriter, r *http.Request, a *resourcemanager.Application, err error) {
	p.s.log.Info("master's page not reached", zap.Stringer("application", a.ID), zap.Error(err))
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		p.s.plain(w, http.StatusRequestEntityTooLarge, "The request is too large.")
		return
	}
	if r.Context().Err() == nil {
		p.s.plain(w, http.StatusBadGateway, "The master of "+a.ID.String()+" cannot be reached. It may have ended just now.")
	}
}

func (p *proxy) copy(w http.ResponseWriter, r *http.Request, resp *http.Response) {
	defer resp.Body.Close()
	for _, list := range resp.Header.Values("Connection") {
		for name := range strings.SplitSeq(list, ",") {
			resp.Header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hop {
		resp.Header.Del(name)
	}
	h := w.Header()
	for name, v := range resp.Header {
		h[name] = v
	}
	w.WriteHeader(resp.StatusCode)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		p.s.log.Debug("master's page not passed on to its end", zap.Error(err))
		panic(http.ErrAbortHandler) // the reader must not take the part for the whole
	}
}
