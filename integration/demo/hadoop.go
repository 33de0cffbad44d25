package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"fairway/frameworks/storage"
	"fairway/integration/cluster"
	"fairway/integration/hadoop"
	"fairway/integration/spark"
	"fairway/integration/text"
)

// quick are options of Java machines that live for seconds.
const quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

// unmodified runs Apache Hadoop's own wordcount, with its own client, ApplicationMaster and tasks, beside the native one and,
// in a third role, one in PySpark (nil: it is left out), all on the same file, and checks them.
func unmodified(ctx context.Context, c *cluster.Cluster, in hadoop.Install, engine *spark.Install, confDir string, fs storage.FS, step func(string, ...any)) (bool, error) {
	want, err := text.Write(ctx, fs, "/demo/small", 1, 3*blockSize/2, blockSize)
	if err != nil {
		return false, err
	}
	if err := fs.Mkdir(ctx, "/tmp/hadoop-yarn/staging", os.ModeSticky|0o777); err != nil {
		return false, err
	}
	outs := []string{"/demo/out-hadoop", "/demo/out-beside"}
	beside := ""
	if engine != nil {
		outs, beside = append(outs, "/demo/out-spark"), " and one in PySpark (unmodified too)"
	}
	step("Hadoop's own wordcount (its client, ApplicationMaster and tasks, unmodified) beside the native one%s", beside)
	var hadoopTook, nativeTook, sparkTook time.Duration
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		client := in.Client(confDir, "")
		client.JVM = append(client.JVM, strings.Fields(quick)...)
		res, err := client.RunJob(gctx, in.ExamplesJar(), "wordcount", "-Dmapreduce.job.queuename="+second, "-Dmapreduce.map.java.opts="+quick,
			"-Dmapreduce.reduce.java.opts="+quick, "-Dyarn.app.mapreduce.am.command-opts="+quick, "/demo/small", "/demo/out-hadoop")
		hadoopTook = res.Took
		return err
	})
	g.Go(func() error {
		j, err := submit(gctx, c, "wordcount", "hdfs:///demo/small", "hdfs:///demo/out-beside", "--role", first)
		if err == nil {
			nativeTook = time.Duration(j.FinishedUnixNanos - j.SubmittedUnixNanos)
		}
		return err
	})
	if engine != nil {
		g.Go(func() error {
			res, err := sparkWords(gctx, engine, confDir, "/demo/small", "/demo/out-spark")
			sparkTook = res.Took
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	jobs, err := c.Run(ctx, "jobs")
	if err != nil {
		return false, err
	}
	fmt.Print(jobs)
	right := true
	for _, out := range outs {
		got, err := text.ReadCounts(ctx, fs, out)
		if err != nil {
			return false, err
		}
		if bad := text.Differences(want, got); len(bad) > 0 {
			right = false
			step("%s differs in %d words: %s", out, len(bad), strings.Join(bad[:min(3, len(bad))], "; "))
		}
	}
	took := fmt.Sprintf("Hadoop's took %.1f s, the native one %.1f s", hadoopTook.Seconds(), nativeTook.Seconds())
	if engine != nil {
		took += fmt.Sprintf(", PySpark's %.1f s", sparkTook.Seconds())
	}
	step("%s; all are right: %v", took, right)
	return right, nil
}

// hadoopConf writes the configuration of Hadoop's client, of which the cluster is told too.
func hadoopConf(in hadoop.Install, dfs *hadoop.HDFS, y cluster.YARN) (string, error) {
	dir := filepath.Join(dfs.Dir, "hadoop-conf")
	return dir, in.ClientConf(dir, dfs, y.Addresses())
}
