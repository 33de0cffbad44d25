package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
)

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	var stream, task string
	var tail int64
	c := &cobra.Command{
		Use: "logs JOB", Short: "Show what a job's tasks wrote", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
		Long: `Logs prints what the tasks of a job wrote, each line after the task's name; of a YARN
application, which may be named by its own id, all logs of its containers: from the agents
while they have them, and from where they are aggregated after the application's end.`,
		Example: "  fairway logs job-000001\n  fairway logs -f job-000001\n  fairway logs job-000001 --task framework-000002/3 --stream stdout\n" +
			"  fairway logs application_1700000000000_0001 --stream syslog",
		RunE: func(c *cobra.Command, args []string) error {
			if stream != "stdout" && stream != "stderr" && stream != "syslog" && stream != "both" {
				return usagef("--stream %s: want stdout, stderr, syslog or both", stream)
			}
			return a.with(c, func(ctx context.Context, b *client.Client) error {
				job, err := jobID(ctx, b, args[0])
				if err != nil {
					return err
				}
				j, err := b.GetJob(ctx, api.Caller{}, job)
				if err != nil {
					return err
				}
				if j.Kind == kindYARN {
					l, err := newApplicationLogs(a.conf, newLogReader(c.OutOrStdout()), task, stream, tail, c.ErrOrStderr())
					if err != nil {
						return err
					}
					return l.show(ctx, b, j, follow)
				}
				if stream == "syslog" {
					return usagef("--stream syslog: only containers of YARN applications have one")
				}
				return showLogs(ctx, b, j.Id, task, stream, tail, follow, c.OutOrStdout(), c.ErrOrStderr())
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job has ended")
	c.Flags().StringVar(&stream, "stream", "both", "stdout, stderr, a YARN container's syslog, or both: all")
	c.Flags().StringVar(&task, "task", "", "only this task")
	c.Flags().Int64Var(&tail, "tail", 0, "only so many bytes from the end of each")
	return c
}

// logReader prints logs of many tasks, a line at a time.
type logReader struct {
	mu   sync.Mutex
	w    io.Writer
	http *http.Client
}

func newLogReader(w io.Writer) *logReader {
	return &logReader{w: w, http: &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 15 * time.Second, MaxIdleConnsPerHost: 16}}}
}

// showLogs prints the logs of a job's tasks. With follow it takes up tasks as they are launched, until the job has ended.
func showLogs(ctx context.Context, b *client.Client, job, only, stream string, tail int64, follow bool, w, warn io.Writer) error {
	r := newLogReader(w)
	streams := []string{"stdout", "stderr"}
	if stream != "both" {
		streams = []string{stream}
	}
	seen := map[string]bool{}
	found := false
	var g errgroup.Group
	g.SetLimit(32)
	start := func() error {
		list, err := allTasks(ctx, b, job)
		if err != nil {
			return err
		}
		for _, t := range list {
			name := taskName(t.Id)
			if seen[name] || only != "" && only != name {
				continue
			}
			seen[name], found = true, true
			for _, s := range streams {
				read := func() error {
					if err := r.copy(ctx, t, s, tail, follow); err != nil && ctx.Err() == nil {
						r.mu.Lock()
						defer r.mu.Unlock()
						fmt.Fprintf(warn, "fairway: %s of %s on %s: %v\n", s, name, t.Host, err)
					}
					return nil
				}
				if follow {
					g.Go(read)
				} else if err := read(); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := start(); err != nil {
		return err
	}
	if follow {
		err := b.WatchJob(ctx, api.Caller{}, job, func(*v1.Job) error { return start() })
		if werr := g.Wait(); err == nil {
			err = werr
		}
		if ctx.Err() != nil {
			return errInterrupted
		}
		return err
	}
	if only != "" && !found {
		return fmt.Errorf("job %s has no task %s (see 'fairway job %s --tasks'): %w", job, only, job, api.ErrNotFound)
	}
	return nil
}

// copy prints one stream of one task, each line after the task's name.
func (r *logReader) copy(ctx context.Context, t *v1.Task, stream string, tail int64, follow bool) error {
	if t.DataAddress == "" || t.Ticket == "" {
		return errors.New("its agent is not known any more")
	}
	q := url.Values{}
	if tail > 0 {
		q.Set("offset", fmt.Sprint(-tail))
	}
	if follow {
		q.Set("follow", "true")
	}
	u := url.URL{Scheme: "http", Host: t.DataAddress, Path: fmt.Sprintf("/v1/logs/%s/%d/%s", t.Id.Framework, t.Id.Sequence, stream), RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Fairway-Ticket", t.Ticket)
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(b)))
	}
	label := t.Name
	if label == "" {
		label = taskName(t.Id)
	}
	_, err = r.lines(label, resp.Body, true)
	return err
}

// lines prints what comes line by line, and tells how many bytes of it were printed: all if it is at its end, else up to
// the last whole line.
func (r *logReader) lines(label string, from io.Reader, end bool) (printed int64, err error) {
	buf, line := make([]byte, 32<<10), []byte(nil)
	for {
		n, err := from.Read(buf)
		line = append(line, buf[:n]...)
		if i := bytes.LastIndexByte(line, '\n'); i >= 0 {
			r.print(label, line[:i+1])
			printed += int64(i + 1)
			line = append(line[:0], line[i+1:]...)
		} else if len(line) > 1<<20 { // a line without end
			printed += int64(len(line))
			r.print(label, append(line, '\n'))
			line = line[:0]
		}
		if err != nil {
			if len(line) > 0 && end {
				printed += int64(len(line))
				r.print(label, append(line, '\n'))
			}
			if err == io.EOF {
				return printed, nil
			}
			return printed, err
		}
	}
}

func (r *logReader) print(label string, lines []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range strings.Lines(string(lines)) {
		fmt.Fprintf(r.w, "%s | %s", label, l)
	}
}
