package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/resourcemanager"
	"fairway/adapters/yarn/wire"
)

const root = "/ws/v1/cluster"

// version of Hadoop whose interface this is; clients compare it with what they can do.
const version = "3.4.2"

func (s *Server) rest(mux *http.ServeMux) {
	for path, f := range map[string]func(*http.Request) (any, error){
		"":                                  s.info,
		"/{$}":                              s.info,
		"/info":                             s.info,
		"/metrics":                          s.clusterMetrics,
		"/scheduler":                        s.scheduler,
		"/apps":                             s.apps,
		"/apps/{app}":                       s.app,
		"/apps/{app}/state":                 s.state,
		"/apps/{app}/queue":                 s.queue,
		"/apps/{app}/priority":              s.priority,
		"/apps/{app}/timeouts":              s.timeouts,
		"/apps/{app}/appattempts":           s.attempts,
		"/apps/{app}/appattempts/{attempt}": s.attempt,
		"/apps/{app}/appattempts/{attempt}/containers": s.containers,
		"/nodes":        s.nodes,
		"/nodes/{node}": s.node,
	} {
		mux.HandleFunc("GET "+root+path, s.answer(f))
	}
	mux.HandleFunc("PUT "+root+"/apps/{app}/state", s.kill)
	mux.HandleFunc("/ws/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &problem{http.StatusNotFound, webapp + "NotFoundException", "there is no " + r.Method + " " + r.URL.Path})
	})
}

func (s *Server) info(*http.Request) (any, error) {
	i := s.m.Info()
	build := version + " as spoken by Fairway " + i.Version
	return map[string]any{"clusterInfo": clusterInfo{
		ID: i.ID, StartedOn: i.Started.UnixMilli(), State: "STARTED", HAState: "ACTIVE",
		StateStore: "Fairway's journal", Version: version, BuildVersion: build, HadoopVersion: version, HadoopBuildVersion: build,
		ZooKeeper: "Could not find leader elector. Verify both HA and automatic failover are enabled.",
	}}, nil
}

func (s *Server) clusterMetrics(*http.Request) (any, error) {
	return map[string]any{"clusterMetrics": metricsOf(s.m.ClusterMetrics())}, nil
}

func (s *Server) scheduler(*http.Request) (any, error) {
	return map[string]any{"scheduler": map[string]any{"schedulerInfo": schedulerOf(s.m.QueueTree())}}, nil
}

func (s *Server) apps(r *http.Request) (any, error) {
	f, err := parseFilter(r.URL.Query(), s.m.QueueTree)
	if err != nil {
		return nil, err
	}
	var list struct {
		App []application `json:"app,omitempty"`
	}
	now := s.now()
	info := s.m.Info()
	sees := s.m.Sees(caller(r))
	for _, a := range s.m.Applications() {
		if len(list.App) == f.limit {
			break
		}
		if f.matches(&a) {
			list.App = append(list.App, applicationOf(&a, sees(a.ID), info.ID, now))
		}
	}
	return map[string]any{"apps": list}, nil
}

// find is the application that a path names.
func (s *Server) find(r *http.Request) (resourcemanager.Application, error) {
	name := r.PathValue("app")
	i, err := id.ParseApplication(name)
	if err != nil {
		return resourcemanager.Application{}, &problem{http.StatusBadRequest, webapp + "BadRequestException",
			"java.lang.IllegalArgumentException: Invalid ApplicationId: " + clip(name)}
	}
	a, ok := s.m.Application(i)
	if !ok {
		return a, notFound("app with id: " + name + " not found")
	}
	return a, nil
}

// sees tells whether who asks may see an application.
func (s *Server) sees(r *http.Request, i id.ApplicationID) bool { return s.m.Sees(caller(r))(i) }

func clip(text string) string { return fmt.Sprintf("%.200s", text) }

func (s *Server) app(r *http.Request) (any, error) {
	a, err := s.find(r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"app": applicationOf(&a, s.sees(r, a.ID), s.m.Info().ID, s.now())}, nil
}

func (s *Server) state(r *http.Request) (any, error) {
	a, err := s.find(r)
	return map[string]string{"state": a.State.String()}, err
}

func (s *Server) queue(r *http.Request) (any, error) {
	a, err := s.find(r)
	return map[string]string{"queue": a.Queue}, err
}

func (s *Server) priority(r *http.Request) (any, error) {
	a, err := s.find(r)
	return map[string]int32{"priority": a.Priority}, err
}

func (s *Server) timeouts(r *http.Request) (any, error) {
	a, err := s.find(r)
	return map[string]any{"timeouts": timeoutsOf(&a, s.now())}, err
}

func (s *Server) attempts(r *http.Request) (any, error) {
	a, err := s.find(r)
	if err != nil {
		return nil, err
	}
	all, _ := s.m.Attempts(a.ID)
	var list struct {
		Attempt []attemptRow `json:"appAttempt,omitempty"`
	}
	sees := s.sees(r, a.ID)
	for i := range all {
		list.Attempt = append(list.Attempt, attemptRowOf(&all[i], sees))
	}
	return map[string]any{"appAttempts": list}, nil
}

