package umbilical

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	pb "fairway/frameworks/mapreduce/umbilical/umbilicalv1"
)

// Bounds of what an attempt may say.
const (
	maxMessage    = 64 << 20 // bytes of one message
	maxCounters   = 4096     // distinct counters of an attempt; more are dropped
	maxName       = 256      // bytes of a counter's group or name
	maxText       = 64 << 10 // bytes of an error; longer ones are cut
	maxStatusLine = 1 << 10
	maxPartitions = 1 << 20
)

// clean bounds a message of an attempt in place. An error means that it makes no sense.
func clean(m *pb.TaskMessage) error {
	switch m := m.Message.(type) {
	case *pb.TaskMessage_Hello:
		if m.Hello == nil {
			return fmt.Errorf("empty hello")
		}
		m.Hello.DataAddress, m.Hello.Host = text(m.Hello.DataAddress, maxName), text(m.Hello.Host, maxName)
	case *pb.TaskMessage_Report:
		cleanReport(m.Report)
	case *pb.TaskMessage_MapDone:
		if !fileName(m.MapDone.GetFile()) {
			return fmt.Errorf("%q is no name of a map output", text(m.MapDone.GetFile(), maxName))
		}
		if len(m.MapDone.Partitions) > maxPartitions {
			return fmt.Errorf("%d partitions", len(m.MapDone.Partitions))
		}
		for _, p := range m.MapDone.Partitions {
			if p.GetOffset() < 0 || p.GetLength() < 0 || p.GetRecords() < 0 || p.GetOffset() > math.MaxInt64-p.GetLength() {
				return fmt.Errorf("partition at %d of %d bytes with %d records", p.GetOffset(), p.GetLength(), p.GetRecords())
			}
		}
		cleanReport(m.MapDone.Report)
	case *pb.TaskMessage_FetchFailure:
		if m.FetchFailure == nil {
			return fmt.Errorf("empty fetch failure")
		}
		m.FetchFailure.Message = text(m.FetchFailure.Message, maxText)
	case *pb.TaskMessage_CommitAsk:
	case *pb.TaskMessage_Done:
		cleanReport(m.Done.GetReport())
	case *pb.TaskMessage_Failed:
		if m.Failed == nil {
			return fmt.Errorf("empty failure")
		}
		m.Failed.Message = text(m.Failed.Message, maxText)
		m.Failed.RecordUrl = text(m.Failed.RecordUrl, maxText)
		cleanReport(m.Failed.Report)
	default:
		return fmt.Errorf("unknown message")
	}
	return nil
}

func cleanReport(r *pb.Report) {
	if r == nil {
		return
	}
	if !(r.Fraction >= 0) { // also NaN
		r.Fraction = 0
	}
	r.Fraction = min(r.Fraction, 1)
	r.Status = strings.ReplaceAll(text(r.Status, maxStatusLine), "\n", " ")
	keep := r.Counters[:0]
	for _, c := range r.Counters {
		if len(keep) < maxCounters && c != nil && len(c.Group) <= maxName && len(c.Name) <= maxName {
			keep = append(keep, c)
		}
	}
	r.Counters = keep
}

// text cuts s to n bytes of valid UTF-8.
func text(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
		if len(s) > n {
			s = s[:n]
		}
	}
	return s
}

// fileName reports whether s names a file within one folder.
func fileName(s string) bool {
	return s != "" && len(s) <= maxName && s != "." && s != ".." && !strings.ContainsAny(s, "/\\\x00")
}
