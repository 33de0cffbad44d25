package stream

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"fairway/frameworks/mapreduce/spec"
)

const (
	tailLines  = 20
	tailLength = 1 << 10  // bytes kept of each line
	stderrLine = 64 << 10 // longer lines are taken in pieces
	// maxCounters bounds the counters that a program may make up, as Hadoop's mapreduce.job.counters.max does.
	maxCounters    = 120
	maxCounterName = 128
)

// tail keeps the last lines of a program's stderr.
type tail struct {
	mu   sync.Mutex
	ring [tailLines]string
	n    int
}

func (t *tail) add(line []byte) {
	if len(line) > tailLength {
		line = line[:tailLength]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ring[t.n%tailLines] = strings.ToValidUTF8(string(line), "?")
	t.n++
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for i := max(t.n-tailLines, 0); i < t.n; i++ {
		out = append(out, t.ring[i%tailLines])
	}
	return out
}

// readStderr obeys reporter lines and passes the others on. Reporter lines show that the program is alive; mere talk
// does not.
func (r *run) readStderr(f io.Reader, moved *atomic.Int64) error {
	to := r.p.Stderr
	if to == nil {
		to = os.Stderr
	}
	conf := r.cx.Job.Conf
	prefix := property(conf, reporterPrefix, "reporter:")
	enabled := conf[reporterEnabled] != "false" && r.cx.Reporter != nil
	made := make(map[spec.CounterKey]*atomic.Int64)
	in := bufio.NewReaderSize(f, stderrLine)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			text := bytes.TrimRight(line, "\r\n")
			if rest, ok := bytes.CutPrefix(text, []byte(prefix)); ok && enabled && r.obey(string(rest), made) {
				moved.Add(1)
			} else {
				r.tail.add(text)
				if _, werr := to.Write(line); werr != nil {
					to = io.Discard // a full disk is no reason to block the program
				}
			}
		}
		if err != nil && err != bufio.ErrBufferFull {
			return nil // the end, or the deadline for children that outlived the program
		}
	}
}

// obey does what "counter:group,name,amount" and "status:message" say; false if the line is neither.
func (r *run) obey(line string, made map[spec.CounterKey]*atomic.Int64) bool {
	if status, ok := strings.CutPrefix(line, "status:"); ok {
		r.cx.Reporter.Status(strings.ToValidUTF8(status[:min(len(status), tailLength)], "?"))
		return true
	}
	rest, ok := strings.CutPrefix(line, "counter:")
	if !ok {
		return false
	}
	// The name may hold commas: the group ends at the first and the amount begins after the last.
	first, last := strings.IndexByte(rest, ','), strings.LastIndexByte(rest, ',')
	if first < 0 || first == last {
		return false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(rest[last+1:]), 10, 64)
	if err != nil {
		return false
	}
	key := spec.CounterKey{Group: rest[:first], Name: rest[first+1 : last]}
	counter := made[key]
	if counter == nil {
		if len(made) == maxCounters || len(key.Group) > maxCounterName || len(key.Name) > maxCounterName {
			return false
		}
		counter = r.cx.Counter(key.Group, key.Name)
		made[key] = counter
	}
	counter.Add(n)
	return true
}
