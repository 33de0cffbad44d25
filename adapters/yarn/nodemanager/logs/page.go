package logs

import (
	"errors"
	"fmt"
	"html"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"fairway/adapters/yarn/id"
	"go.uber.org/zap"
)

// shown is how many bytes of a log's end a page shows unless it is asked for others.
const shown = 4096

func begin(w http.ResponseWriter, status int, title string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!DOCTYPE html>\n<html><head><title>%s</title></head><body>\n", html.EscapeString(title))
}

func end(w io.Writer) { _, _ = io.WriteString(w, "</body></html>\n") } // the caller is gone

func page(w http.ResponseWriter, status int, title, body string) {
	begin(w, status, title)
	_, _ = io.WriteString(w, body)
	end(w)
}

// refusePage shows an error, or what was asked for from where it is now if that is no longer here: the log server, if there is one,
// else the file that this node wrote.
func (h *handler) refusePage(w http.ResponseWriter, r *http.Request, err error) {
	p := asProblem(err)
	if c, bad := id.ParseContainer(r.PathValue("container")); bad == nil && p.status == http.StatusNotFound {
		if _, here := h.node.Application(c.Application()); !here {
			switch err := h.elsewhere(w, r, c); {
			case err == nil:
				return
			case errors.As(err, &p): // what there is instead may not be shown either
			case !errors.Is(err, errNotStored) && !errors.Is(err, fs.ErrNotExist):
				h.o.Log.Warn("stored logs cannot be read", zap.Stringer("container", c), zap.Error(err))
			}
		}
	}
	page(w, p.status, "Logs", "<h1>"+html.EscapeString(p.message)+"</h1>\n")
}

// elsewhere leads to the log server or shows what is stored; of an error nothing was written.
func (h *handler) elsewhere(w http.ResponseWriter, r *http.Request, c id.ContainerID) error {
	if h.o.LogServer == "" {
		return h.stored(w, r, c)
	}
	to := []string{strings.TrimSuffix(h.o.LogServer, "/"), url.PathEscape(h.node.Info().Node.String()), c.String(), c.String(), url.PathEscape(r.PathValue("user"))}
	if f := r.PathValue("file"); f != "" {
		to = append(to, url.PathEscape(f))
	}
	http.Redirect(w, r, strings.Join(to, "/"), http.StatusTemporaryRedirect)
	return nil
}

func (h *handler) nodePage(w http.ResponseWriter, _ *http.Request) {
	i := h.node.Info()
	begin(w, http.StatusOK, "Node "+i.Node.String())
	fmt.Fprintf(w, "<h1>Node %s</h1>\n<p>%d MB and %d vcores for containers.</p>\n<ul>\n", html.EscapeString(i.Node.String()), i.MemoryMB, i.VCores)
	for _, c := range h.node.Containers() {
		fmt.Fprintf(w, "<li><a href=\"/node/containerlogs/%s/%s\">%s</a> %s</li>\n", c.ID, html.EscapeString(url.PathEscape(c.User)), c.ID, html.EscapeString(c.State))
	}
	_, _ = io.WriteString(w, "</ul>\n")
	end(w)
}

func (h *handler) listPage(w http.ResponseWriter, r *http.Request) {
	c, _, err := h.find(r)
	if err != nil {
		h.refusePage(w, r, err)
		return
	}
	begin(w, http.StatusOK, "Logs for "+c.String())
	defer end(w)
	found := false
	if folder, err := openFolder(h.o.Root, c); err == nil {
		defer folder.Close()
		files, _ := list(folder) // vanishing: none
		for _, f := range files {
			found = true
			fmt.Fprint(w, entry(r, c, f.Name(), f.Size()))
		}
	}
	if !found {
		fmt.Fprintf(w, "<h1>No logs available for container %s</h1>\n", c)
	}
}

// entry is a log's line in the list of a container's.
func entry(r *http.Request, c id.ContainerID, name string, size int64) string {
	return fmt.Sprintf("<p><a href=\"%s?start=-4096\">%s : Total file length is %d bytes.</a></p>\n", link(r, c, name), html.EscapeString(name), size)
}

// link is the address of a log's page, ready for an attribute.
func link(r *http.Request, c id.ContainerID, file string) string {
	return html.EscapeString("/node/containerlogs/" + c.String() + "/" + url.PathEscape(r.PathValue("user")) + "/" + url.PathEscape(file) + "/")
}

// span is the part of a log of some length that start and end ask for: negative ones count from the end. Errors are in
// YARN's words.
func span(start, end string, length int64) (from, to int64, err error) {
	from, to = -shown, length
	for _, v := range []struct {
		text string
		into *int64
	}{{start, &from}, {end, &to}} {
		if v.text == "" {
			continue
		}
		n, err := strconv.ParseInt(v.text, 10, 64)
		if err != nil {
			return 0, 0, badRequest("For input string: %.50q", v.text)
		}
		*v.into = n
	}
	if from < 0 {
		from = max(from+length, 0)
	}
	if to < 0 {
		if to += length; to < 0 {
			to = length
		}
	}
	if from > to {
		return 0, 0, badRequest("Invalid start and end values. Start: [%d], end[%d]", from, to)
	}
	return min(from, length), min(to, length), nil
}

func (h *handler) filePage(w http.ResponseWriter, r *http.Request) {
	c, f, info, err := h.open(r)
	if err != nil {
		h.refusePage(w, r, err)
		return
	}
	defer f.Close()
	err = showLog(w, r, c, info.Name(), info.Size(), func(from, n int64) io.Reader { return io.NewSectionReader(f, from, n) })
	if err != nil {
		h.refusePage(w, r, err)
	}
}

// showLog is the page of the part of a log that is asked for; of an error nothing was written.
func showLog(w http.ResponseWriter, r *http.Request, c id.ContainerID, name string, size int64, part func(from, n int64) io.Reader) error {
	q := r.URL.Query()
	from, to, err := span(q.Get("start"), q.Get("end"), size)
	if err != nil {
		return err
	}
	begin(w, http.StatusOK, "Logs for "+c.String())
	defer end(w)
	if to-from < size {
		fmt.Fprintf(w, "<p>Showing %d bytes. Click <a href=\"%s?start=0\">here</a> for full log</p>\n", to-from, link(r, c, name))
	}
	_, _ = io.WriteString(w, "<pre>")
	_, _ = io.Copy(escaper{w}, part(from, to-from)) // the caller is gone, or the file shorter
	_, _ = io.WriteString(w, "</pre>\n")
	return nil
}

// escaper escapes what HTML gives a meaning to; its cuts do not matter, as all of that is ASCII.
type escaper struct{ w io.Writer }

func (e escaper) Write(p []byte) (int, error) {
	s := errorWriter{w: e.w}
	template.HTMLEscape(&s, p)
	if s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

// errorWriter remembers its first error, which HTMLEscape does not tell.
type errorWriter struct {
	w   io.Writer
	err error
}

func (e *errorWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	var n int
	n, e.err = e.w.Write(p)
	return n, e.err
}
