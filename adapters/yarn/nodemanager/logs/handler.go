package logs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/tfile"
	"fairway/frameworks/storage"
	"go.uber.org/zap"
)

// Info describes the node.
type Info struct {
	Node                              id.NodeID
	Version                           string // of Hadoop, as clients are told
	MemoryMB, VirtualMemoryMB         int64  // for containers
	VCores                            int64
	Healthy                           bool
	HealthReport                      string
	Started, Updated                  time.Time
	CheckPhysicalMem, CheckVirtualMem bool
}

// Application is one that has, or had, containers here and whose logs are still here.
type Application struct {
	ID         id.ApplicationID
	User       string
	UID        int               // that its containers run as; -1: unknown, files of anyone are shown
	State      string            // NEW, INITING, RUNNING, FINISHING_CONTAINERS_WAIT, ..., FINISHED
	ACLs       map[string]string // VIEW_APP, MODIFY_APP
	Containers []id.ContainerID
}

// Container is one that has not ended, or ended lately.
type Container struct {
	ID            id.ContainerID
	User          string
	State         string // NEW, LOCALIZING, LOCALIZATION_FAILED, SCHEDULED, RUNNING, EXITED_WITH_SUCCESS, DONE, ...
	ExitStatus    int    // -1000 while it runs
	Diagnostics   string
	MemoryMB      int64
	VCores        int64
	ExecutionType string // empty: GUARANTEED
}

// Node is what the handler shows. Its methods may be called from any goroutine.
type Node interface {
	Info() Info
	Applications() []Application
	Application(id.ApplicationID) (Application, bool)
	Containers() []Container
	Container(id.ContainerID) (Container, bool)
}

// Options of NewHandler. Root is needed.
type Options struct {
	Root string // holds the log folders
	// ACLs turns access lists on (yarn.acl.enable).
	ACLs   bool
	Admins string // access list of administrators
	// Groups finds the groups of a user for access lists; nil: this host's.
	Groups func(user string) []string
	// LogServer is where pages of logs that are no longer here are redirected to (yarn.log.server.url); empty: nowhere, they are
	// read from the file that was written.
	LogServer string
	// Files and Folders are the aggregator's, to show what it has written where there is no log server; Files nil: it writes nothing.
	Files   func(ctx context.Context, url, user string) (storage.FS, string, error)
	Folders tfile.Folders
	Log     *zap.Logger
}

type handler struct {
	node Node
	o    Options
}

// NewHandler serves the node's pages and its REST interface.
func NewHandler(n Node, o Options) http.Handler {
	if o.Groups == nil {
		o.Groups = hostGroups
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	h := &handler{n, o}
	m := http.NewServeMux()
	get := func(path string, f http.HandlerFunc) {
		m.HandleFunc("GET "+path, f)
		m.HandleFunc("GET "+path+"/{$}", f)
	}
	get("/ws/v1/node", h.info)
	get("/ws/v1/node/info", h.info)
	get("/ws/v1/node/apps", h.applications)
	get("/ws/v1/node/apps/{application}", h.application)
	get("/ws/v1/node/containers", h.containers)
	get("/ws/v1/node/containers/{container}", h.container)
	get("/ws/v1/node/containers/{container}/logs", h.logList)
	get("/ws/v1/node/containers/{container}/logs/{file}", h.logFile)
	get("/ws/v1/node/containerlogs/{container}/{file}", h.logFile)
	m.HandleFunc("GET /ws/v1/node/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, notFound("no such resource")) })
	get("/node", h.nodePage)
	get("/node/containerlogs/{container}/{user}", h.listPage)
	get("/node/containerlogs/{container}/{user}/{file}", h.filePage)
	m.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/node", http.StatusFound) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		w.Header().Set("Cache-Control", "no-cache")
		if r.Method == http.MethodOptions { // what Hadoop's AuthenticatedURL begins with; it takes 200 for "in"
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			return
		}
		m.ServeHTTP(w, r)
	})
}

// problem is an error with the name that YARN's clients are told.
type problem struct {
	status         int
	class, message string
}

func (p *problem) Error() string { return p.message }

func notFound(format string, args ...any) error {
	return &problem{http.StatusNotFound, "org.apache.hadoop.yarn.webapp.NotFoundException", fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "org.apache.hadoop.yarn.webapp.BadRequestException", fmt.Sprintf(format, args...)}
}

func forbidden(format string, args ...any) error {
	return &problem{http.StatusForbidden, "org.apache.hadoop.yarn.webapp.ForbiddenException", fmt.Sprintf(format, args...)}
}

// asProblem classifies an error of reading a log; what the system says of paths is not for the caller.
func asProblem(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, errOwner):
		return &problem{http.StatusForbidden, "org.apache.hadoop.yarn.webapp.ForbiddenException", "Exception reading log file: it does not belong to the application's user."}
	default:
		return &problem{http.StatusNotFound, "org.apache.hadoop.yarn.webapp.NotFoundException", "Cannot find this log on the local disk."}
	}
}

// may tells whether the caller may see an application.
func (h *handler) may(r *http.Request, a Application) (who string, ok bool) {
	who = r.URL.Query().Get("user.name")
	if who == "" {
		who = anonymous
	}
	return who, !h.o.ACLs || who == a.User || allows(h.o.Admins, who, h.o.Groups) || allows(a.ACLs[viewRight], who, h.o.Groups)
}

// find finds the container of a request for logs and its application, if the caller may see them.
func (h *handler) find(r *http.Request) (id.ContainerID, Application, error) {
	text := r.PathValue("container")
	c, err := id.ParseContainer(text)
	if err != nil {
		return c, Application{}, badRequest("invalid container id, %.100s", text)
	}
	a, ok := h.node.Application(c.Application())
	if !ok {
		return c, a, notFound("Unknown container. Container either has not started or has already completed or doesn't belong to this node at all.")
	}
	if who, ok := h.may(r, a); !ok {
		return c, a, forbidden("User [%.100s] is not authorized to view the logs for application %s", who, a.ID)
	}
	if k, ok := h.node.Container(c); ok {
		switch k.State {
		case "NEW", "LOCALIZING", "SCHEDULED":
			return c, a, notFound("Container is not yet running. Current state is %s", k.State)
		case "LOCALIZATION_FAILED":
			return c, a, notFound("Container wasn't started. Localization failed.")
		}
	}
	return c, a, nil
}

// running tells whether more may come into a container's logs.
func (h *handler) running(c id.ContainerID) bool {
	k, ok := h.node.Container(c)
	return ok && k.State == "RUNNING"
}

// open opens the log that a request names.
func (h *handler) open(r *http.Request) (id.ContainerID, *os.File, os.FileInfo, error) {
	c, a, err := h.find(r)
	if err != nil {
		return c, nil, nil, err
	}
	folder, err := openFolder(h.o.Root, c)
	if err != nil {
		return c, nil, nil, err
	}
	defer folder.Close()
	f, info, err := open(folder, r.PathValue("file"), a.UID)
	if errors.Is(err, errOwner) {
		h.o.Log.Warn("log of another owner not shown", zap.Stringer("container", c), zap.String("file", r.PathValue("file")), zap.String("peer", r.RemoteAddr))
	}
	return c, f, info, err
}
