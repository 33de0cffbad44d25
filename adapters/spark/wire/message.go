package wire

import "fmt"

// Tags of messages: their first byte. TagSASL and TagAuth are those of authentication, which use the same envelope.
const (
	TagOpenBlocks       byte = 0
	TagUploadBlock      byte = 1
	TagRegisterExecutor byte = 2
	TagStreamHandle     byte = 3
	TagRemoveBlocks     byte = 7
	TagBlocksRemoved    byte = 8
	TagFetchBlocks      byte = 9
	TagGetLocalDirs     byte = 10
	TagLocalDirs        byte = 11
	TagPushBlock        byte = 12
	TagFinalizeMerge    byte = 13
	TagFetchChunks      byte = 15
	TagDiagnose         byte = 16
	TagCause            byte = 17
	TagRemoveMerge      byte = 19
	TagSASL             byte = 0xEA
	TagAuth             byte = 0xFB

	lastTag = 19
)

// Message is one of the structs below.
type Message interface{ append(b []byte) []byte }

type (
	// OpenBlocks asks for blocks by name, the older form of FetchBlocks and the one for RDD blocks.
	OpenBlocks struct {
		App, Exec string
		Blocks    []string
	}
	// RegisterExecutor tells where an executor keeps its files.
	RegisterExecutor struct {
		App, Exec string
		Dirs      []string
		SubDirs   int32 // of each of Dirs
		Manager   string
	}
	// StreamHandle answers OpenBlocks, FetchBlocks and FetchChunks.
	StreamHandle struct {
		Stream int64
		Chunks int32
	}
	// RemoveBlocks deletes files of blocks; BlocksRemoved says how many.
	RemoveBlocks struct {
		App, Exec string
		Blocks    []string
	}
	BlocksRemoved struct{ N int32 }
	// FetchBlocks asks for one chunk for each of Reduces[i] of Maps[i]; in a batch Reduces[i] is [first, end) and one chunk.
	FetchBlocks struct {
		App, Exec string
		Shuffle   int32
		Maps      []int64
		Reduces   [][]int32
		Batch     bool
	}
	// GetLocalDirs asks for the folders of executors on this host.
	GetLocalDirs struct {
		App   string
		Execs []string
	}
	LocalDirs struct {
		Execs []string
		Dirs  [][]string // of each of Execs
	}
	// Diagnose asks who damaged a block; Checksum is the reader's.
	Diagnose struct {
		App, Exec string
		Shuffle   int32
		Map       int64
		Reduce    int32
		Checksum  int64
		Algorithm string
	}
	// Cause answers Diagnose: 0 the disk, 1 the network, 2 unknown, 3 the block is good, 4 an unknown algorithm.
	Cause struct{ Cause byte }
	// Merge is a message of push-based shuffle, of which only who asks matters: it is refused.
	Merge struct {
		Tag  byte
		App  string
		Rest []byte
	}
	// FetchChunks asks for merged chunks.
	FetchChunks struct {
		App, Exec      string
		Shuffle, Merge int32
		Reduces        []int32
		Chunks         [][]int32
	}
	// Unexpected is one that a shuffle service is never sent, such as UploadBlock.
	Unexpected struct{ Tag byte }
)

// Parse reads a message. Its strings and arrays are copies, except Merge.Rest.
func Parse(b []byte) (Message, error) {
	r := reader{b: b}
	tag := r.byte()
	if r.err != nil {
		return nil, fmt.Errorf("message: %w", r.err)
	}
	var m Message
	switch tag {
	case TagOpenBlocks:
		m = &OpenBlocks{App: r.string(), Exec: r.string(), Blocks: r.strings()}
	case TagRegisterExecutor:
		m = &RegisterExecutor{App: r.string(), Exec: r.string(), Dirs: r.strings(), SubDirs: r.int32(), Manager: r.string()}
	case TagStreamHandle:
		m = &StreamHandle{Stream: r.int64(), Chunks: r.int32()}
	case TagRemoveBlocks:
		m = &RemoveBlocks{App: r.string(), Exec: r.string(), Blocks: r.strings()}
	case TagBlocksRemoved:
		m = &BlocksRemoved{N: r.int32()}
	case TagFetchBlocks:
		f := &FetchBlocks{App: r.string(), Exec: r.string(), Shuffle: r.int32(), Maps: r.int64s()}
		f.Reduces = r.lists()
		f.Batch = r.byte() != 0
		m = f
	case TagFetchChunks:
		f := &FetchChunks{App: r.string(), Exec: r.string(), Shuffle: r.int32(), Merge: r.int32(), Reduces: r.int32s()}
		f.Chunks = r.lists()
		m = f
	case TagGetLocalDirs:
		m = &GetLocalDirs{App: r.string(), Execs: r.strings()}
	case TagLocalDirs:
		l := &LocalDirs{Execs: r.strings()}
		counts, dirs := r.int32s(), r.strings()
		for _, n := range counts {
			if n < 0 || int(n) > len(dirs) {
				r.err = errShort
				break
			}
			l.Dirs = append(l.Dirs, dirs[:n:n])
			dirs = dirs[n:]
		}
		m = l
	case TagDiagnose:
		m = &Diagnose{App: r.string(), Exec: r.string(), Shuffle: r.int32(), Map: r.int64(), Reduce: r.int32(), Checksum: r.int64(), Algorithm: r.string()}
	case TagCause:
		m = &Cause{r.byte()}
	case TagPushBlock, TagFinalizeMerge, TagRemoveMerge:
		m = &Merge{Tag: tag, App: r.string(), Rest: r.b}
		r.b = nil
	default:
		if tag > lastTag {
			return nil, fmt.Errorf("unknown message type: %d", int8(tag))
		}
		return &Unexpected{tag}, nil
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes too many", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("message of type %d: %w", tag, r.err)
	}
	return m, nil
}

