package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"fairway/integration/spark"
	"fairway/integration/text"
)

// client is the same user's on both sides, with the executors that it names; 0: they come and go with the work, over the shuffle
// service, as Spark's pages advise for YARN. Only so does Spark say on which hosts it wants them.
func (b *bench) client(s *side, executors int) *spark.Client {
	c := b.spark.Client(s.confDir, "daemon")
	c.Address = b.net.Gateway
	for k, v := range map[string]string{
		// With Spark's overhead of 384 MiB a container of 1 GiB, the unit of both sides: a third of a bigger one would lie idle.
		"spark.executor.memory": "640m", "spark.executor.cores": "1", "spark.driver.memory": "1g",
		"spark.eventLog.enabled": "true", "spark.eventLog.dir": "file:" + b.events, "spark.ui.showConsoleProgress": "false",
	} {
		c.Conf[k] = v
	}
	if executors > 0 {
		c.Conf["spark.executor.instances"] = strconv.Itoa(executors)
		return c
	}
	c.Conf["spark.shuffle.service.enabled"], c.Conf["spark.shuffle.service.port"] = "true", strconv.Itoa(s.shuffle)
	c.Conf["spark.dynamicAllocation.enabled"], c.Conf["spark.dynamicAllocation.maxExecutors"] = "true", "6"
	return c
}

// job runs one of the jobs and returns its seconds.
func (b *bench) job(ctx context.Context, s *side, name string) (seconds float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	b.runs++
	out := fmt.Sprintf("/out/%s-%s-%d", s.name, name, b.runs)
	switch name {
	case "startup":
		begin := time.Now()
		res, err := b.submit(ctx, b.client(s, 2), "start")
		if err != nil {
			return 0, err
		}
		e, err := b.read(res.Application)
		if err != nil {
			return 0, err
		}
		if e.first.IsZero() {
			return 0, fmt.Errorf("%s ran no task", res.Application)
		}
		return e.first.Sub(begin).Seconds(), nil
	case "wordcount":
		res, err := b.submit(ctx, b.client(s, 0), "wordcount", "/in/wordcount", out)
		if err != nil {
			return 0, err
		}
		if err := b.localities(s, res.Application); err != nil {
			return 0, err
		}
		return res.Took.Seconds(), b.check(ctx, out, "/in/wordcount")
	case "shuffle_sort":
		res, err := b.submit(ctx, b.client(s, 0), "sort", "/in/sort", out, "12")
		if err != nil {
			return 0, err
		}
		e, err := b.read(res.Application)
		if err != nil {
			return 0, err
		}
		if rate := e.rate(); rate > 0 {
			b.rates[s.name] = append(b.rates[s.name], rate)
		}
		if err := b.localities(s, res.Application); err != nil {
			return 0, err
		}
		return res.Took.Seconds(), checkSorted(ctx, b.fs, out, "/in/sort")
	case "four_at_once":
		begin := time.Now()
		var all [atOnce]spark.Result
		g, ctx := errgroup.WithContext(ctx)
		for i := range all {
			g.Go(func() (err error) {
				all[i], err = b.submit(ctx, b.client(s, 0), "wordcount", fourth(i), fmt.Sprintf("%s-%d", out, i))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return 0, err
		}
		took := time.Since(begin).Seconds()
		for i, res := range all {
			if err := b.localities(s, res.Application); err != nil {
				return 0, err
			}
			if err := b.check(context.WithoutCancel(ctx), fmt.Sprintf("%s-%d", out, i), fourth(i)); err != nil {
				return 0, err
			}
		}
		return took, nil
	}
	return 0, fmt.Errorf("no job is called %q; there are %s", name, strings.Join(jobNames, ", "))
}

func (b *bench) submit(ctx context.Context, c *spark.Client, args ...string) (spark.Result, error) {
	for i, a := range args {
		if strings.HasPrefix(a, "/") {
			args[i] = b.dfs.URL() + a
		}
	}
	res, err := c.Submit(ctx, append([]string{"--class", "Bench", b.jar}, args...)...)
	if err != nil {
		err = fmt.Errorf("%w: %w\n%s", errNotRun, err, res.Stderr[max(0, len(res.Stderr)-4000):])
	}
	return res, err
}

// check compares a word count with what was written.
func (b *bench) check(ctx context.Context, out, in string) error {
	got, err := text.ReadCounts(ctx, b.fs, out)
	if bad := text.Differences(b.want[in], got); err == nil && len(bad) > 0 {
		err = fmt.Errorf("wrong counts: %s", strings.Join(bad[:min(3, len(bad))], ", "))
	}
	return err
}

// localities counts where the tasks that read HDFS ran.
func (b *bench) localities(s *side, application string) error {
	e, err := b.read(application)
	if err != nil {
		return err
	}
	l := b.local[s.name]
	b.local[s.name] = [2]int{l[0] + e.local, l[1] + e.readers}
	return nil
}

// events is what an application's event log tells.
type events struct {
	first          time.Time // a task's launch
	readers, local int       // tasks with input, and node-local ones
	stages         map[int]*shuffle
}

// shuffle is a stage that reads other tasks' output.
type shuffle struct {
	bytes    int64
	from, to int64 // first launch and last end of its tasks, in Unix milliseconds
}

// rate is the fastest stage's, that read at least 16 MiB, in 10^6 bytes a second of wall time.
func (e *events) rate() (best float64) {
	for _, s := range e.stages {
		if s.bytes >= 16<<20 && s.to > s.from {
			best = max(best, float64(s.bytes)/1e3/float64(s.to-s.from))
		}
	}
	return best
}

func (b *bench) read(application string) (*events, error) {
	f, err := os.Open(filepath.Join(b.events, application))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e := &events{stages: map[int]*shuffle{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var x struct {
			Event   string
			StageID int `json:"Stage ID"`
			Task    struct {
				Launch   int64 `json:"Launch Time"`
				Finish   int64 `json:"Finish Time"`
				Locality string
			} `json:"Task Info"`
			Metrics struct {
				Input struct {
					Bytes int64 `json:"Bytes Read"`
				} `json:"Input Metrics"`
				Shuffle struct {
					Remote int64 `json:"Remote Bytes Read"`
					Local  int64 `json:"Local Bytes Read"`
				} `json:"Shuffle Read Metrics"`
			} `json:"Task Metrics"`
		}
		if json.Unmarshal(lines.Bytes(), &x) != nil || x.Event != "SparkListenerTaskEnd" {
			continue
		}
		if at := time.UnixMilli(x.Task.Launch); e.first.IsZero() || at.Before(e.first) {
			e.first = at
		}
		if x.Metrics.Input.Bytes > 0 {
			e.readers++
			if x.Task.Locality == "NODE_LOCAL" || x.Task.Locality == "PROCESS_LOCAL" {
				e.local++
			}
		}
		if n := x.Metrics.Shuffle.Remote + x.Metrics.Shuffle.Local; n > 0 {
			s := e.stages[x.StageID]
			if s == nil {
				s = &shuffle{from: x.Task.Launch}
				e.stages[x.StageID] = s
			}
			s.bytes += n
			s.from, s.to = min(s.from, x.Task.Launch), max(s.to, x.Task.Finish)
		}
	}
	return e, lines.Err()
}
