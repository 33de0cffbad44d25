package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"fairway/adapters/hadooprpc"
)

// problem is an error as YARN's REST interface tells it: RemoteException with a Java class.
type problem struct {
	status  int
	class   string
	message string
}

func (p *problem) Error() string { return p.message }

const webapp = "org.apache.hadoop.yarn.webapp."

func badRequest(message string) *problem {
	return &problem{http.StatusBadRequest, webapp + "BadRequestException", "java.lang.Exception: " + message}
}

func badArgument(message string) *problem {
	return &problem{http.StatusBadRequest, "java.lang.IllegalArgumentException", message}
}

func notFound(message string) *problem {
	return &problem{http.StatusNotFound, webapp + "NotFoundException", "java.lang.Exception: " + message}
}

// unseen refuses a part of an application to who may not see it. YARN's interface has no status for that: the exception
// falls through to the one for errors that nobody has thought of (GenericExceptionHandler).
func unseen(who, what, named string) *problem {
	return &problem{http.StatusServiceUnavailable, unseenClass, "org.apache.hadoop.yarn.exceptions.YarnException: User " + who + " does not have privilege to see this " + what + " " + named}
}

const unseenClass = "javax.ws.rs.WebApplicationException"

// fromRPC is a problem for what an RPC would have answered.
func fromRPC(err error) *problem {
	var e *hadooprpc.Exception
	if !errors.As(err, &e) {
		return &problem{http.StatusInternalServerError, webapp + "WebAppException", err.Error()}
	}
	status := http.StatusInternalServerError
	switch e.Class {
	case hadooprpc.AccessControlException:
		status = http.StatusForbidden
	case hadooprpc.ApplicationNotFound:
		status = http.StatusNotFound
	}
	return &problem{status, e.Class, e.Message}
}

type remoteException struct {
	RemoteException struct {
		Exception     string `json:"exception"`
		Message       string `json:"message"`
		JavaClassName string `json:"javaClassName"`
	}
}

// answer makes a handler of what returns a value to tell, or a problem.
func (s *Server) answer(f func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.requests.WithLabelValues("rest").Inc()
		v, err := f(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.write(w, http.StatusOK, v)
	}
}

func (s *Server) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		s.log.Debug("answer not sent", zap.Error(err))
	}
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = fromRPC(err)
	}
	if p.status >= http.StatusInternalServerError && p.class != unseenClass {
		s.log.Warn("REST request failed", zap.String("path", r.URL.Path), zap.String("peer", r.RemoteAddr), zap.Error(err))
	}
	var e remoteException
	e.RemoteException.Exception = p.class[strings.LastIndexByte(p.class, '.')+1:]
	e.RemoteException.Message = p.message
	e.RemoteException.JavaClassName = p.class
	s.write(w, p.status, e)
}
