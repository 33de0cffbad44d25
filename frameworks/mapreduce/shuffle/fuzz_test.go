package shuffle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairway/frameworks/mapreduce/run"
	"fairway/frameworks/mapreduce/spec"
)

// answer is an http.RoundTripper that says the same to everyone.
type answer struct {
	status int
	length int64
	body   []byte
}

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Status: fmt.Sprint(a.status), ContentLength: a.length, Request: r,
		Body: io.NopCloser(bytes.NewReader(a.body)),
	}, nil
}

// Whatever an agent answers, a fetch ends: with the announced records, checked, or with an error.
func FuzzAnswer(f *testing.F) {
	var b bytes.Buffer
	w := run.NewWriter(&b, 1, run.None)
	if err := w.Append([]byte("key"), []byte(strings.Repeat("v", 100))); err != nil {
		f.Fatal(err)
	}
	ix, err := w.Close()
	if err != nil {
		f.Fatal(err)
	}
	good := b.Bytes()[:ix[0].Length]
	f.Add(206, int64(len(good)), good, int64(1), int64(len(good)), "map-0-0.run")
	f.Add(200, int64(len(good)), good, int64(1), int64(len(good)), "map-0-0.run")
	f.Add(206, int64(-1), good[:20], int64(1), int64(len(good)), "..")
	f.Fuzz(func(t *testing.T, status int, contentLength int64, body []byte, records, length int64, name string) {
		if length > 1<<20 {
			return // it is announced by the job's own coordinator, and memory is made for it
		}
		c := New(Config{
			Job: "j", Attempts: 1, Timeout: time.Minute,
			HTTP: &http.Client{Transport: answer{status, contentLength, body}},
		})
		set, err := c.Gather(context.Background(), Request{
			Maps: 1, Folder: t.TempDir(), Memory: 1 << 20,
			Outputs: channel(spec.MapOutput{Address: "a:1", File: name, Length: length, Records: records}),
		})
		if err != nil {
			if !errors.Is(err, ErrIncomplete) {
				t.Fatal(err)
			}
			return
		}
		if length > 0 && set.Records() != records {
			t.Fatalf("%d records, announced %d", set.Records(), records)
		}
		if err := set.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
