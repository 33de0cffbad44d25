package sparkjobs

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"fairway/integration/testbed"
)

// fetch returns a page of http://.
func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json, text/html")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return resp.StatusCode, string(b)
}

// checkPages looks at what is shown of an application that runs: the driver's own pages through the broker, the logs of its
// executors by the links that it gives, and what it was submitted with.
func (r *rig) checkPages(t *testing.T, id string) {
	t.Helper()
	proxy := "http://" + r.Web + "/proxy/" + id
	if status, page := fetch(t, proxy+"/jobs/"); status != http.StatusOK || !strings.Contains(page, "Spark Jobs") || !strings.Contains(page, "/proxy/"+id+"/stages/") {
		t.Errorf("the driver's page through the proxy: %d\n%.400s", status, page)
	}
	status, page := fetch(t, proxy+"/api/v1/applications/"+id+"/executors")
	var list []struct {
		ID   string            `json:"id"`
		Logs map[string]string `json:"executorLogs"`
	}
	if err := json.Unmarshal([]byte(page), &list); err != nil || status != http.StatusOK {
		t.Fatalf("the driver's REST interface through the proxy: %d, %v\n%.400s", status, err, page)
	}
	links := 0
	for _, e := range list {
		for name, url := range e.Logs {
			links++
			if status, log := fetch(t, url); status != http.StatusOK || name == "stderr" && !strings.Contains(log, "CoarseGrainedExecutorBackend") {
				t.Errorf("executor %s: %s at %s: %d\n%.400s", e.ID, name, url, status, log)
			}
		}
	}
	if links < 4 {
		t.Errorf("%d links to logs of two executors: %+v", links, list)
	}
	if app := r.application(t, id); app.Tags != "one,two" || app.Priority != 3 || app.User != testbed.WithAccount || app.Type != "SPARK" || app.State != "RUNNING" {
		t.Errorf("the application is %+v", app)
	}
}
