package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strconv"

	"go.uber.org/zap"

	"fairway/broker/api"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

var createPrivate = storage.CreateOptions{Overwrite: true, Perm: 0o600}

// Description is what the client tells the coordinator's process, as JSON.
type Description struct {
	Job *spec.Job `json:"job"`
	// Argv is how a task's process starts; empty: {fairway} mapreduce-task.
	Argv []string `json:"argv,omitempty"`
	// Binary is shipped to every task beside the job's files: the user's own program.
	Binary *spec.File `json:"binary,omitempty"`
	// Env is added to the environment of tasks.
	Env map[string]string `json:"env,omitempty"`
}

// Command is the start of the tasks' processes.
func (d *Description) Command() *v1.Command {
	c := &v1.Command{Argv: d.Argv, Env: d.Env}
	if b := d.Binary; b != nil {
		c.Uris = []*v1.URI{{Value: b.URL, Target: b.Target, Executable: true, Sha256: b.SHA256, Cache: true}}
	}
	return c
}

// ReadDescription reads a file that the client has made.
func ReadDescription(file string) (*Description, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the job's description: %w", err)
	}
	d, err := parseDescription(b)
	if err != nil {
		return nil, fmt.Errorf("the job's description, %s: %w", file, err)
	}
	return d, nil
}

func parseDescription(b []byte) (*Description, error) {
	d := new(Description)
	if err := json.Unmarshal(b, d); err != nil {
		return nil, err
	}
	if d.Job == nil {
		return nil, errors.New("it names no job")
	}
	const most = 1 << 20
	if d.Job.Reduces < 0 || d.Job.Reduces > most || d.Job.Maps < 0 || d.Job.Maps > most {
		return nil, fmt.Errorf("%d reduces and %d maps: want 0 to %d", d.Job.Reduces, d.Job.Maps, most)
	}
	return d, nil
}

// Main is the coordinator's process: it reads the job's description and the environment that the agent has set, and
// runs the job.
func Main(ctx context.Context, c Config) error {
	get := c.Getenv
	if get == nil {
		get = os.Getenv
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if len(c.Args) != 1 {
		return errors.New("usage: mapreduce-coordinator JOB.json (started by a Fairway agent, not by hand)")
	}
	d, err := ReadDescription(c.Args[0])
	if err != nil {
		return err
	}
	if d.Job.ID = get("FAIRWAY_JOB_ID"); d.Job.ID == "" {
		return errors.New("FAIRWAY_JOB_ID is not set: this mode is started by a Fairway agent, not by hand")
	}
	attempt := 1
	if v := get("FAIRWAY_JOB_ATTEMPT"); v != "" {
		if attempt, err = strconv.Atoi(v); err != nil || attempt < 1 {
			return fmt.Errorf("FAIRWAY_JOB_ATTEMPT %q is no number of an attempt", v)
		}
	}
	if n, err := strconv.ParseInt(get("FAIRWAY_MEMORY_BYTES"), 10, 64); err == nil && n > 0 && get("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(n / 10 * 9)
	}
	broker, err := c.Connect(ctx, get("FAIRWAY_BROKER"), get("FAIRWAY_TOKEN_FILE"))
	if err != nil {
		return err
	}
	defer broker.Close()
	_, err = Run(ctx, Options{Job: d.Job, Attempt: attempt, Mux: c.Mux, Registry: c.Registry, Command: d.Command(),
		Dial: func(ctx context.Context) (api.FrameworkSession, error) {
			return broker.OpenFramework(ctx, api.Caller{})
		},
		Host: hostOf(get("FAIRWAY_AGENT_DATA_ADDRESS"), get("FAIRWAY_AGENT_HOST")), Tuning: c.Tuning, Logger: c.Logger})
	return err
}

// hostOf is the address by which other hosts reach this one: that of the agent's data server, which they fetch from.
func hostOf(dataAddress, agentHost string) string {
	host, _, err := net.SplitHostPort(dataAddress)
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		return agentHost
	}
	return host
}
