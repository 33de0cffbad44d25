package hadoop

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// FetchHistory makes the JobHistoryServer of this version available, with all that it needs, in cacheDir ("" for
// DefaultCache). Jobs do not need it, so their class path goes without; nothing but StartHistory works with what it returns.
func (in Install) FetchHistory(ctx context.Context, cacheDir string, log *zap.Logger) (Install, error) {
	if log == nil {
		log = zap.NewNop()
	}
	root, unlock, err := CacheFolder(ctx, cacheDir, "hadoop-"+in.version)
	if err != nil {
		return Install{}, err
	}
	defer unlock()
	in.archive = ""
	in.Lib, err = ensureJars(ctx, root, in.version, []artifact{{Group: "org.apache.hadoop", Name: "hadoop-mapreduce-client-hs", Version: in.version}}, log)
	return in, err
}

// HistoryConf are settings that a history server, its clients and their jobs have in common: ports of loopback that are free
// now, and where jobs leave their history (folder/tmp) and the server keeps it (folder/done), in the file system of the cluster.
func HistoryConf(folder string) (map[string]string, error) {
	ports, err := freePorts("", 3)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		historyAddress: ports[0], historyWeb: ports[1], "mapreduce.jobhistory.admin.address": ports[2],
		"mapreduce.jobhistory.intermediate-done-dir": folder + "/tmp", "mapreduce.jobhistory.done-dir": folder + "/done",
	}, nil
}

const (
	historyAddress = "mapreduce.jobhistory.address"
	historyWeb     = "mapreduce.jobhistory.webapp.address"
)

// History is a running JobHistoryServer, a JVM of its own.
type History struct {
	Web string // "127.0.0.1:port" of its pages

	proc *process
	dir  string
}

// StartHistory starts the JobHistoryServer as the account of this process and returns when it answers. confDir is a
// configuration folder with the settings of HistoryConf, which are given again as conf.
func (in Install) StartHistory(ctx context.Context, confDir string, conf map[string]string) (*History, error) {
	classPath, err := in.classPath(confDir)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fairway-history-")
	if err != nil {
		return nil, err
	}
	h := &History{Web: conf[historyWeb], dir: dir}
	up := false
	defer func() {
		if !up {
			h.Stop()
		}
	}()
	env := append(os.Environ(), "JAVA_HOME="+in.javaHome(), "HADOOP_CONF_DIR="+confDir)
	h.proc, err = startProcess("JobHistoryServer", in.java, []string{"-Xmx512m", "-XX:+UseSerialGC", "--add-opens=java.base/java.lang=ALL-UNNAMED",
		"-Djava.net.preferIPv4Stack=true", "-Dfairway.log.level=INFO", "-cp", classPath, "fairway.Tied", "org.apache.hadoop.mapreduce.v2.hs.JobHistoryServer"},
		env, dir, filepath.Join(dir, "history.log"))
	if err != nil {
		return nil, err
	}
	if err := h.await(ctx); err != nil {
		return nil, fmt.Errorf("start the history server: %w", err)
	}
	up = true
	return h, nil
}

// await asks for the server's page until it is there.
func (h *History) await(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.Web+"/ws/v1/history/info", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("%s", resp.Status)
		}
		select {
		case <-tick.C:
		case <-h.proc.done:
			return fmt.Errorf("it ended: %s", h.proc.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%w (last answer: %v)", ctx.Err(), err)
		}
	}
}

// Log is what the server wrote.
func (h *History) Log() string {
	text, _ := os.ReadFile(filepath.Join(h.dir, "history.log"))
	return string(text)
}

// Stop ends the server and removes its log. It may be called more than once.
func (h *History) Stop() error {
	if h.proc != nil {
		h.proc.stop(12 * time.Second)
	}
	return os.RemoveAll(h.dir)
}
