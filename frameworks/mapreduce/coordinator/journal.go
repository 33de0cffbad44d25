package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"fairway/frameworks/mapreduce/shuffle"
	"fairway/frameworks/mapreduce/spec"
)

// journal writes finished maps into the job's folder, a file for each batch, so that another attempt of the coordinator
// need not run them again. Jobs shorter than one interval write nothing.
type journal struct {
	s    *shell
	wake chan struct{}

	mu   sync.Mutex
	maps []journalMap
	cuts [][]byte
}

// journalFolder lies in the job's staging folder.
const journalFolder = "journal"

// Bounds of what is read back.
const (
	maxJournalFile  = 64 << 20
	maxJournalFiles = 1 << 16
)

// journalFile is the content of one file.
type journalFile struct {
	Cuts [][]byte     `json:"cuts,omitempty"`
	Maps []journalMap `json:"maps,omitempty"`
}

// journalMap is one finished map. The split says which, as indexes may change with the listing of the input.
type journalMap struct {
	URL        string     `json:"url"`
	Offset     int64      `json:"offset"`
	Length     int64      `json:"length"`
	Index      int        `json:"index"`
	Attempt    int        `json:"attempt"`
	Agent      string     `json:"agent"`
	Address    string     `json:"address"`
	File       string     `json:"file"`
	Partitions [][3]int64 `json:"partitions"`
	Counters   []counter  `json:"counters,omitempty"`
}

type counter struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

func newJournal(s *shell) *journal { return &journal{s: s, wake: make(chan struct{}, 1)} }

// add notes a finished map; it is written with the next batch.
func (j *journal) add(m RecoveredMap) {
	if j.s.job.Staging == "" {
		return
	}
	split := j.s.machine.maps[m.Map].split
	e := journalMap{URL: split.URL, Offset: split.Offset, Length: split.Length, Index: m.Map, Attempt: m.Attempt,
		Agent: m.Agent, Address: m.Address, File: m.File, Partitions: make([][3]int64, len(m.Partitions))}
	for i, p := range m.Partitions {
		e.Partitions[i] = [3]int64{p.Offset, p.Length, p.Records}
	}
	for k, v := range m.Counters {
		e.Counters = append(e.Counters, counter{k.Group, k.Name, v})
	}
	j.mu.Lock()
	j.maps = append(j.maps, e)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// setCuts notes the borders of a total order: maps that ran with them are of use only with the same.
func (j *journal) setCuts(cuts [][]byte) {
	j.mu.Lock()
	j.cuts = cuts
	j.mu.Unlock()
}

// run writes a batch at a time. A journal that cannot be written costs only the work of a second attempt.
func (j *journal) run(ctx context.Context) error {
	if j.s.job.Staging == "" {
		return nil
	}
	every := j.s.machine.tuning.JournalEvery
	for n := 0; ; {
		select {
		case <-j.wake:
		case <-ctx.Done():
			return nil
		}
		t := time.NewTimer(every)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		j.mu.Lock()
		f := journalFile{Cuts: j.cuts, Maps: j.maps}
		j.maps = nil
		j.mu.Unlock()
		if len(f.Maps) == 0 {
			continue
		}
		n++
		if err := j.write(ctx, fmt.Sprintf("%04d-%06d.json", j.s.o.Attempt, n), f); err != nil && ctx.Err() == nil {
			j.s.log.Warn("write down finished maps", zap.Error(err))
		}
	}
}

func (j *journal) write(ctx context.Context, name string, f journalFile) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	files, dir, err := j.s.open(ctx, j.s.job.Staging)
	if err != nil {
		return err
	}
	if err := files.Mkdir(ctx, dir, 0o700); err != nil {
		return err
	}
	dir = path.Join(dir, journalFolder)
	// Written under another name first: a file by its own name is whole.
	part := path.Join(dir, "_"+name)
	w, err := files.Create(ctx, part, createPrivate)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	return files.Rename(ctx, part, path.Join(dir, name))
}

// saved is what earlier attempts wrote down.
type saved struct {
	cuts [][]byte
	maps []journalMap
}

