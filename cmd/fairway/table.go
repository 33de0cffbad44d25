package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
)

// printJSON writes messages as one JSON value with the field names of fairway.v1.
func printJSON(w io.Writer, m proto.Message) error {
	b, err := jsonOf(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// printJSONList writes a list of messages as a JSON array.
func printJSONList[M proto.Message](w io.Writer, list []M) error {
	raw := make([]json.RawMessage, len(list))
	for i, m := range list {
		b, err := jsonOf(m)
		if err != nil {
			return err
		}
		raw[i] = b
	}
	b, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

func jsonOf(m proto.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson varies its spaces on purpose; programs that compare want one form.
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return json.MarshalIndent(v, "", "  ")
}

// table writes rows in aligned columns.
func table(w io.Writer, header string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(header, " ", "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = strings.Map(printable, r[i])
		}
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// printable keeps what others named from moving the terminal's cursor.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
		return '?'
	}
	return r
}

func phase(p v1.JobPhase) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), "JOB_PHASE_"))
}

func taskState(s v1.TaskState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "TASK_STATE_"))
}

// amount writes resources for people: "4 cpu, 8GiB".
func amount(r *v1.Resources) string {
	if r == nil {
		return "-"
	}
	var parts []string
	if r.CpuMilli != 0 {
		parts = append(parts, resource.FormatCPU(r.CpuMilli)+" cpu")
	}
	if r.MemoryBytes != 0 {
		parts = append(parts, roundBytes(r.MemoryBytes))
	}
	if r.DiskBytes != 0 {
		parts = append(parts, roundBytes(r.DiskBytes)+" disk")
	}
	if r.Gpus != 0 {
		parts = append(parts, fmt.Sprintf("%d gpu", r.Gpus))
	}
	if r.Ports != 0 {
		parts = append(parts, fmt.Sprintf("%d ports", r.Ports))
	}
	names := make([]string, 0, len(r.Named))
	for n := range r.Named {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		if r.Named[n] != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", r.Named[n], n))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func age(unixNanos int64) string {
	if unixNanos == 0 {
		return "-"
	}
	return span(time.Since(time.Unix(0, unixNanos)))
}

// span writes a duration with two digits of use.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// took is how long a job has run, or ran.
func took(j *v1.Job) string {
	if j.StartedUnixNanos == 0 {
		return "-"
	}
	end := time.Now()
	if j.FinishedUnixNanos != 0 {
		end = time.Unix(0, j.FinishedUnixNanos)
	}
	return span(end.Sub(time.Unix(0, j.StartedUnixNanos)))
}

// progress writes a job's progress in short: "map 12/40 reduce 0/2". Of many parts those that run are shown.
func progress(j *v1.Job) string {
	var parts []string
	for i, p := range j.Progress {
		if p.Total > 0 && (len(j.Progress) <= 4 || i == 0 || p.Running > 0) {
			name, _, _ := strings.Cut(p.Name, ": ")
			parts = append(parts, fmt.Sprintf("%s %d/%d", name, p.Done, p.Total))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, " ")
}

// roundBytes writes bytes for people in three digits or so; resource.FormatBytes is exact.
func roundBytes(n int64) string {
	for _, u := range []struct {
		suffix string
		size   int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.size)), ".0") + u.suffix
		}
	}
	return fmt.Sprintf("%dB", n)
}
