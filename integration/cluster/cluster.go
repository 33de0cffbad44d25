package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fairway/broker/api"
	"fairway/broker/api/client"
	v1 "fairway/broker/api/fairwayv1"
)

// Agent is one agent's declaration.
type Agent struct {
	Host, Rack  string
	CPU, Memory string // as the agent's flags take them
	Label       string // YARN's node label, "" none
	// An agent on a host of its own is reached over the network: Enter is what its command is prefixed with to run there,
	// Listen the address of its data server. Options.Listen must be set.
	Enter  []string
	Listen string
}

// Options of Start.
type Options struct {
	Binary    string // bin/fairway
	Agents    []Agent
	Listen    string // the broker's TCP address; "": none, all use its Unix socket
	Config    string // YAML, appended to the sockets and folders that the cluster chooses
	HadoopDir string // HADOOP_CONF_DIR; "": none
	Env       []string
	Dir       string // default: a temporary folder that Stop removes
}

// Cluster is running processes.
type Cluster struct {
	Dir    string
	Socket string

	o      Options
	temp   bool
	conf   string
	mu     sync.Mutex
	broker *Process
	agents []*Process
}

// Process is one daemon with its log.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	err  error
}

// Start starts the broker and the agents and returns once all agents are registered.
func Start(ctx context.Context, o Options) (c *Cluster, err error) {
	c = &Cluster{o: o, Dir: o.Dir}
	if c.Dir == "" {
		if c.Dir, err = os.MkdirTemp("", "fairway-"); err != nil {
			return nil, err
		}
		c.temp = true
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if err := os.Chmod(c.Dir, 0o755); err != nil {
		return c, err
	}
	c.Socket = filepath.Join(c.Dir, "broker.sock")
	c.conf = filepath.Join(c.Dir, "fairway.yaml")
	yaml := fmt.Sprintf(`broker: {socket: %q, listen: %q, admin: "", token_file: %q, work_dir: %q, recovery: 10s, heartbeat: 500ms, agent_timeout: 5s}
agent: {broker: "unix://%s", token_file: %q, listen: "127.0.0.1:0", admin: ""}
client: {broker: "unix://%s"}
`, c.Socket, o.Listen, filepath.Join(c.Dir, "token"), filepath.Join(c.Dir, "broker"), c.Socket, filepath.Join(c.Dir, "token"), c.Socket)
	if err := os.WriteFile(c.conf, []byte(yaml+o.Config), 0o644); err != nil {
		return c, err
	}
	if err := c.StartBroker(ctx); err != nil {
		return c, err
	}
	c.agents = make([]*Process, len(o.Agents))
	for i := range o.Agents {
		if err := c.StartAgent(i); err != nil {
			return c, err
		}
	}
	return c, c.WaitAgents(ctx, len(o.Agents))
}

// StartBroker starts the broker and waits until it serves.
func (c *Cluster) StartBroker(ctx context.Context) error { return c.StartBrokerIn(ctx, nil) }

// StartBrokerIn is StartBroker with a prefix for its command, such as nsenter.
func (c *Cluster) StartBrokerIn(ctx context.Context, enter []string) error {
	p, err := c.start(enter, "broker", "broker")
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.broker = p
	c.mu.Unlock()
	return c.until(ctx, "the broker to serve", p, func(b *client.Client) bool {
		_, err := b.GetCluster(ctx, api.Caller{})
		return err == nil
	})
}

// StartAgent starts agent i; it registers by itself.
func (c *Cluster) StartAgent(i int) error { return c.StartAgentIn(c.o.Agents[i].Enter, i) }

// StartAgentIn is StartAgent with another prefix for its command than the agent's own.
func (c *Cluster) StartAgentIn(enter []string, i int) error {
	a := c.o.Agents[i]
	args := []string{"agent", "--host", a.Host, "--work-dir", filepath.Join(c.Dir, fmt.Sprintf("agent%d", i+1)), "--end-tasks"}
	for flag, v := range map[string]string{"--rack": a.Rack, "--cpus": a.CPU, "--memory": a.Memory, "--listen": a.Listen} {
		if v != "" {
			args = append(args, flag, v)
		}
	}
	if len(a.Enter) > 0 {
		args = append(args, "--broker", c.o.Listen)
	}
	if a.Label != "" {
		conf, err := c.labelled(a)
		if err != nil {
			return err
		}
		args = append(args, "--config", conf)
	}
	p, err := c.start(enter, a.Host, args...)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.agents[i] = p
	return nil
}

// labelled writes the configuration of an agent with a label.
func (c *Cluster) labelled(a Agent) (conf string, err error) {
	b, err := os.ReadFile(c.conf)
	if err != nil {
		return "", err
	}
	conf = filepath.Join(c.Dir, a.Host+".yaml")
	return conf, os.WriteFile(conf, []byte(strings.Replace(string(b), "agent: {", "agent: {attributes: {yarn.label: "+a.Label+"}, ", 1)), 0o644)
}

// Relabel has agent i come back with a node label.
func (c *Cluster) Relabel(i int, label string) error {
	if err := c.Agent(i).Stop(); err != nil {
		return err
	}
	c.o.Agents[i].Label = label
	return c.StartAgent(i)
}

// WaitAgents waits until n agents are active.
func (c *Cluster) WaitAgents(ctx context.Context, n int) error {
	return c.Until(ctx, fmt.Sprintf("%d agents to register", n), func(list []*v1.Agent) bool {
		active := 0
		for _, a := range list {
			if a.State == "active" {
				active++
			}
		}
		return active >= n
	})
}

// Until waits until the agents are as ok wants them, for half a minute at most.
func (c *Cluster) Until(ctx context.Context, what string, ok func([]*v1.Agent) bool) error {
	return c.until(ctx, what, nil, func(b *client.Client) bool {
		r, err := b.ListAgents(ctx, api.Caller{}, &v1.ListAgentsRequest{})
		return err == nil && ok(r.Agents)
	})
}

// until asks the broker again and again, for half a minute at most: a process in another program cannot push to us
// before its door is open.
func (c *Cluster) until(ctx context.Context, what string, p *Process, ok func(*client.Client) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(c.Socket); err == nil {
			if b, err := c.Client(); err == nil {
				done := ok(b)
				b.Close()
				if done {
					return nil
				}
			}
		}
		var ended <-chan struct{}
		if p != nil {
			ended = p.done
		}
		select {
		case <-tick.C:
		case <-ended:
			return fmt.Errorf("waiting for %s: %s ended: %v\n%s", what, p.Name, p.err, c.Log(p.Name))
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w\n%s", what, ctx.Err(), c.Logs())
		}
	}
}

