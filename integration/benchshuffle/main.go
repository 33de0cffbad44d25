package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"fairway/adapters/spark"
	"fairway/adapters/spark/sparktest"
	"fairway/adapters/spark/wire"
	"fairway/integration/report"
)

// The bars.
const (
	minGBs = 1.5       // 10^9 bytes a second
	maxRSS = 100 << 20 // bytes, the most that the server ever had
)

const (
	app      = "application_1700000000000_0001"
	maps     = 8
	reduces  = 64
	minBlock = 64 << 10
	maxBlock = 1 << 20
	subDirs  = 64
	ahead    = 4 // chunks that a connection has asked for and not read, as Spark does
)

type results struct {
	GBs         float64 `json:"gb_per_s"`
	RSS         int64   `json:"rss_bytes"`
	Connections int     `json:"connections"`
	Blocks      int64   `json:"blocks"`
	Seconds     float64 `json:"seconds"`
	CPU         float64 `json:"server_cpu_s_per_gb"`
}

func main() {
	out := flag.String("o", "build/results/bench-shuffle.json", "where to write the results")
	conns := flag.Int("connections", 64, "connections")
	length := flag.Duration("t", 5*time.Second, "how long to measure")
	serve := flag.String("serve", "", "be the server, of this folder")
	flag.Parse()
	var err error
	if *serve != "" {
		err = server(*serve)
	} else {
		err = run(*out, *conns, *length)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchshuffle:", err)
		os.Exit(1)
	}
}

// server serves until its input ends.
func server(dir string) error {
	s := spark.New(spark.Options{Listen: "127.0.0.1:0"})
	if err := s.Start(context.Background()); err != nil {
		return err
	}
	if err := s.InitApplication(app, "bench", -1, []byte{}, []string{dir}); err != nil {
		return err
	}
	fmt.Println(s.Port())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Stop()
}

// outputs writes maps of reduces partitions each, and says how long each is.
func outputs(dir string) ([maps][reduces]int, error) {
	var sizes [maps][reduces]int
	random := rand.New(rand.NewPCG(1, 2))
	for m := range sizes {
		index := binary.BigEndian.AppendUint64(nil, 0)
		var data []byte
		for r := range sizes[m] {
			n := minBlock + random.IntN(maxBlock-minBlock+1)
			sizes[m][r] = n
			data = append(data, make([]byte, n)...)
			index = binary.BigEndian.AppendUint64(index, uint64(len(data)))
		}
		for i := 0; i+4 <= len(data); i += 4096 {
			binary.LittleEndian.PutUint32(data[i:], random.Uint32())
		}
		for _, f := range []struct {
			name string
			b    []byte
		}{{"index", index}, {"data", data}} {
			path := sparktest.BlockPath([]string{dir}, subDirs, fmt.Sprintf("shuffle_0_%d_0.%s", m, f.name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return sizes, err
			}
			if err := os.WriteFile(path, f.b, 0o644); err != nil {
				return sizes, err
			}
		}
	}
	return sizes, nil
}

func run(out string, conns int, length time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "benchshuffle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sizes, err := outputs(filepath.Join(dir, "blockmgr"))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.CommandContext(ctx, self, "-serve", dir)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return err
	}
	text, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	defer func() {
		in.Close()
		_ = child.Wait()
	}()
	port, err := bufio.NewReader(text).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the server did not start: %w", err)
	}
	address := "127.0.0.1:" + strings.TrimSpace(port)
	c, err := sparktest.Dial(address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err = c.Call(&wire.RegisterExecutor{App: app, Exec: "1", Dirs: []string{filepath.Join(dir, "blockmgr")}, SubDirs: subDirs}); err != nil {
		return err
	}
	var bytes, blocks atomic.Int64
	begun := time.Now()
	until := begun.Add(length)
	g, ctx := errgroup.WithContext(ctx)
	for i := range conns {
		g.Go(func() error { return fetch(ctx, address, i, until, &sizes, &bytes, &blocks) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	took := time.Since(begun)
	rss, err := peak(child.Process.Pid)
	if err != nil {
		return err
	}
	in.Close()
	if err := child.Wait(); err != nil {
		return fmt.Errorf("the server: %w", err)
	}
	cpu := child.ProcessState.UserTime() + child.ProcessState.SystemTime()
	r := results{GBs: float64(bytes.Load()) / took.Seconds() / 1e9, RSS: rss, Connections: conns, Blocks: blocks.Load(), Seconds: took.Seconds()}
	r.CPU = cpu.Seconds() / (float64(bytes.Load()) / 1e9)
	if err := report.Write(out, r); err != nil {
		return err
	}
	fmt.Printf("%.2f GB/s (bar %.1f), %d MiB resident at most (bar %d), %d blocks in %.1f s, %.2f s of the server's cpu for a GB\n", r.GBs, minGBs, rss>>20, maxRSS>>20, r.Blocks, r.Seconds, r.CPU)
	if r.GBs < minGBs || rss > maxRSS {
		return errors.New("under the bar")
	}
	return nil
}

// fetch is one reducer: it opens a partition of every map and reads what it asked for, a few chunks ahead.
func fetch(ctx context.Context, address string, reduce int, until time.Time, sizes *[maps][reduces]int, bytes, blocks *atomic.Int64) error {
	c, err := sparktest.Dial(address)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, maxBlock)
	for time.Now().Before(until) && ctx.Err() == nil {
		reduce = (reduce + 1) % reduces
		m := &wire.FetchBlocks{App: app, Exec: "1"}
		for i := range int64(maps) {
			m.Maps, m.Reduces = append(m.Maps, i), append(m.Reduces, []int32{int32(reduce)})
		}
		h, err := c.Open(m)
		if err != nil {
			return err
		}
		for i := range h.Chunks + ahead {
			if i < h.Chunks {
				if err := c.Ask(h.Stream, i); err != nil {
					return err
				}
			}
			if at := i - ahead; at >= 0 {
				b, err := c.Take(h.Stream, at, buf)
				if err != nil {
					return err
				}
				if len(b) != sizes[at][reduce] {
					return fmt.Errorf("partition %d of map %d has %d bytes, want %d", reduce, at, len(b), sizes[at][reduce])
				}
				bytes.Add(int64(len(b)))
				blocks.Add(1)
			}
		}
	}
	return ctx.Err()
}

// peak is the most memory that a process ever had resident.
func peak(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmHWM")
}
