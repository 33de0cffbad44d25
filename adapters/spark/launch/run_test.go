package launch

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// driver is a script that is run, and the lines that it prints.
type driver struct {
	t       *testing.T
	lines   *bufio.Scanner
	signals chan os.Signal
	cancel  context.CancelFunc
	end     chan End
}

func drive(t *testing.T, script string, run func(Command, context.Context) (End, error)) *driver {
	t.Helper()
	return driveFor(t, script, 300*time.Millisecond, run)
}

func driveFor(t *testing.T, script string, grace time.Duration, run func(Command, context.Context) (End, error)) *driver {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	d := &driver{t, bufio.NewScanner(r), make(chan os.Signal), cancel, make(chan End, 1)}
	c := Command{Path: put(t, t.TempDir()+"/driver", "#!/bin/bash\n"+script), Args: []string{"one two", "three"}, Env: []string{"PATH=/usr/bin:/bin", "X=y"}, Stdout: w, Stderr: os.Stderr,
		Signals: d.signals, Grace: grace}
	go func() {
		end, err := run(c, ctx)
		w.Close()
		if err != nil {
			t.Error(err)
		}
		d.end <- end
	}()
	return d
}

func (d *driver) line() string {
	d.t.Helper()
	if !d.lines.Scan() {
		d.t.Fatalf("no line: %v", d.lines.Err())
	}
	return d.lines.Text()
}

func (d *driver) ends(want End) {
	d.t.Helper()
	select {
	case got := <-d.end:
		if got != want {
			d.t.Errorf("%+v, want %+v", got, want)
		}
	case <-time.After(30 * time.Second):
		d.t.Fatal("it does not end")
	}
}

func (d *driver) gone(pid string) {
	d.t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		d.t.Fatal(err)
	}
	// Killed, it is init's to reap: until then it is there as a zombie.
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		if err := syscall.Kill(n, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("process %s is still there", pid)
		}
	}
}

func TestRun(t *testing.T) {
	d := drive(t, `echo "$1|$2|$X"; ps -o pgid= -p $$ | tr -d ' '; echo $$; exit 7`, Command.Run)
	if got := d.line(); got != "one two|three|y" {
		t.Errorf("%q", got)
	}
	if group, pid := d.line(), d.line(); group != pid {
		t.Errorf("process %s is in group %s", pid, group)
	}
	d.ends(End{Code: 7})
	drive(t, `kill -9 $$`, Command.Run).ends(End{Code: 137})
	drive(t, `exit 0`, Command.Run).ends(End{})
	if _, err := (Command{Path: "/no/such"}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "/no/such") {
		t.Errorf("%v", err)
	}
}

// A driver is asked to end before it is made to, and takes those that it started with it.
func TestRunStops(t *testing.T) {
	const child = "sleep 1000 & echo $!\n"
	const wait = "while true; do wait; done\n"
	t.Run("at once", func(t *testing.T) {
		d := driveFor(t, child+"trap 'echo int; exit 130' INT\necho ready\nwhile true; do wait; done", 20*time.Second, Command.Run)
		pid := d.line()
		d.line()
		d.cancel()
		if got := d.line(); got != "int" {
			t.Errorf("%q", got)
		}
		d.ends(End{Code: 130, Stopped: true})
		d.gone(pid)
	})
	t.Run("after SIGTERM", func(t *testing.T) {
		d := drive(t, child+"trap 'echo int' INT; trap 'exit 143' TERM\necho ready\n"+wait, Command.Run)
		pid := d.line()
		d.line()
		d.cancel()
		d.ends(End{Code: 143, Stopped: true})
		d.gone(pid)
	})
	t.Run("by SIGKILL", func(t *testing.T) {
		d := drive(t, child+"trap 'echo int' INT; trap 'echo term' TERM\necho ready\n"+wait, Command.Run)
		pid := d.line()
		d.line()
		d.cancel()
		d.ends(End{Code: 137, Stopped: true})
		d.gone(pid)
	})
	t.Run("hurried", func(t *testing.T) {
		d := driveFor(t, "trap 'echo int' INT; trap 'echo term' TERM\necho ready\n"+wait, 20*time.Second, Command.Run)
		d.line()
		for _, want := range []string{"int", "term"} {
			d.signals <- os.Interrupt
			if got := d.line(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		d.signals <- os.Interrupt
		d.ends(End{Code: 137, Stopped: true})
	})
	// What a driver leaves running when it ends by itself is its own matter.
	t.Run("in good order", func(t *testing.T) {
		d := drive(t, "sleep 1000 >/dev/null 2>&1 & echo $!", Command.Run)
		pid := d.line()
		d.ends(End{})
		n, _ := strconv.Atoi(pid)
		if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
			t.Errorf("%v", err)
		}
	})
}

// A shell stays in our process group and is not sent SIGINT by us.
func TestConverse(t *testing.T) {
	d := driveFor(t, "ps -o pgid= -p $$ | tr -d ' '\ntrap 'exit 129' HUP\necho ready\nwhile true; do read -t 0.05 < <(sleep 1); done", 20*time.Second, Command.Converse)
	if got := d.line(); got != strconv.Itoa(syscall.Getpgrp()) {
		t.Errorf("it is in group %s", got)
	}
	d.line()
	d.signals <- syscall.SIGTERM
	d.ends(End{Code: 129, Stopped: true})
	d = drive(t, "trap '' HUP\necho ready\nexec sleep 1000", Command.Converse)
	d.line()
	d.cancel()
	d.ends(End{Code: 137, Stopped: true})
	drive(t, "exit 4", Command.Converse).ends(End{Code: 4})
}
