// Command hdfs runs a real HDFS 3.4.2 on this machine in the foreground, for people: a NameNode and three DataNodes
// (node1 and node2 on /rack1, node3 on /rack2). It prints the configuration folder for clients and ends with Ctrl-C.
//
//	go run ./integration/hadoop/cmd/hdfs [-block-size 128] [-dir DIR] [-cache DIR]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"fairway/integration/hadoop"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hdfs:", err)
		os.Exit(1)
	}
}

func run() error {
	blockMiB := flag.Int64("block-size", 128, "block size in MiB")
	dir := flag.String("dir", "", "folder for data, conf and log (default: a temporary one, removed at the end)")
	cache := flag.String("cache", "", "folder for what is fetched (default: .cache at the root of the repository)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log, err := zap.NewDevelopment(zap.WithCaller(false))
	if err != nil {
		return err
	}
	in, err := hadoop.Fetch(ctx, *cache, log)
	if err != nil {
		return err
	}
	h, err := hadoop.StartHDFS(ctx, in, hadoop.HDFSOptions{Dir: *dir, BlockSize: *blockMiB << 20, Logger: log})
	if err != nil {
		return err
	}
	fmt.Printf("url %s\nexport HADOOP_CONF_DIR=%s\n", h.URL(), h.ConfDir)
	select {
	case <-ctx.Done():
		return h.Stop()
	case <-h.Done():
		return fmt.Errorf("HDFS ended by itself: see the log in %s", h.Dir)
	}
}