func (r *reader) lists() [][]int32 {
	l := make([][]int32, r.count(4))
	for i := range l {
		l[i] = r.int32s()
	}
	return l
}

// Append appends a message.
func Append(b []byte, m Message) []byte { return m.append(b) }

func (m *OpenBlocks) append(b []byte) []byte {
	return appendStrings(appendString(appendString(append(b, TagOpenBlocks), m.App), m.Exec), m.Blocks)
}

func (m *RegisterExecutor) append(b []byte) []byte {
	b = appendStrings(appendString(appendString(append(b, TagRegisterExecutor), m.App), m.Exec), m.Dirs)
	return appendString(appendInt32(b, m.SubDirs), m.Manager)
}

func (m *StreamHandle) append(b []byte) []byte {
	return appendInt32(appendInt64(append(b, TagStreamHandle), m.Stream), m.Chunks)
}

func (m *RemoveBlocks) append(b []byte) []byte {
	return appendStrings(appendString(appendString(append(b, TagRemoveBlocks), m.App), m.Exec), m.Blocks)
}

func (m *BlocksRemoved) append(b []byte) []byte {
	return appendInt32(append(b, TagBlocksRemoved), m.N)
}

func appendLists(b []byte, l [][]int32) []byte {
	b = appendInt32(b, int32(len(l)))
	for _, v := range l {
		b = appendInt32s(b, v)
	}
	return b
}

func (m *FetchBlocks) append(b []byte) []byte {
	b = appendInt32(appendString(appendString(append(b, TagFetchBlocks), m.App), m.Exec), m.Shuffle)
	b = appendLists(appendInt64s(b, m.Maps), m.Reduces)
	if m.Batch {
		return append(b, 1)
	}
	return append(b, 0)
}

func (m *FetchChunks) append(b []byte) []byte {
	b = appendString(appendString(append(b, TagFetchChunks), m.App), m.Exec)
	b = appendInt32s(appendInt32(appendInt32(b, m.Shuffle), m.Merge), m.Reduces)
	return appendLists(b, m.Chunks)
}

func (m *GetLocalDirs) append(b []byte) []byte {
	return appendStrings(appendString(append(b, TagGetLocalDirs), m.App), m.Execs)
}

func (m *LocalDirs) append(b []byte) []byte {
	b = appendStrings(append(b, TagLocalDirs), m.Execs)
	b = appendInt32(b, int32(len(m.Dirs)))
	var all []string
	for _, d := range m.Dirs {
		b = appendInt32(b, int32(len(d)))
		all = append(all, d...)
	}
	return appendStrings(b, all)
}

func (m *Diagnose) append(b []byte) []byte {
	b = appendInt32(appendString(appendString(append(b, TagDiagnose), m.App), m.Exec), m.Shuffle)
	return appendString(appendInt64(appendInt32(appendInt64(b, m.Map), m.Reduce), m.Checksum), m.Algorithm)
}

func (m *Cause) append(b []byte) []byte { return append(b, TagCause, m.Cause) }

func (m *Merge) append(b []byte) []byte {
	return append(appendString(append(b, m.Tag), m.App), m.Rest...)
}

func (m *Unexpected) append(b []byte) []byte { return append(b, m.Tag) }

// SASL is a step of SASL authentication by an application.
type SASL struct {
	App   string
	Token []byte
}

// ParseSASL reads one, without its tag.
func ParseSASL(b []byte) (SASL, error) {
	r := reader{b: b}
	s := SASL{App: r.string()}
	r.int32() // the token's size: the token is the rest
	s.Token = r.b
	return s, r.err
}

// Append appends it with its tag.
func (s SASL) Append(b []byte) []byte {
	return append(appendInt32(appendString(append(b, TagSASL), s.App), int32(len(s.Token))), s.Token...)
}

// Auth is a step of Spark's own authentication (spark.network.crypto.enabled).
type Auth struct {
	App          string
	Salt, Sealed []byte
}

// ParseAuth reads one, without its tag.
func ParseAuth(b []byte) (Auth, error) {
	r := reader{b: b}
	a := Auth{App: r.string(), Salt: r.bytes(), Sealed: r.bytes()}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes too many", len(r.b))
	}
	return a, r.err
}

// Append appends it with its tag.
func (a Auth) Append(b []byte) []byte {
	b = appendString(append(b, TagAuth), a.App)
	b = append(appendInt32(b, int32(len(a.Salt))), a.Salt...)
	return append(appendInt32(b, int32(len(a.Sealed))), a.Sealed...)
}
