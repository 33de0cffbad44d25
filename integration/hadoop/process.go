package hadoop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a JVM that is tied to this process by its standard input and answers on its standard output.
type process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers chan string   // lines after "fairway "; closed at the end of the output
	done    chan struct{} // closed when the JVM has ended
	err     error         // of Wait; valid after done
	logFile string

	turn     chan struct{} // capacity one: one command at a time
	stopOnce sync.Once
}

// startProcess runs java with args; its standard error goes to logFile.
func startProcess(name, java string, args, env []string, dir, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(java, args...)
	cmd.Env = env
	cmd.Dir = dir
	cmd.Stderr = log
	// A group of its own, so that Ctrl-C reaches only us and we decide the order of the end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, stdin: stdin, logFile: logFile,
		answers: make(chan string, 16), done: make(chan struct{}), turn: make(chan struct{}, 1)}
	go p.follow(stdout)
	return p, nil
}

func (p *process) follow(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if answer, ok := strings.CutPrefix(lines.Text(), "fairway "); ok {
			select {
			case p.answers <- answer:
			default: // nobody asked
			}
		}
	}
	io.Copy(io.Discard, stdout)
	close(p.answers)
	p.err = p.cmd.Wait()
	close(p.done)
}

// await returns the next answer.
func (p *process) await(ctx context.Context) (string, error) {
	select {
	case answer, ok := <-p.answers:
		if !ok {
			return "", fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		}
		if why, failed := strings.CutPrefix(answer, "failed "); failed {
			return "", fmt.Errorf("%s failed: %s (log: %s)", p.name, why, p.logFile)
		}
		if why, failed := strings.CutPrefix(answer, "error "); failed {
			return "", fmt.Errorf("%s: %s", p.name, why)
		}
		return answer, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s: %w", p.name, ctx.Err())
	}
}

// command sends a line and waits for its answer.
func (p *process) command(ctx context.Context, line string) (string, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if strings.ContainsAny(line, "\r\n") {
		return "", errors.New("a command is one line")
	}
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return "", fmt.Errorf("%s ended: %s", p.name, p.lastWords())
	}
	return p.await(ctx)
}

// lastWords returns the last line of the log.
func (p *process) lastWords() string {
	text, _ := os.ReadFile(p.logFile)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Sprintf("%s (log: %s)", lines[len(lines)-1], p.logFile)
}

// stop closes the pipe, which ends the JVM, and kills it if that takes longer than grace.
func (p *process) stop(grace time.Duration) {
	p.stopOnce.Do(func() {
		p.stdin.Close()
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.done:
		case <-timer.C:
			p.cmd.Process.Kill()
		}
	})
	<-p.done
}
