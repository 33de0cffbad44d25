package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/nodemanager"
	"fairway/adapters/yarn/tfile"
	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/conf"
	"fairway/frameworks/storage"
)

// kindYARN is the kind of jobs that are YARN applications; their status is the application's id.
const kindYARN = "yarn"

// applicationOf reads the names that Hadoop's users know a job by: application_1_2 and job_1_2.
func applicationOf(name string) (id.ApplicationID, bool) {
	if rest, ok := strings.CutPrefix(name, "job_"); ok {
		name = "application_" + rest
	}
	a, err := id.ParseApplication(name)
	return a, err == nil
}

// jobID is the id of the job that a user names, by the application's id too.
func jobID(ctx context.Context, b *client.Client, name string) (string, error) {
	app, ok := applicationOf(name)
	if !ok {
		return name, nil
	}
	q := &v1.ListJobsRequest{PageSize: 1000}
	for {
		r, err := b.ListJobs(ctx, api.Caller{}, q)
		if err != nil {
			return "", err
		}
		for _, j := range r.Jobs {
			if j.Kind == kindYARN && j.Status == app.String() {
				return j.Id, nil
			}
		}
		if q.PageToken = r.NextPageToken; q.PageToken == "" {
			return "", fmt.Errorf("%w: no job is %s; `fairway jobs` lists those there are", api.ErrNotFound, app)
		}
	}
}

// applicationLogs reads what the containers of a YARN application wrote: from the agents while it is there, from the
// aggregated files once its application has ended.
type applicationLogs struct {
	*logReader
	yarn   conf.YARN
	files  func(ctx context.Context, url, user string) (storage.FS, string, error)
	caller string // whom agents and files are asked as
	only   string // a container's or task's name; empty: all
	stream string // a log's name, or both
	tail   int64
	warn   io.Writer

	seen  map[string]int64 // bytes shown, by container and log
	found bool             // some container is there
	told  map[string]bool  // what was warned of
}

func newApplicationLogs(c *conf.Config, r *logReader, only, stream string, tail int64, warn io.Writer) (*applicationLogs, error) {
	mux, err := fileSystems(c, nil)
	if err != nil {
		return nil, err
	}
	return &applicationLogs{logReader: r, yarn: c.YARN, files: mux.Resolve, caller: account(), only: only, stream: stream, tail: tail, warn: warn,
		seen: map[string]int64{}, told: map[string]bool{}}, nil
}

// Of logs that are still being written, and of an aggregation that takes its time.
const (
	pollLogs      = 500 * time.Millisecond
	awaitedUpload = 30 * time.Second
)

// show prints the logs of a job; with follow until it has ended and its last lines have been found.
func (l *applicationLogs) show(ctx context.Context, b *client.Client, j *v1.Job, follow bool) error {
	var ended time.Time
	for {
		now, err := b.GetJob(ctx, api.Caller{}, j.Id)
		if err != nil {
			return err
		}
		done := now.FinishedUnixNanos != 0
		if done && ended.IsZero() {
			ended = time.Now()
		}
		complete, err := l.pass(ctx, b, now, done)
		if err != nil {
			return err
		}
		if !follow || done && (complete || time.Since(ended) > awaitedUpload) {
			break
		}
		select {
		case <-time.After(pollLogs):
		case <-ctx.Done():
			return errInterrupted
		}
	}
	if l.only != "" && !l.found {
		return fmt.Errorf("job %s has no container %s (see 'fairway job %s --tasks'): %w", j.Id, l.only, j.Id, api.ErrNotFound)
	}
	return nil
}

// pass prints what is new. complete tells that nothing more will come of an ended job.
func (l *applicationLogs) pass(ctx context.Context, b *client.Client, j *v1.Job, done bool) (complete bool, err error) {
	tasks, err := allTasks(ctx, b, j.Id)
	if err != nil {
		return false, err
	}
	agents, err := allAgents(ctx, b)
	if err != nil {
		return false, err
	}
	pages := map[string]string{}
	for _, a := range agents {
		pages[a.Id] = a.GetInfo().GetAttributes()[nodemanager.AttributeHTTP]
	}
	nodes := map[string]bool{}
	var problems []string // of no interest once all is aggregated
	defer func() {
		if !complete {
			for _, p := range problems {
				l.tell(p)
			}
		}
	}()
	for _, t := range tasks {
		c, err := id.ParseContainer(t.Name)
		if err != nil {
			continue
		}
		nodes[t.AgentId] = true
		if l.only != "" && l.only != t.Name && l.only != taskName(t.Id) {
			continue
		}
		l.found = true
		if pages[t.AgentId] == "" {
			continue // that agent has gone; its logs may be among the aggregated ones
		}
		if err := l.container(ctx, pages[t.AgentId], c, done); err != nil {
			if ctx.Err() != nil {
				return false, errInterrupted
			}
			problems = append(problems, fmt.Sprintf("logs of %s on %s: %v", c, t.Host, err))
		}
	}
	if !done {
		return false, nil
	}
	app, ok := applicationOf(j.Status)
	if !ok || !l.yarn.Logs.Aggregate {
		return len(problems) == 0, nil // what the agents have is all
	}
	n, err := l.aggregated(ctx, j.User, app)
	if err != nil && ctx.Err() != nil {
		return false, errInterrupted
	}
	if err != nil {
		l.tell(fmt.Sprintf("aggregated logs of %s: %v", app, err))
	}
	return n >= len(nodes), nil
}

