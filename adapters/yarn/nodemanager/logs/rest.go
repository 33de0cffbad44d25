package logs

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway/adapters/yarn/id"
)

// timeFormat is how YARN gives a time in logs: "Sun Nov 22 19:22:14 +0000 2026".
const timeFormat = "Mon Jan 02 15:04:05 -0700 2006"

// bodies of answers: the order of the fields is YARN's.
type (
	nodeInfo struct {
		HealthReport  string `json:"healthReport"`
		VirtualMB     int64  `json:"totalVmemAllocatedContainersMB"`
		MemoryMB      int64  `json:"totalPmemAllocatedContainersMB"`
		VCores        int64  `json:"totalVCoresAllocatedContainers"`
		CheckVirtual  bool   `json:"vmemCheckEnabled"`
		CheckPhysical bool   `json:"pmemCheckEnabled"`
		Updated       int64  `json:"lastNodeUpdateTime"`
		ResourceTypes string `json:"resourceTypes"`
		Healthy       bool   `json:"nodeHealthy"`
		Version       string `json:"nodeManagerVersion"`
		Build         string `json:"nodeManagerBuildVersion"`
		BuiltOn       string `json:"nodeManagerVersionBuiltOn"`
		HadoopVersion string `json:"hadoopVersion"`
		HadoopBuild   string `json:"hadoopBuildVersion"`
		HadoopBuiltOn string `json:"hadoopVersionBuiltOn"`
		ID            string `json:"id"`
		Host          string `json:"nodeHostName"`
		Started       int64  `json:"nmStartupTime"`
	}
	appInfo struct {
		ID         string   `json:"id"`
		State      string   `json:"state"`
		User       string   `json:"user"`
		Containers []string `json:"containerids"`
	}
	containerInfo struct {
		ID            string   `json:"id"`
		State         string   `json:"state"`
		ExitCode      int      `json:"exitCode"`
		Diagnostics   string   `json:"diagnostics"`
		User          string   `json:"user"`
		MemoryMB      int64    `json:"totalMemoryNeededMB"`
		VCores        int64    `json:"totalVCoresNeeded"`
		ExecutionType string   `json:"executionType"`
		LogsLink      string   `json:"containerLogsLink"`
		Node          string   `json:"nodeId"`
		Files         []string `json:"containerLogFiles"`
	}
	logInfo struct {
		Name     string `json:"fileName"`
		Size     string `json:"fileSize"`
		Modified string `json:"lastModifiedTime"`
	}
	logsInfo struct {
		Logs      []logInfo `json:"containerLogInfo"`
		Type      string    `json:"logAggregationType"`
		Container string    `json:"containerId"`
		Node      string    `json:"nodeId"`
	}
	remoteException struct {
		Exception string `json:"exception"`
		Message   string `json:"message"`
		Class     string `json:"javaClassName"`
	}
)

// reply writes {"name": body}, as YARN names the root of each answer.
func reply(w http.ResponseWriter, status int, name string, body any) {
	b, err := json.Marshal(map[string]any{name: body})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the caller is gone
}

func refuse(w http.ResponseWriter, err error) {
	p := asProblem(err)
	reply(w, p.status, "RemoteException", remoteException{p.class[strings.LastIndexByte(p.class, '.')+1:], "java.lang.Exception: " + p.message, p.class})
}