func (j *journal) read(ctx context.Context) (saved, error) {
	var out saved
	if j.s.job.Staging == "" {
		return out, nil
	}
	files, dir, err := j.s.open(ctx, j.s.job.Staging)
	if err != nil {
		return out, err
	}
	list, err := files.List(ctx, path.Join(dir, journalFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	for _, i := range list[:min(len(list), maxJournalFiles)] {
		if name := path.Base(i.Path); strings.HasPrefix(name, "_") || i.IsDir || i.Size > maxJournalFile {
			continue
		}
		f, err := files.Open(ctx, i.Path)
		if err != nil {
			return out, err
		}
		b, err := io.ReadAll(io.LimitReader(f, maxJournalFile))
		f.Close()
		if err != nil {
			return out, err
		}
		e, err := parseJournal(b)
		if err != nil {
			return out, fmt.Errorf("%s: %w", i.Path, err)
		}
		if e.Cuts != nil {
			out.cuts = e.Cuts
		}
		out.maps = append(out.maps, e.Maps...)
	}
	return out, nil
}

// parseJournal reads one file and drops what makes no sense.
func parseJournal(b []byte) (journalFile, error) {
	var f journalFile
	if err := json.Unmarshal(b, &f); err != nil {
		return f, err
	}
	f.Maps = slices.DeleteFunc(f.Maps, func(m journalMap) bool {
		if m.File == "" || strings.ContainsAny(m.File, "/\\\x00") || m.File == "." || m.File == ".." || m.Attempt < 0 || m.Index < 0 {
			return true
		}
		for _, p := range m.Partitions {
			if p[0] < 0 || p[1] < 0 || p[2] < 0 {
				return true
			}
		}
		return false
	})
	return f, nil
}

// Verification asks the agents for a first byte of each output.
const (
	verifyAtOnce = 16
	verifyLimit  = 3 * time.Second
)

// usable are the written maps whose split is still one of the job's and whose agent still holds the output. A map keeps
// its index only if its split has not moved, as the index is part of its output.
func (j *journal) usable(ctx context.Context, s saved, splits []spec.Split) []RecoveredMap {
	byIndex := make(map[int]journalMap)
	for _, m := range s.maps {
		if m.Index < len(splits) && len(m.Partitions) == j.s.job.Reduces {
			if x := splits[m.Index]; x.URL == m.URL && x.Offset == m.Offset && x.Length == m.Length {
				byIndex[m.Index] = m // the latest
			}
		}
	}
	var mu sync.Mutex
	var out []RecoveredMap
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyAtOnce)
	client := &http.Client{Timeout: verifyLimit}
	defer client.CloseIdleConnections()
	for _, m := range byIndex {
		g.Go(func() error {
			if err := j.verify(ctx, client, m); err != nil {
				j.s.log.Info("map runs again", zap.Int("map", m.Index), zap.Error(err))
				return nil
			}
			r := RecoveredMap{Map: m.Index, Attempt: m.Attempt, Agent: m.Agent, Address: m.Address, File: m.File,
				Partitions: make([]Range, len(m.Partitions)), Counters: make(map[spec.CounterKey]int64, len(m.Counters))}
			for i, p := range m.Partitions {
				r.Partitions[i] = Range{Offset: p[0], Length: p[1], Records: p[2]}
			}
			for _, c := range m.Counters {
				r.Counters[spec.CounterKey{Group: c.Group, Name: c.Name}] = c.Value
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, r)
			return nil
		})
	}
	g.Wait()
	slices.SortFunc(out, func(a, b RecoveredMap) int { return a.Map - b.Map })
	return out
}

func (j *journal) verify(ctx context.Context, client *http.Client, m journalMap) error {
	path := "/v1/jobs/" + j.s.job.ID + "/files/" + m.File
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Address+path, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Range", "bytes=0-0")
	r.Header.Set(shuffle.SignatureHeader, shuffle.Sign(j.s.secret, r.URL.EscapedPath(), "bytes=0-0"))
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusPartialContent && answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", m.Address, answer.Status)
	}
	return nil
}
