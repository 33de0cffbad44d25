package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager"
	"fairway/adapters/yarn/wire"
)

//go:embed pages.html
var pageFiles embed.FS

var pageTemplates = template.Must(template.New("pages").Funcs(template.FuncMap{
	"time": func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02 15:04:05")
	},
	"percent": func(f float32) string { return fmt.Sprintf("%.0f %%", f*100) },
	"final":   finalStatus,
	"attempt": attemptState,
	"node":    func(s wire.NodeStateProto) string { return strings.TrimPrefix(s.String(), "NS_") },
	"url":     hasURL,
}).ParseFS(pageFiles, "pages.html"))

// shownApplications is how many the first page lists, the newest.
const shownApplications = 200

func (s *Server) pages(mux *http.ServeMux) {
	to := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/cluster", http.StatusFound) }
	mux.HandleFunc("GET /{$}", to)
	mux.HandleFunc("GET /cluster/{$}", to)
	mux.HandleFunc("GET /cluster/apps", to)
	mux.HandleFunc("GET /cluster", s.clusterPage)
	mux.HandleFunc("GET /cluster/app/{app}", s.appPage)
	mux.HandleFunc("GET /cluster/failure/{app}", s.failurePage)
}

func (s *Server) clusterPage(w http.ResponseWriter, r *http.Request) {
	apps := s.m.Applications()
	shown := slices.Clone(apps[:min(len(apps), shownApplications)])
	sees := s.m.Sees(caller(r))
	for i, a := range shown {
		if !sees(a.ID) {
			shown[i] = a.Hidden()
		}
	}
	s.page(w, http.StatusOK, "cluster", struct {
		Info         resourcemanager.Info
		Metrics      resourcemanager.Metrics
		Applications []resourcemanager.Application
		More         int
		Queues       []resourcemanager.QueueInfo
		Nodes        []resourcemanager.Node
	}{s.m.Info(), s.m.ClusterMetrics(), shown, len(apps) - len(shown), s.m.QueueTree(), s.m.Nodes()})
}

func (s *Server) appPage(w http.ResponseWriter, r *http.Request) {
	i, err := id.ParseApplication(r.PathValue("app"))
	if err != nil {
		s.plain(w, http.StatusNotFound, clip(r.PathValue("app"))+" is not an application's id.")
		return
	}
	a, ok := s.m.Application(i)
	if !ok {
		s.plain(w, http.StatusNotFound, "Failed to read the application "+i.String()+".")
		return
	}
	x := struct {
		App      resourcemanager.Application
		Sees     bool
		Attempts []resourcemanager.Attempt
	}{a, s.sees(r, i), nil}
	if x.Sees {
		x.Attempts, _ = s.m.Attempts(i)
	} else {
		x.App = a.Hidden()
	}
	s.page(w, http.StatusOK, "app", x)
}

// failurePage is where the proxy sends a reader when a master's page and it send him to each other.
func (s *Server) failurePage(w http.ResponseWriter, r *http.Request) {
	i, err := id.ParseApplication(r.PathValue("app"))
	if err != nil {
		s.plain(w, http.StatusNotFound, clip(r.PathValue("app"))+" is not an application's id.")
		return
	}
	s.page(w, http.StatusInternalServerError, "failure", i)
}

// plain is a page of one sentence.
func (s *Server) plain(w http.ResponseWriter, status int, text string) {
	s.page(w, status, "plain", text)
}

func (s *Server) page(w http.ResponseWriter, status int, name string, data any) {
	s.requests.WithLabelValues("page").Inc()
	var b bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&b, name, data); err != nil {
		s.log.Error("page cannot be made", zap.String("page", name), zap.Error(err))
		http.Error(w, "this page cannot be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'")
	w.WriteHeader(status)
	if _, err := w.Write(b.Bytes()); err != nil {
		s.log.Debug("page not sent", zap.Error(err))
	}
}
