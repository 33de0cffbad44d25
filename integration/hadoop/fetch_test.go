package hadoop_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairway/integration/hadoop"
)

func TestFetchSaysWhatIsMissing(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	t.Setenv("JAVA_HOME", "")
	_, err := hadoop.Fetch(ctx, t.TempDir(), nil)
	oneLine(t, err, "apt-get install openjdk")
	if !errors.Is(err, hadoop.ErrNoJDK) {
		t.Error(err)
	}
	script := func(name, text string) {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script("javac", "exit 0")
	script("java", `echo 'openjdk version "11.0.2"' >&2`)
	_, err = hadoop.Fetch(ctx, t.TempDir(), nil)
	oneLine(t, err, "is version 11")
	if !errors.Is(err, hadoop.ErrNoJDK) {
		t.Error(err)
	}
	script("java", `echo 'openjdk version "17.0.1"' >&2`)
	_, err = hadoop.Fetch(ctx, t.TempDir(), nil)
	oneLine(t, err, "install maven")
	if !errors.Is(err, hadoop.ErrNoMaven) {
		t.Error(err)
	}
	script("mvn", `echo "[ERROR] Could not resolve: no network"; exit 1`)
	cache := t.TempDir()
	_, err = hadoop.Fetch(ctx, cache, nil)
	oneLine(t, err, "no network", "Maven")
	left, _ := filepath.Glob(filepath.Join(cache, "*", "*"))
	if len(left) != 1 || filepath.Base(left[0]) != "lock" {
		t.Errorf("a failed fetch left %v", left)
	}
}

// childMode makes the test binary start HDFS, print the JVM's pid and wait to be killed.
const childMode = "FAIRWAY_TEST_HADOOP_CHILD"

func child() int {
	in, err := hadoop.Fetch(ctx, "", nil)
	if err == nil {
		var h *hadoop.HDFS
		if h, err = hadoop.StartHDFS(ctx, in, hadoop.HDFSOptions{Dir: os.Getenv(childMode)}); err == nil {
			fmt.Println(h.Pid())
			<-h.Done()
		}
	}
	fmt.Println(err)
	return 1
}

// However this process ends, HDFS ends with it.
func TestHDFSEndsWithItsParent(t *testing.T) {
	cluster(t)
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limited, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childMode+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	var jvm int
	if _, scanErr := fmt.Sscan(line, &jvm); err != nil || scanErr != nil {
		t.Fatalf("child said %q", line)
	}
	// A pidfd becomes readable when the JVM ends.
	fd, err := unix.PidfdOpen(jvm, 0)
	if err != nil {
		t.Skip("no pidfd here: ", err)
	}
	defer unix.Close(fd)
	cmd.Process.Kill()
	io.Copy(io.Discard, out)
	cmd.Wait()
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 20_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", jvm))
			t.Errorf("the JVM outlives its parent: %d, %v, %s", n, err, strings.ReplaceAll(string(text), "\x00", " "))
			unix.Kill(jvm, unix.SIGKILL)
		}
		return
	}
}
