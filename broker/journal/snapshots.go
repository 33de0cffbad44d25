package journal

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"fairway/broker/state"
)

// A snapshot file is snapshotMagic, a version (1 byte), the length of raft's description (4 bytes, little endian), its
// CRC-32C (4 bytes), the description (JSON), and the body: term and number of the last entry (8 bytes each), and the
// state's own encoding, which has checksums and an end of its own. A file is written under another name and renamed when
// it is on the disk; then the ones before it are deleted.
const (
	snapshotMagic   = "fwsnap\n\x00"
	snapshotVersion = 1
	snapshotHead    = len(snapshotMagic) + 1 + 8
	snapshotSuffix  = ".snapshot"
	partSuffix      = ".part"
	maxDescription  = 1 << 20
	syncBytes       = 1 << 20
)

// snapshots is raft's store of snapshots.
type snapshots struct {
	dir   string
	bytes atomic.Int64 // of the newest; 0: there is none
	index atomic.Uint64
	at    atomic.Int64 // Unix ns, when it was written
}

func newSnapshots(dir string) (*snapshots, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &snapshots{dir: dir}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), partSuffix) {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// names are the files of snapshots, newest first.
func (s *snapshots) names() ([]string, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), snapshotSuffix); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names) // fixed width
	slices.Reverse(names)
	return names, nil
}

// restore loads the newest snapshot, if there is one.
func (s *snapshots) restore(m *machine) (raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil || len(names) == 0 {
		return raft.SnapshotMeta{}, err
	}
	path := s.path(names[0])
	meta, body, err := s.Open(names[0])
	if err == nil {
		err = m.Restore(body)
	}
	if errors.Is(err, state.ErrNewer) {
		return raft.SnapshotMeta{}, fmt.Errorf("snapshot %s: %w: start that version, or a newer one", path, err)
	}
	if err != nil {
		return raft.SnapshotMeta{}, fmt.Errorf("snapshot %s cannot be read: %w: put back a copy of this folder, or move it away to begin an empty cluster", path, err)
	}
	if info, err := os.Stat(path); err == nil {
		s.at.Store(info.ModTime().UnixNano())
	}
	s.bytes.Store(meta.Size)
	s.index.Store(meta.Index)
	return *meta, nil
}

func (s *snapshots) path(id string) string { return filepath.Join(s.dir, id+snapshotSuffix) }

// List describes all snapshots, newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	var metas []*raft.SnapshotMeta
	for _, name := range names {
		meta, body, err := s.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // a newer one took its place
		}
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", s.path(name), err)
		}
		if err := body.Close(); err != nil {
			return nil, err
		}
		metas = append(metas, meta)
	}
	return metas, nil
}

type body struct {
	*bufio.Reader
	io.Closer
}

// Open opens a snapshot's body.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f, err := os.Open(s.path(id))
	if err != nil {
		return nil, nil, err
	}
	meta, head, err := readDescription(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	meta.Size = info.Size() - head
	return meta, body{bufio.NewReaderSize(f, 1<<20), f}, nil
}

// readDescription reads what is before the body, and tells how long it is.
func readDescription(f io.Reader) (*raft.SnapshotMeta, int64, error) {
	var head [snapshotHead]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", state.ErrCorrupt, err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, 0, fmt.Errorf("%w: this is no snapshot", state.ErrCorrupt)
	}
	if v := head[len(snapshotMagic)]; v != snapshotVersion {
		if v == 0 {
			return nil, 0, fmt.Errorf("%w: version 0", state.ErrCorrupt)
		}
		return nil, 0, fmt.Errorf("version %d: %w", v, state.ErrNewer)
	}
	n := binary.LittleEndian.Uint32(head[len(snapshotMagic)+1:])
	if n > maxDescription {
		return nil, 0, fmt.Errorf("%w: description of %d bytes", state.ErrCorrupt, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(f, text); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", state.ErrCorrupt, err)
	}
	if crc32.Checksum(text, castagnoli) != binary.LittleEndian.Uint32(head[len(snapshotMagic)+5:]) {
		return nil, 0, fmt.Errorf("%w: wrong checksum of the description", state.ErrCorrupt)
	}
	meta := new(raft.SnapshotMeta)
	if err := json.Unmarshal(text, meta); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", state.ErrCorrupt, err)
	}
	return meta, int64(snapshotHead) + int64(n), nil
}

// Create begins a snapshot.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	meta := &raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%020d-%020d", index, term), Index: index, Term: term, Configuration: c, ConfigurationIndex: ci,
	}
	text, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.path(meta.ID)+partSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := &snapshotFile{s: s, id: meta.ID, index: index, f: f}
	if _, err := f.Write(describe(text)); err != nil {
		return nil, errors.Join(err, w.Cancel())
	}
	return w, nil
}

// describe is what is before the body.
func describe(text []byte) []byte {
	head := append([]byte(snapshotMagic), snapshotVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(text)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(text, castagnoli))
	return append(head, text...)
}

// snapshotFile is a snapshot that is being written.
type snapshotFile struct {
	s       *snapshots
	id      string
	index   uint64
	f       *os.File
	bytes   int64
	pending int
}

// ID is the snapshot's name.
func (w *snapshotFile) ID() string { return w.id }

// Write writes and, piece by piece, waits for the disk: the log's own syncs would else wait behind all of the snapshot.
func (w *snapshotFile) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	w.bytes += int64(n)
	w.pending += n
	if err == nil && w.pending >= syncBytes {
		w.pending = 0
		err = w.f.Sync()
	}
	return n, err
}

// Cancel removes it.
func (w *snapshotFile) Cancel() error {
	if w.f == nil {
		return nil
	}
	err := errors.Join(w.f.Close(), os.Remove(w.f.Name()))
	w.f = nil
	return err
}

// Close puts it in the place of those before it.
func (w *snapshotFile) Close() error {
	if w.f == nil {
		return nil
	}
	if err := w.f.Sync(); err != nil {
		return errors.Join(err, w.Cancel())
	}
	if err := os.Rename(w.f.Name(), w.s.path(w.id)); err != nil {
		return errors.Join(err, w.Cancel())
	}
	err := w.f.Close()
	w.f = nil
	if err = errors.Join(err, syncFolder(w.s.dir)); err != nil {
		return err
	}
	w.s.bytes.Store(w.bytes)
	w.s.index.Store(w.index)
	w.s.at.Store(time.Now().UnixNano())
	names, err := w.s.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name < w.id {
			if err := os.Remove(w.s.path(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeBody(w io.Writer, term, number uint64, v *state.View) error {
	head := binary.LittleEndian.AppendUint64(nil, term)
	if _, err := w.Write(binary.LittleEndian.AppendUint64(head, number)); err != nil {
		return err
	}
	_, err := v.WriteTo(w)
	return err
}

func readBody(r io.Reader) (term, number uint64, _ *state.State, _ error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, fmt.Errorf("%w: %w", state.ErrCorrupt, err)
	}
	s, err := state.ReadSnapshot(r)
	return binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:]), s, err
}
