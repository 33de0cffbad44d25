package input

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// Resolver finds the file system of a URL; *storage.Mux is one.
type Resolver interface {
	Resolve(ctx context.Context, url, user string) (fs storage.FS, path string, err error)
}

// Properties that Splits honours besides Job.SplitSize.
const (
	// RecordsProperty is the number of synthetic records of input format none, spread over Job.Maps splits; without it
	// each split has one record.
	RecordsProperty = "fairway.input.records"

	MinSizeProperty   = "mapreduce.input.fileinputformat.split.minsize"
	MaxSizeProperty   = "mapreduce.input.fileinputformat.split.maxsize"
	RecursiveProperty = "mapreduce.input.fileinputformat.input.dir.recursive"
)

const (
	// DefaultBlock is the size of splits, in bytes, where the file system has no blocks.
	DefaultBlock = 64 << 20
	// MaxSplits bounds the maps of one job.
	MaxSplits = 1 << 20
	maxFiles  = 1 << 20
	maxDepth  = 64 // of folders in folders

	slop      = 1.1 // the last split may be so much longer, as in Hadoop
	maxHosts  = 3   // replicas named by a split
	questions = 8   // to the NameNode at once
)

// Splits lists the splits of a job's inputs, in order of input, name and offset, Index counting from 0.
//
// Names that start with _ or . are skipped in folders and globs. A file is cut at multiples of
// max(minsize, min(maxsize, block size)), or of Job.SplitSize if set; the last split may be 10 % longer. Compressed files
// are one split. Empty files give none, but an input of only empty files gives one. A folder without files gives none.
// A missing input, a glob without a match, a folder that may not be read, a folder inside a folder (unless
// RecursiveProperty) and more than MaxSplits splits are errors that name the URL.
func Splits(ctx context.Context, mux Resolver, job *spec.Job) ([]spec.Split, error) {
	if job.InputFormat == None {
		return noneSplits(job)
	}
	if len(job.Inputs) == 0 {
		return nil, errors.New("the job has no input: name a file, a folder or a glob")
	}
	size, err := newSizes(job)
	if err != nil {
		return nil, err
	}
	var files []inputFile
	for _, url := range job.Inputs {
		fsys, p, err := mux.Resolve(ctx, url, job.User)
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", url, err)
		}
		w := walker{ctx: ctx, fs: fsys, url: url, prefix: urlPrefix(url), recursive: job.Conf[RecursiveProperty] == "true", files: &files}
		if err := w.expand(p); err != nil {
			return nil, err
		}
	}
	splits, err := cutFiles(ctx, files, size)
	if err != nil {
		return nil, err
	}
	if len(splits) == 0 && len(files) > 0 {
		splits = append(splits, spec.Split{URL: files[0].url})
	}
	for i := range splits {
		splits[i].Index = i
	}
	return splits, nil
}

func noneSplits(job *spec.Job) ([]spec.Split, error) {
	n := int64(max(job.Maps, 1))
	if n > MaxSplits {
		return nil, fmt.Errorf("%d maps: at most %d are allowed", n, MaxSplits)
	}
	records := n
	if s := job.Conf[RecordsProperty]; s != "" {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("property %s=%q: must be a number of records", RecordsProperty, s)
		}
		records = v
	}
	splits := make([]spec.Split, n)
	offset := int64(0)
	for i := range splits {
		length := records / n
		if int64(i) < records%n {
			length++
		}
		splits[i] = spec.Split{Index: i, Offset: offset, Length: length}
		offset += length
	}
	return splits, nil
}

// sizes are the rules for the size of splits.
type sizes struct{ fixed, minimum, maximum int64 }

func newSizes(job *spec.Job) (sizes, error) {
	s := sizes{fixed: job.SplitSize, minimum: 1, maximum: 1 << 62}
	for name, v := range map[string]*int64{MinSizeProperty: &s.minimum, MaxSizeProperty: &s.maximum} {
		if text := job.Conf[name]; text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				return s, fmt.Errorf("property %s=%q: must be a number of bytes", name, text)
			}
			*v = max(n, 1)
		}
	}
	if s.fixed < 0 {
		return s, fmt.Errorf("split size %d: must be a number of bytes from 1", s.fixed)
	}
	return s, nil
}

func (s sizes) of(block int64) int64 {
	if s.fixed > 0 {
		return s.fixed
	}
	if block <= 0 {
		block = DefaultBlock
	}
	return max(s.minimum, min(s.maximum, block))
}

type inputFile struct {
	fs   storage.FS
	url  string
	info storage.Info
}

// walker collects the files of one input.
type walker struct {
	ctx       context.Context
	fs        storage.FS
	url       string // as the user wrote it
	prefix    string // of the URLs of what is found
	recursive bool
	files     *[]inputFile
}

