package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"fairway/adapters/yarn/tfile"
	"fairway/frameworks/storage"
	"go.uber.org/zap"
)

// Modes that YARN gives.
const (
	rootMode   = fs.ModeSticky | 0o777
	folderMode = fs.FileMode(0o770)
	fileMode   = fs.FileMode(0o640)
)

// store writes an application's logs, or finds that they were written before.
func (a *Aggregator) store(ctx context.Context, r *record, log *zap.Logger) error {
	files, base, err := a.o.Files(ctx, a.o.Folders.Root, r.User)
	if err != nil {
		return err
	}
	folders := tfile.Folders{Root: base, Suffix: a.o.Folders.Suffix}
	target := folders.File(r.User, r.ID, a.o.Node)
	temporary := target + ".tmp"
	if r.Stage == moving {
		// The agent ended between writing the record and seeing the file renamed. Nobody else makes a file of this name.
		_, there := files.Stat(ctx, r.File)
		_, still := files.Stat(ctx, temporary)
		if there == nil && errors.Is(still, fs.ErrNotExist) {
			return nil
		}
		if there != nil && !errors.Is(there, fs.ErrNotExist) {
			return there
		}
	}
	if err := a.prepare(ctx, files, folders, r); err != nil {
		return err
	}
	any, err := a.write(ctx, files, temporary, r, log)
	if err != nil || !any {
		return errors.Join(err, discard(ctx, files, temporary))
	}
	// An earlier stay of the application on this node may have left a file: as YARN does, the next has a time in its name.
	if _, err := files.Stat(ctx, target); err == nil {
		target += "_" + strconv.FormatInt(time.Now().UnixMilli(), 10)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.Stage, r.File = moving, target
	if err := r.save(a.o.State); err != nil {
		return err
	}
	return files.Rename(ctx, temporary, target)
}

// discard removes what was begun, even if ctx has ended.
func discard(ctx context.Context, files storage.FS, p string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return files.Remove(ctx, p)
}

// prepare makes the folders that lack. The root is the agent's own if it may make it, the others are the user's.
func (a *Aggregator) prepare(ctx context.Context, files storage.FS, f tfile.Folders, r *record) error {
	path := f.Path(r.User, r.ID)
	if _, err := files.Stat(ctx, path[len(path)-1]); err == nil {
		return nil
	}
	if _, err := files.Stat(ctx, f.Root); errors.Is(err, fs.ErrNotExist) {
		own, p, err := a.o.Files(ctx, a.o.Folders.Root, "")
		if err == nil {
			err = own.Mkdir(ctx, p, rootMode)
		}
		if err != nil {
			if err2 := files.Mkdir(ctx, f.Root, rootMode); err2 != nil {
				return errors.Join(err, err2)
			}
		}
	}
	for _, p := range path {
		if err := files.Mkdir(ctx, p, folderMode); err != nil {
			return err
		}
	}
	return nil
}

// write writes the logs of all containers to p; any tells that there were some. Logs that cannot be read are left out.
func (a *Aggregator) write(ctx context.Context, files storage.FS, p string, r *record, log *zap.Logger) (any bool, err error) {
	c, err := parseChoice(r.Context)
	if err != nil {
		log.Warn("more logs are aggregated than were asked for", zap.Error(err))
	}
	var out io.WriteCloser
	var logs *tfile.LogWriter
	defer func() {
		if out != nil {
			if err2 := out.Close(); err == nil {
				err = err2
			}
		}
	}()
	for _, k := range r.Containers {
		if k.ID.Application() != r.ID || !c.container(k) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return any, err
		}
		folder, err := openFolder(a.o.Root, k.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var found []tfile.File
		if err == nil {
			found, err = readable(ctx, folder, r.UID, c)
		}
		if err != nil {
			log.Warn("a container's logs are left out", zap.Stringer("container", k.ID), zap.Error(err))
		}
		if len(found) > 0 {
			if out == nil {
				if out, err = files.Create(ctx, p, storage.CreateOptions{Overwrite: true, Perm: fileMode}); err == nil {
					logs, err = tfile.NewLogWriter(out, r.User, r.ACLs)
				}
			}
			if err == nil {
				any = true
				var left error
				if left, err = logs.Container(k.ID.String(), found); left != nil {
					log.Warn("some logs are left out or cut", zap.Stringer("container", k.ID), zap.Error(left))
				}
			}
		} else {
			err = nil
		}
		if folder != nil {
			folder.Close()
		}
		if err != nil {
			return any, fmt.Errorf("write logs: %w", err)
		}
	}
	if logs == nil {
		return false, nil
	}
	return any, logs.Close()
}

// readable lists the logs of a folder that are chosen; they are opened one after the other while they are written.
func readable(ctx context.Context, folder *os.Root, uid int, c choice) ([]tfile.File, error) {
	infos, err := list(folder)
	if err != nil {
		return nil, err
	}
	var found []tfile.File
	for _, i := range infos {
		if !c.file(i.Name()) {
			continue
		}
		found = append(found, tfile.File{Name: i.Name(), Open: func() (io.ReadCloser, int64, error) {
			if err := ctx.Err(); err != nil {
				return nil, 0, err
			}
			f, info, err := open(folder, i.Name(), uid)
			if err != nil {
				return nil, 0, err
			}
			return f, info.Size(), nil
		}})
	}
	return found, nil
}