// tell warns once.
func (l *applicationLogs) tell(text string) {
	if !l.told[text] {
		l.told[text] = true
		l.mu.Lock()
		defer l.mu.Unlock()
		fmt.Fprintln(l.warn, "fairway:", text)
	}
}

// startLogs are what the node itself writes when it starts a container.
var startLogs = []string{"launch_container.sh", "directory.info", "prelaunch.out"}

// wants tells whether a log is to be shown; with both, all but those of the start.
func (l *applicationLogs) wants(name string) bool {
	return l.stream == name || l.stream == "both" && !slices.Contains(startLogs, name)
}

// begin is where to begin in a log of size bytes that was not shown yet.
func (l *applicationLogs) begin(key string, size int64) int64 {
	if at, ok := l.seen[key]; ok {
		return at
	}
	if l.tail > 0 {
		l.seen[key] = max(0, size-l.tail)
	}
	return l.seen[key]
}

// container prints what is new in the logs of a container that its agent still has.
func (l *applicationLogs) container(ctx context.Context, address string, c id.ContainerID, done bool) error {
	var list struct {
		Info struct {
			Logs []struct{ FileName, FileSize string } `json:"containerLogInfo"`
		} `json:"containerLogsInfo"`
	}
	body, err := l.get(ctx, address, "/ws/v1/node/containers/"+c.String()+"/logs", url.Values{})
	if err != nil || body == nil {
		return err
	}
	err = json.NewDecoder(io.LimitReader(body, 1<<20)).Decode(&list)
	body.Close()
	if err != nil {
		return err
	}
	for _, f := range list.Info.Logs {
		size, err := strconv.ParseInt(f.FileSize, 10, 64)
		if err != nil || !l.wants(f.FileName) {
			continue
		}
		key := c.String() + "/" + f.FileName
		at := l.begin(key, size)
		if size <= at {
			continue
		}
		body, err := l.get(ctx, address, "/ws/v1/node/containerlogs/"+c.String()+"/"+url.PathEscape(f.FileName), url.Values{"start": {strconv.FormatInt(at, 10)}})
		if err != nil || body == nil {
			return err
		}
		n, err := l.lines(c.String()+" "+f.FileName, body, done)
		l.seen[key] += n
		body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// get asks an agent; nil: what was asked for is not there, or no longer.
func (l *applicationLogs) get(ctx context.Context, address, path string, q url.Values) (io.ReadCloser, error) {
	q.Set("user.name", l.caller)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, (&url.URL{Scheme: "http", Host: address, Path: path, RawQuery: q.Encode()}).String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := l.http.Do(req)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusOK:
		return resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
}

// aggregated prints what is new in the files that the nodes wrote at the application's end, and tells how many those are.
func (l *applicationLogs) aggregated(ctx context.Context, user string, app id.ApplicationID) (nodes int, err error) {
	folder := tfile.Folders{Root: l.yarn.Logs.Dir, Suffix: l.yarn.Logs.Suffix}.Application(user, app)
	files, dir, err := l.files(ctx, folder, l.caller)
	if err != nil {
		return 0, err
	}
	list, err := files.List(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, f := range list {
		if f.IsDir || strings.HasSuffix(f.Path, ".tmp") { // one that is being written
			continue
		}
		if err := l.file(ctx, files, f); err != nil {
			return nodes, fmt.Errorf("%s: %w", path.Base(f.Path), err)
		}
		nodes++
	}
	return nodes, nil
}

// file prints what is new in one node's file.
func (l *applicationLogs) file(ctx context.Context, files storage.FS, info storage.Info) error {
	f, err := files.Open(ctx, info.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := tfile.ReadLogs(f, info.Size)
	if err != nil {
		return err
	}
	for {
		container, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		wanted := l.only == "" || l.only == container
		l.found = l.found || l.only == container
		for {
			name, size, content, err := r.NextFile()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			key := container + "/" + name
			at := l.begin(key, size)
			if !wanted || !l.wants(name) || size <= at {
				continue
			}
			if _, err := io.CopyN(io.Discard, content, at); err != nil {
				return err
			}
			n, err := l.lines(container+" "+name, content, true)
			l.seen[key] += n
			if err != nil {
				return err
			}
		}
	}
}