func urlPrefix(url string) string {
	l, err := storage.Parse(url)
	if err != nil || l.Scheme == "" {
		return ""
	}
	return l.Scheme + "://" + l.Authority
}

func hidden(name string) bool { return strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") }

func (w *walker) expand(p string) error {
	// A file whose name has glob characters is taken as it is.
	info, err := w.fs.Stat(w.ctx, p)
	if err == nil {
		return w.add(info, 0)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("input %s: %w", w.url, err)
	}
	if !storage.HasGlob(p) {
		return fmt.Errorf("input %s does not exist: %w", w.url, fs.ErrNotExist)
	}
	found, err := storage.Glob(w.ctx, w.fs, p)
	if err != nil {
		return fmt.Errorf("input %s: %w", w.url, err)
	}
	matched := false
	for _, info := range found {
		if hidden(path.Base(info.Path)) {
			continue
		}
		matched = true
		if err := w.add(info, 0); err != nil {
			return err
		}
	}
	if !matched {
		return fmt.Errorf("input %s matches no file: %w", w.url, fs.ErrNotExist)
	}
	return nil
}

// add takes a file, or the files of a folder.
func (w *walker) add(info storage.Info, depth int) error {
	if !info.IsDir {
		if len(*w.files) == maxFiles {
			return fmt.Errorf("input %s: more than %d files", w.url, maxFiles)
		}
		*w.files = append(*w.files, inputFile{fs: w.fs, url: w.prefix + info.Path, info: info})
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("input %s: folders more than %d deep", w.url, maxDepth)
	}
	entries, err := w.fs.List(w.ctx, info.Path)
	if err != nil {
		return fmt.Errorf("input %s: list folder: %w", w.url, err)
	}
	for _, e := range entries {
		if hidden(path.Base(e.Path)) {
			continue
		}
		if e.IsDir && !w.recursive {
			return fmt.Errorf("input %s: %s is a folder inside the input folder: set %s=true to read it too, or name it with a glob",
				w.url, w.prefix+e.Path, RecursiveProperty)
		}
		if err := w.add(e, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// cutFiles asks for the blocks of all files, several at a time, and cuts them.
func cutFiles(ctx context.Context, files []inputFile, size sizes) ([]spec.Split, error) {
	cut := make([][]spec.Split, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(questions)
	for i, f := range files {
		whole, err := compressed(f.info.Path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("input %w", err), g.Wait())
		}
		if f.info.Size == 0 {
			continue
		}
		g.Go(func() error {
			blocks, err := f.fs.Blocks(gctx, f.info.Path)
			if err != nil {
				return fmt.Errorf("input %s: %w", f.url, err)
			}
			cut[i], err = cutFile(f, blocks, whole, size)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []spec.Split
	for i, c := range cut {
		if len(all)+len(c) > MaxSplits {
			return nil, tooMany(files[i].url)
		}
		all = append(all, c...)
	}
	return all, nil
}

func tooMany(url string) error {
	return fmt.Errorf("input %s: more than %d splits: raise the split size (%s)", url, MaxSplits, MinSizeProperty)
}

func cutFile(f inputFile, blocks []storage.Block, whole bool, size sizes) ([]spec.Split, error) {
	total := f.info.Size
	step := size.of(f.info.BlockSize)
	if whole {
		step = total
	}
	if total/step >= MaxSplits {
		return nil, tooMany(f.url)
	}
	var out []spec.Split
	for at := int64(0); at < total; {
		n := total - at
		if float64(n) > float64(step)*slop {
			n = step
		}
		out = append(out, spec.Split{URL: f.url, Offset: at, Length: n, FileSize: total, Whole: whole, Replicas: hosts(blocks, at, n)})
		at += n
	}
	return out, nil
}

// hosts returns the replicas that hold the most bytes of [offset, offset+length), each host once, in the order of the
// first block among equals.
func hosts(blocks []storage.Block, offset, length int64) []storage.Replica {
	type held struct {
		replica storage.Replica
		bytes   int64
	}
	var all []held
	first := sort.Search(len(blocks), func(i int) bool { return blocks[i].Offset+blocks[i].Length > offset })
	for _, b := range blocks[first:] {
		n := min(b.Offset+b.Length, offset+length) - max(b.Offset, offset)
		if n <= 0 {
			break
		}
	replicas:
		for _, r := range b.Replicas {
			for i := range all {
				if all[i].replica == r {
					all[i].bytes += n
					continue replicas
				}
			}
			all = append(all, held{r, n})
		}
	}
	var out []storage.Replica
	for len(out) < maxHosts {
		best := -1
		for i := range all {
			if all[i].bytes > 0 && (best < 0 || all[i].bytes > all[best].bytes) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		out = append(out, all[best].replica)
		all[best].bytes = 0
	}
	return out
}
