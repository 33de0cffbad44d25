package sorter

import (
	"bytes"
	"errors"
	"io"

	"fairway/frameworks/mapreduce/run"
)

// Merge reads several sorted segments as one, by a loser tree over cached 64-bit prefixes of the keys. Records of
// equal keys come in the order of the segments. It is a mapreduce.Records.
type Merge struct {
	sources []*run.Reader
	keys    []uint64 // prefix of each source's current key
	done    []bool
	tree    []int32 // tree[0] is the winner, the others losers
	started bool
	again   int64 // so often the winner's record follows once more
	err     error
}

// NewMerge returns a merge of segments that are sorted by key. Close closes them.
func NewMerge(segments []*run.Reader) *Merge {
	return &Merge{sources: segments}
}

// Next returns the next record in order, or io.EOF. The slices are valid until the next call.
func (m *Merge) Next() (key, value []byte, err error) {
	if m.again > 0 {
		m.again--
		r := m.sources[m.tree[0]]
		return r.Key, r.Value, nil
	}
	if m.err != nil {
		return nil, nil, m.err
	}
	if !m.started {
		m.started = true
		m.start()
	} else {
		m.replay()
	}
	if m.err != nil {
		return nil, nil, m.err
	}
	w := m.tree[0]
	if m.done[w] {
		m.err = io.EOF
		return nil, nil, m.err
	}
	r := m.sources[w]
	m.again = r.Repeats()
	return r.Key, r.Value, nil
}

// NextRepeated is Next for the next record and all that follow and are the same: it also returns how many there are.
// The same record may come again.
func (m *Merge) NextRepeated() (key, value []byte, n int64, err error) {
	key, value, err = m.Next()
	if err != nil {
		return nil, nil, 0, err
	}
	n = 1 + m.again
	m.again = 0
	return key, value, n, nil
}

// Append writes all records to the current partition of w, and returns how many they were. leave, if not nil, is asked
// now and then whether to go on; its error ends the merge.
func (m *Merge) Append(w *run.Writer, leave func() error) (records int64, err error) {
	var encoded []byte
	for i := 0; ; i++ {
		if i&0xffff == 0 && leave != nil {
			if err := leave(); err != nil {
				return records, err
			}
		}
		k, v, n, err := m.NextRepeated()
		switch {
		case err == io.EOF:
			return records, nil
		case err != nil:
			return records, err
		case n == 1:
			err = w.Append(k, v)
		default:
			encoded = run.AppendRecord(encoded[:0], k, v)
			err = w.AppendRepeated(encoded, n)
		}
		if err != nil {
			return records, err
		}
		records += n
	}
}

// advance moves source i to its next record and reports whether that has the same key.
func (m *Merge) advance(i int32) bool {
	r := m.sources[i]
	last, kept := r.Key, r.Buffered()
	if r.Next() {
		prefix := prefixOf(r.Key)
		same := kept && prefix == m.keys[i] && bytes.Equal(r.Key, last)
		m.keys[i] = prefix
		return same
	}
	m.done[i] = true
	m.keys[i] = ^uint64(0)
	if err := r.Err(); err != nil && m.err == nil {
		m.err = &SegmentError{Segment: int(i), Err: err}
	}
	return false
}

// before reports whether source a's record comes before b's.
func (m *Merge) before(a, b int32) bool {
	if m.keys[a] != m.keys[b] {
		return m.keys[a] < m.keys[b]
	}
	if m.done[a] || m.done[b] {
		return !m.done[a]
	}
	if c := bytes.Compare(m.sources[a].Key, m.sources[b].Key); c != 0 {
		return c < 0
	}
	return a < b
}

func (m *Merge) start() {
	n := len(m.sources)
	if n == 0 {
		m.err = io.EOF
		return
	}
	m.keys, m.done, m.tree = make([]uint64, n), make([]bool, n), make([]int32, n)
	for i := range n {
		m.advance(int32(i))
	}
	// winners[i] of the complete tree with leaves n..2n-1; inner node i keeps the loser of its match.
	winners := make([]int32, 2*n)
	for i := range n {
		winners[n+i] = int32(i)
	}
	for i := n - 1; i >= 1; i-- {
		a, b := winners[2*i], winners[2*i+1]
		if m.before(b, a) {
			a, b = b, a
		}
		winners[i], m.tree[i] = a, b
	}
	if n == 1 {
		m.tree[0] = 0
	} else {
		m.tree[0] = winners[1]
	}
}

// replay advances the winner and plays its matches again, up to the root.
func (m *Merge) replay() {
	w := m.tree[0]
	if m.advance(w) {
		return // what won with this key wins again
	}
	n := int32(len(m.sources))
	for i := (w + n) / 2; i >= 1; i /= 2 {
		l := m.tree[i]
		// Most matches are decided by the prefixes.
		if m.keys[l] < m.keys[w] || m.keys[l] == m.keys[w] && m.before(l, w) {
			m.tree[i], w = w, l
		}
	}
	m.tree[0] = w
}

// Close closes all segments.
func (m *Merge) Close() error {
	var errs []error
	for _, r := range m.sources {
		errs = append(errs, r.Close())
	}
	m.again = 0
	if m.err == nil {
		m.err = io.ErrClosedPipe
	}
	return errors.Join(errs...)
}

// SegmentError names the segment of a merge that could not be read.
type SegmentError struct {
	Segment int
	Err     error
}

func (e *SegmentError) Error() string { return e.Err.Error() }

func (e *SegmentError) Unwrap() error { return e.Err }