func (c *Cluster) env() []string {
	env := append(os.Environ(), "FAIRWAY_CONF="+c.conf)
	if c.o.HadoopDir != "" {
		env = append(env, "HADOOP_CONF_DIR="+c.o.HadoopDir)
	}
	return append(env, c.o.Env...)
}

func (c *Cluster) start(enter []string, name string, args ...string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(c.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	argv := append(append(slices.Clone(enter), c.o.Binary), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env(), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which then stops them in order
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	p := &Process{Name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		log.Close()
		close(p.done)
	}()
	return p, nil
}

// Kill ends a process at once, as kill -9 does, and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks a process to end, and kills it when it has not after ten seconds.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(10 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not end within 10 s", p.Name)
	}
}

// Pid of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal, such as SIGSTOP.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Broker is the broker's process.
func (c *Cluster) Broker() *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broker
}

// Agent is the process of agent i.
func (c *Cluster) Agent(i int) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agents[i]
}

// Client connects to the broker.
func (c *Cluster) Client() (*client.Client, error) {
	return client.Dial(client.Options{Address: "unix://" + c.Socket, Timeout: 10 * time.Second})
}

// Command is a command line against this cluster.
func (c *Cluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.o.Binary, args...)
	cmd.Env = c.env()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// Run runs a command line and returns what it wrote on stdout; an error holds stderr.
func (c *Cluster) Run(ctx context.Context, args ...string) (string, error) {
	cmd := c.Command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("fairway %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Log is the end of a process's log.
func (c *Cluster) Log(name string) string {
	b, err := os.ReadFile(filepath.Join(c.Dir, name+".log"))
	if err != nil {
		return ""
	}
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return name + ":\n" + string(b)
}

// Logs are the ends of all logs.
func (c *Cluster) Logs() string {
	s := c.Log("broker")
	for _, a := range c.o.Agents {
		s += c.Log(a.Host)
	}
	return s
}

// Stop ends the agents, with their tasks, and the broker, and removes the folder if it is the cluster's own.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	agents, broker := c.agents, c.broker
	c.mu.Unlock()
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, p := range agents {
		if p == nil {
			continue
		}
		wg.Go(func() {
			if err := p.Stop(); err != nil && !killed(err) {
				mu.Lock()
				errs = append(errs, fmt.Errorf("stop %s: %w", p.Name, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if broker != nil {
		if err := broker.Stop(); err != nil && !killed(err) {
			errs = append(errs, fmt.Errorf("stop broker: %w", err))
		}
	}
	if c.temp {
		errs = append(errs, os.RemoveAll(c.Dir))
	}
	return errors.Join(errs...)
}

// killed tells a process that a test ended by a signal.
func killed(err error) bool {
	var e *exec.ExitError
	if !errors.As(err, &e) {
		return false
	}
	s, ok := e.Sys().(syscall.WaitStatus)
	return ok && s.Signaled()
}

// Build compiles the fairway binary to path and returns it. It must be called from within the module.
func Build(ctx context.Context, path string) (string, error) {
	c := exec.CommandContext(ctx, "go", "build", "-o", path, "fairway/cmd/fairway")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build fairway: %w\n%s", err, out)
	}
	return path, nil
}