// findAttempt is the attempt that a path names; what is the part of the application that is asked for.
func (s *Server) findAttempt(r *http.Request, what string) (resourcemanager.Attempt, error) {
	a, err := s.find(r)
	if err != nil {
		return resourcemanager.Attempt{}, err
	}
	name := r.PathValue("attempt")
	i, err := id.ParseAttempt(name)
	if err != nil {
		return resourcemanager.Attempt{}, badRequest("Invalid AppAttemptId: " + clip(name))
	}
	if i.Application != a.ID {
		return resourcemanager.Attempt{}, notFound("appId and appAttemptId don't match")
	}
	if !s.sees(r, a.ID) {
		named := i.String()
		if what == "application" {
			named = a.ID.String()
		}
		return resourcemanager.Attempt{}, unseen(caller(r).User, what, named)
	}
	all, _ := s.m.Attempts(a.ID)
	for _, t := range all {
		if t.ID == i {
			return t, nil
		}
	}
	return resourcemanager.Attempt{}, notFound("app attempt with id: " + name + " not found")
}

func (s *Server) attempt(r *http.Request) (any, error) {
	t, err := s.findAttempt(r, "attempt")
	if err != nil {
		return nil, err
	}
	return attemptOf(&t), nil
}

func (s *Server) containers(r *http.Request) (any, error) {
	t, err := s.findAttempt(r, "application")
	if err != nil {
		return nil, err
	}
	all, _ := s.m.Containers(t.ID)
	rows := make([]container, len(all))
	for i := range all {
		rows[i] = containerOf(&all[i], s.now())
	}
	switch len(rows) { // as YARN's own mapping has it
	case 0:
		return map[string]any{}, nil
	case 1:
		return map[string]any{"container": rows[0]}, nil
	}
	return map[string]any{"container": rows}, nil
}

func (s *Server) nodes(r *http.Request) (any, error) {
	wanted := map[wire.NodeStateProto]bool{}
	for _, name := range values(r.URL.Query()["states"]) {
		v, ok := wire.NodeStateProto_value["NS_"+strings.ToUpper(name)]
		if !ok {
			return nil, badArgument("No enum constant org.apache.hadoop.yarn.api.records.NodeState." + clip(strings.ToUpper(name)))
		}
		wanted[wire.NodeStateProto(v)] = true
	}
	var list struct {
		Node []node `json:"node,omitempty"`
	}
	for _, n := range s.m.Nodes() {
		if len(wanted) == 0 || wanted[n.State] {
			list.Node = append(list.Node, nodeOf(&n))
		}
	}
	return map[string]any{"nodes": list}, nil
}

func (s *Server) node(r *http.Request) (any, error) {
	name := r.PathValue("node")
	i, err := id.ParseNode(name)
	if err != nil {
		return nil, badRequest("Invalid NodeId [" + clip(name) + "]. Expected host:port")
	}
	for _, n := range s.m.Nodes() {
		if n.ID == i {
			return map[string]any{"node": nodeOf(&n)}, nil
		}
	}
	return nil, notFound("nodeId, " + name + ", is not found")
}

const maxBody = 64 << 10

// kill is PUT {"state":"KILLED"}: 202 as long as the application has not ended, 200 then.
func (s *Server) kill(w http.ResponseWriter, r *http.Request) {
	s.requests.WithLabelValues("rest").Inc()
	a, err := s.find(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var want struct {
		State       string `json:"state"`
		Diagnostics string `json:"diagnostics"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&want); err != nil {
		s.fail(w, r, &problem{http.StatusBadRequest, "javax.ws.rs.WebApplicationException", "the body is not {\"state\":\"KILLED\"}: " + clip(err.Error())})
		return
	}
	if want.State != wire.YarnApplicationStateProto_KILLED.String() {
		s.fail(w, r, badRequest("Only 'KILLED' is allowed as a target state."))
		return
	}
	who := caller(r)
	ended, err := s.m.Kill(r.Context(), who, a.ID, want.Diagnostics)
	if err != nil {
		p := fromRPC(err)
		if p.status == http.StatusForbidden {
			p.message = "Unauthorized attempt to kill appid " + a.ID.String() + " by remote user " + who.User
		}
		s.fail(w, r, p)
		return
	}
	if !ended {
		w.Header().Set("Location", r.URL.Path)
		s.write(w, http.StatusAccepted, map[string]string{"state": "KILLING"})
		return
	}
	state := a.State
	if now, ok := s.m.Application(a.ID); ok {
		state = now.State
	}
	s.write(w, http.StatusOK, map[string]string{"state": state.String()})
}

// parseInt is a number of a query.
func parseInt(name, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, badRequest(name + " value must be a number!")
	}
	return n, nil
}
