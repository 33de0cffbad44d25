package mapreduce

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func FuzzQuery(f *testing.F) {
	f.Add(vectorURI[len("/mapOutput?"):])
	f.Add("job=job_1_0001&reduce=0&map=attempt_1_0001_1_00_000000_0_10003&keepAlive=TRUE&dag=1")
	f.Add("job=job_1_0001&reduce=0&map=..%2f..%2fetc")
	f.Add("job=job_1_0001;reduce=0&map=,,,%zz")
	f.Fuzz(func(t *testing.T, raw string) {
		r, ref := parseQuery(raw)
		if ref != nil {
			if ref.status != http.StatusBadRequest {
				t.Errorf("refused with %d", ref.status)
			}
			return
		}
		if len(r.maps) == 0 || len(r.maps) > maxMaps || r.reduce < 0 {
			t.Errorf("%+v", r)
		}
		for _, m := range append(r.maps, r.job) {
			if m == "" || len(m) > maxAttempt || strings.ContainsAny(m, "/.\\\x00%") {
				t.Errorf("%q names a folder", m)
			}
		}
	})
}

// No request is answered with data unless its hash is right, whatever its headers are.
func FuzzRequest(f *testing.F) {
	f.Add("GET", vectorURI, "mapreduce", "1.0.0", vectorHash)
	f.Add("POST", "/mapOutput", "", "", "")
	f.Add("GET", "/mapOutput?"+strings.Repeat("map=x&", 100), "mapreduce", "1.0.0", strings.Repeat("A", 1000))
	s := New(Options{})
	s.port = DefaultPort
	if err := s.InitApplication(testApplication, "alice", -1, tokenOf(vectorSecret), []string{f.TempDir()}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, uri, name, version, hash string) {
		u, err := url.ParseRequestURI(uri)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		r := &http.Request{Method: method, RequestURI: uri, URL: u, RemoteAddr: "127.0.0.1:1",
			Header: http.Header{"Name": {name}, "Version": {version}, "Urlhash": {hash}}}
		s.serve(w, r)
		if w.Code < 400 {
			t.Errorf("answered with %d", w.Code) // the folder is empty, so the right hash ends in 500
		}
		if w.Code == http.StatusInternalServerError && !verify([]byte(vectorSecret), DefaultPort, uri, hash) {
			t.Error("a folder was read for a wrong hash")
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add(unhex(f, vectorIndex), 1)
	f.Add(indexBytes(), 0)
	f.Add(indexBytes(1, 2, 3), 2)
	f.Fuzz(func(t *testing.T, b []byte, reduce int) {
		x, err := parseIndex(b)
		if err != nil {
			return
		}
		p, err := x.partition(reduce)
		if err == nil && (p.start < 0 || p.length < 0 || p.raw < 0 || p.start+p.length < p.start) {
			t.Errorf("%+v", p)
		}
	})
}
