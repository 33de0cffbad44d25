package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/tfile"
	"fairway/frameworks/storage"
	"go.uber.org/zap"
)

// errNotStored says that no file of the cluster has a container's logs.
var errNotStored = errors.New("not stored")

// stored shows what a page was asked for of the file that this node's aggregator wrote when the application had ended.
func (h *handler) stored(w http.ResponseWriter, r *http.Request, c id.ContainerID) error {
	user := r.PathValue("user")
	if h.o.Files == nil || !tfile.ValidUser(user) {
		return errNotStored
	}
	f, l, err := h.openStored(r.Context(), user, c)
	if err != nil {
		return err
	}
	defer f.Close()
	if who, ok := h.may(r, Application{ID: c.Application(), User: l.Owner, ACLs: l.ACLs}); !ok {
		return forbidden("User [%.100s] is not authorized to view the logs for application %s", who, c.Application())
	}
	for {
		container, err := l.Next()
		if err == io.EOF {
			return errNotStored
		}
		if err != nil {
			return err
		}
		if container == c.String() {
			break
		}
	}
	if r.PathValue("file") == "" {
		return storedList(w, r, c, l, h.o.Log)
	}
	for {
		name, size, content, err := l.NextFile()
		if err == io.EOF {
			return errNotStored
		}
		if err != nil {
			return err
		}
		if name == r.PathValue("file") {
			return showLog(w, r, c, name, size, func(from, n int64) io.Reader {
				if _, err := io.CopyN(io.Discard, content, from); err != nil {
					h.o.Log.Warn("a stored log cannot be read", zap.Stringer("container", c), zap.Error(err))
					return http.NoBody
				}
				return io.LimitReader(content, n)
			})
		}
	}
}

func (h *handler) openStored(ctx context.Context, user string, c id.ContainerID) (storage.File, *tfile.Logs, error) {
	files, base, err := h.o.Files(ctx, h.o.Folders.Root, user)
	if err != nil {
		return nil, nil, err
	}
	path := tfile.Folders{Root: base, Suffix: h.o.Folders.Suffix}.File(user, c.Application(), h.node.Info().Node)
	info, err := files.Stat(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	f, err := files.Open(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	l, err := tfile.ReadLogs(f, info.Size)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, l, nil
}

// storedList is the page of a container's stored logs.
func storedList(w http.ResponseWriter, r *http.Request, c id.ContainerID, l *tfile.Logs, log *zap.Logger) error {
	begin(w, http.StatusOK, "Logs for "+c.String())
	defer end(w)
	for {
		name, size, _, err := l.NextFile()
		if err != nil {
			if err != io.EOF {
				log.Warn("a stored log cannot be read", zap.Stringer("container", c), zap.Error(err)) // what the system says is not for the caller
				_, _ = io.WriteString(w, "<p>The rest cannot be read.</p>\n")
			}
			return nil // what can be said is said
		}
		fmt.Fprint(w, entry(r, c, name, size))
	}
}
