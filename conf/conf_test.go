package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "fairway.yaml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNoFileGivesDefaults(t *testing.T) {
	c, err := Load(write(t, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), c); d != "" {
		t.Errorf("an empty file changed the defaults:\n%s", d)
	}
}

func TestSampleSaysTheDefaults(t *testing.T) {
	c, err := Load(write(t, Sample), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	run, lib := Folders()
	if run != "/run/fairway" || lib != "/var/lib/fairway" {
		t.Skip("the sample shows root's folders")
	}
	// The sample writes empty collections and what the machine's environment gives.
	want.HDFS.ConfDir = ""
	want.Roles, want.Agent.Addresses, want.Agent.Attributes, want.Broker.Operators = []Role{}, []string{}, map[string]string{}, []string{}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("the sample differs from the defaults (-default +sample):\n%s", d)
	}
}

func TestValues(t *testing.T) {
	c, err := Load(write(t, `
broker:
  listen: 0.0.0.0:7000
  offer_timeout: 5s
roles:
  - path: analytics/reports
    weight: 2.5
    guarantee: {cpu: 4, memory: 8GiB}
    limit: {memory: 64G, named: {x/y: 3}}
agent:
  resources: {cpu: 500m, disk: 1TB}
`), []string{"FAIRWAY_BROKER_ADMIN=127.0.0.1:9", "FAIRWAY_AGENT_RESOURCES_MEMORY=2GiB", "FAIRWAY_BROKER=host:1", "FAIRWAY_TASK_ID=x", "FAIRWAY_AGENT_HOST=set-for-tasks"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Broker.Listen != "0.0.0.0:7000" || time.Duration(c.Broker.OfferTimeout) != 5*time.Second || c.Broker.Admin != "127.0.0.1:9" {
		t.Errorf("broker = %+v", c.Broker)
	}
	r := c.Roles[0]
	if r.Weight != 2.5 || *r.Guarantee.CPU != 4000 || *r.Guarantee.Memory != 8<<30 || *r.Limit.Memory != 64<<30 || r.Limit.Named["x/y"] != 3 {
		t.Errorf("role = %+v", r)
	}
	a := c.Agent
	if *a.Resources.CPU != 500 || *a.Resources.Disk != 1e12 || *a.Resources.Memory != 2<<30 || a.Host != "" {
		t.Errorf("agent = %+v", a)
	}
	if c.Client.Broker != "host:1" {
		t.Errorf("client.broker = %q", c.Client.Broker)
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct{ name, text, env, want string }{
		{"unknown key", "broker:\n  lisen: x\n", "", `line 2: unknown key "broker.lisen"; did you mean "broker.listen"?`},
		{"unknown section", "brokr:\n  listen: x\n", "", `line 1: unknown key "brokr"; did you mean "broker"?`},
		{"far from all", "log:\n  zzzzzzzz: x\n", "", "known here: format, level"},
		{"unknown in list", "roles:\n  - path: a\n    wieght: 1\n", "", `did you mean "roles[0].weight"?`},
		{"broken yaml", "broker: [\n", "", "line"},
		{"bad duration", "broker:\n  heartbeat: fast\n", "", `line 2: "fast" is no duration`},
		{"bad bytes", "agent:\n  cache_size: -1GiB\n", "", "not a quantity"},
		{"section as value", "broker: yes\n", "", "broker is a section"},
		{"role without path", "roles: [{weight: 1}]\n", "", "needs a path"},
		{"role twice", "roles: [{path: a}, {path: a}]\n", "", "twice"},
		{"level", "log: {level: loud}\n", "", "none of debug"},
		{"env key", "", "FAIRWAY_BROKER_LISTN=x", `did you mean "broker.listen"?`},
		{"env value", "", "FAIRWAY_BROKER_INSECURE=maybe", "neither true nor false"},
		{"two labels", "agent: {attributes: {yarn.label: \"gpu,fast\"}}\n", "", `agent.attributes yarn.label: "gpu,fast" is no node label`},
		{"yarn host", "broker: {insecure: true}\nyarn: {enabled: true, host: 0.0.0.0}\n", "", `yarn.host: "0.0.0.0" is neither a host name nor`},
		{"log server", "yarn: {logs: {server: history}}\n", "", `yarn.logs.server: "history" is no URL`},
		{"alias", "a: &x {}\nbroker: *x\n", "", "line"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var env []string
			if tc.env != "" {
				env = []string{tc.env}
			}
			_, err := Load(write(t, tc.text), env)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error = %v, want it to say %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error is longer than a line: %q", err)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent.yaml"), nil); err == nil {
		t.Error("a named file that is absent was accepted")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(Sample)
	f.Add("broker:\n  listen: [1,2]\nroles: {a: b}")
	f.Add("? [a]\n: b")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		if c.merge([]byte(text)) == nil {
			_ = c.validate()
		}
	})
}

func TestYARNListensBeyondLoopbackOnlyWhenAskedTo(t *testing.T) {
	for text, want := range map[string]string{
		"yarn: {enabled: true, host: 10.0.0.1}":                              "set broker.insecure",
		"yarn: {enabled: true, host: rm.example.com}":                        "set broker.insecure",
		"yarn: {host: \"[::1]\"}":                                            "neither a host name nor an IPv4",
		"yarn: {queues: [{queue: root.a}, {queue: a}]}":                      "there twice",
		"yarn: {queues: [{queue: a/b}]}":                                     "write it as root.analytics.reports",
		"yarn: {web_port: 70000}":                                            "yarn.web_port",
		"yarn: {spark_placement: packed}":                                    "neither spread nor pack",
		"yarn: {spark_placement: pack, spark_gang: true}":                    "",
		"yarn: {enabled: true, host: 127.0.1.9}":                             "",
		"broker: {insecure: true}\nyarn: {enabled: true, host: rm.example}":  "",
		"yarn: {enabled: true, node_expirey: 10s}":                           `did you mean "yarn.node_expiry"`,
		"yarn: {enabled: true, env: {JAVA_HOME: /x}, logs: {aggregate: no}}": "",
	} {
		file := filepath.Join(t.TempDir(), "fairway.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