func (h *handler) info(w http.ResponseWriter, _ *http.Request) {
	i := h.node.Info()
	build := i.Version + " (Fairway)"
	reply(w, http.StatusOK, "nodeInfo", nodeInfo{HealthReport: i.HealthReport, VirtualMB: i.VirtualMemoryMB, MemoryMB: i.MemoryMB, VCores: i.VCores,
		CheckVirtual: i.CheckVirtualMem, CheckPhysical: i.CheckPhysicalMem, Updated: millis(i.Updated), ResourceTypes: "memory-mb (unit=Mi), vcores",
		Healthy: i.Healthy, Version: i.Version, Build: build, HadoopVersion: i.Version, HadoopBuild: build, ID: i.Node.String(), Host: i.Node.Host, Started: millis(i.Started)})
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func describe(a Application) appInfo {
	i := appInfo{ID: a.ID.String(), State: a.State, User: a.User, Containers: []string{}}
	for _, c := range a.Containers {
		i.Containers = append(i.Containers, c.String())
	}
	return i
}

func (h *handler) applications(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Has("user") && q.Get("user") == "" {
		refuse(w, badRequest("Error: You must specify a non-empty string for the user"))
		return
	}
	body := struct {
		Apps []appInfo `json:"app,omitempty"`
	}{}
	for _, a := range h.node.Applications() {
		if s := q.Get("state"); s != "" && !strings.EqualFold(s, a.State) || q.Has("user") && q.Get("user") != a.User {
			continue
		}
		body.Apps = append(body.Apps, describe(a))
	}
	slices.SortFunc(body.Apps, func(a, b appInfo) int { return strings.Compare(a.ID, b.ID) })
	reply(w, http.StatusOK, "apps", body)
}

func (h *handler) application(w http.ResponseWriter, r *http.Request) {
	text := r.PathValue("application")
	k, err := id.ParseApplication(text)
	if err != nil {
		refuse(w, badRequest("invalid application id, %.100s", text))
		return
	}
	a, ok := h.node.Application(k)
	if !ok {
		refuse(w, notFound("app with id %s not found", k))
		return
	}
	reply(w, http.StatusOK, "app", describe(a))
}

func (h *handler) describe(r *http.Request, c Container) containerInfo {
	i := containerInfo{ID: c.ID.String(), State: c.State, ExitCode: c.ExitStatus, Diagnostics: c.Diagnostics, User: c.User, MemoryMB: c.MemoryMB, VCores: c.VCores,
		ExecutionType: c.ExecutionType, Node: h.node.Info().Node.String(), Files: []string{},
		LogsLink: "http://" + r.Host + "/node/containerlogs/" + c.ID.String() + "/" + c.User}
	if i.ExecutionType == "" {
		i.ExecutionType = "GUARANTEED"
	}
	// Names of logs are for those only who may read them.
	a, ok := h.node.Application(c.ID.Application())
	if _, may := h.may(r, a); !ok || !may {
		return i
	}
	if folder, err := openFolder(h.o.Root, c.ID); err == nil {
		defer folder.Close()
		files, _ := list(folder) // vanishing: none
		for _, f := range files {
			i.Files = append(i.Files, f.Name())
		}
	}
	return i
}

func (h *handler) containers(w http.ResponseWriter, r *http.Request) {
	body := struct {
		Containers []containerInfo `json:"container,omitempty"`
	}{}
	for _, c := range h.node.Containers() {
		body.Containers = append(body.Containers, h.describe(r, c))
	}
	slices.SortFunc(body.Containers, func(a, b containerInfo) int { return strings.Compare(a.ID, b.ID) })
	reply(w, http.StatusOK, "containers", body)
}

func (h *handler) container(w http.ResponseWriter, r *http.Request) {
	text := r.PathValue("container")
	k, err := id.ParseContainer(text)
	if err != nil {
		refuse(w, badRequest("invalid container id, %.100s", text))
		return
	}
	c, ok := h.node.Container(k)
	if !ok {
		refuse(w, notFound("container with id, %s, not found", k))
		return
	}
	reply(w, http.StatusOK, "container", h.describe(r, c))
}

func (h *handler) logList(w http.ResponseWriter, r *http.Request) {
	c, _, err := h.find(r)
	if err != nil {
		refuse(w, err)
		return
	}
	body := logsInfo{Logs: []logInfo{}, Type: "LOCAL", Container: c.String(), Node: h.node.Info().Node.String()}
	if folder, err := openFolder(h.o.Root, c); err == nil {
		defer folder.Close()
		files, _ := list(folder) // vanishing: none
		for _, f := range files {
			body.Logs = append(body.Logs, logInfo{f.Name(), strconv.FormatInt(f.Size(), 10), f.ModTime().Format(timeFormat)})
		}
	}
	reply(w, http.StatusOK, "containerLogsInfo", body)
}

// logFile serves a log between the lines that YARN puts around it; `yarn logs` prints them as they are. With start=, which
// YARN does not know, it serves the bare bytes from there, as `fairway logs -f` reads a log that grows.
func (h *handler) logFile(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size := int64(math.MaxInt64)
	if s := q.Get("size"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			refuse(w, &problem{http.StatusBadRequest, "java.lang.NumberFormatException", fmt.Sprintf("For input string: %.50q", s)})
			return
		}
		size = n
	}
	start := int64(-1)
	if s := q.Get("start"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			plain(w, badRequest("start: %.50q is no offset", s))
			return
		}
		start = n
	}
	kind := "text/plain"
	switch f := q.Get("format"); {
	case strings.EqualFold(f, "octet-stream"):
		kind = "application/octet-stream"
	case f != "" && !strings.EqualFold(f, "text"):
		plain(w, badRequest("The valid values for the parameter : format are [text, octet-stream]"))
		return
	}
	c, f, info, err := h.open(r)
	if err != nil {
		plain(w, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	if start >= 0 {
		_, _ = io.Copy(w, io.NewSectionReader(f, start, max(0, info.Size()-start))) // the caller is gone
		return
	}
	_ = writeLog(w, c.String(), h.node.Info().Node.String(), f, info, size, h.running(c)) // the caller is gone
}

// plain refuses as YARN does where it answers text.
func plain(w http.ResponseWriter, err error) {
	p := asProblem(err)
	http.Error(w, p.message, p.status)
}

// writeLog writes at most size bytes from the start of a log, or, if size is negative, so many from its end.
func writeLog(w io.Writer, container, node string, f *os.File, info os.FileInfo, size int64, running bool) error {
	name, length := info.Name(), info.Size()
	start, n := int64(0), min(max(size, 0), length)
	if size < 0 {
		n = length
		if size > -length { // the smallest number has no opposite
			start, n = length+size, -size
		}
	}
	if n > 0 {
		on := "Container: " + container + " on " + node
		if _, err := io.WriteString(w, on+"\nLogAggregationType: LOCAL\n"+strings.Repeat("=", len(on))+"\nLogType:"+name+
			"\nLogLastModifiedTime:"+info.ModTime().Format(timeFormat)+"\nLogLength:"+strconv.FormatInt(length, 10)+"\nLogContents:\n"); err != nil {
			return err
		}
		if _, err := io.Copy(w, io.NewSectionReader(f, start, n)); err != nil {
			return err
		}
	}
	end := "End of LogType:" + name
	text := end + "."
	if running {
		text += "This log file belongs to a running container (" + container + ") and so may not be complete."
	}
	_, err := io.WriteString(w, text+"\n"+strings.Repeat("*", len(end)+50)+"\n\n")
	return err
}
