package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"fairway/integration/spark"
)

// sparkCount is a word count as users of PySpark write it: sparkCount IN OUT.
const sparkCount = `import sys
from operator import add
from pyspark import SparkContext

sc = SparkContext(appName="word count")
counts = sc.textFile(sys.argv[1]).flatMap(lambda line: line.split()).map(lambda word: (word, 1)).reduceByKey(add)
counts.map(lambda count: "%s\t%d" % count).saveAsTextFile(sys.argv[2])
`

// fetchSpark gives nil, and says so, where Spark is left out as there is no Python for it.
func fetchSpark(ctx context.Context, cache string, step func(string, ...any)) (*spark.Install, error) {
	in, err := spark.Fetch(ctx, cache, spark.Version, nil)
	if errors.Is(err, spark.ErrNoPython) {
		step("leaving PySpark out: %v", err)
		return nil, nil
	}
	return &in, err
}

// sparkWords counts words with Spark's own client, ApplicationMaster and an executor, unmodified.
func sparkWords(ctx context.Context, in *spark.Install, confDir, from, to string) (spark.Result, error) {
	dir, err := os.MkdirTemp("", "fairway-demo-")
	if err != nil {
		return spark.Result{}, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "wordcount.py")
	if err := os.WriteFile(program, []byte(sparkCount), 0o644); err != nil {
		return spark.Result{}, err
	}
	c := in.Client(confDir, "")
	for k, v := range map[string]string{
		"spark.driver.extraJavaOptions": quick, "spark.yarn.am.extraJavaOptions": quick, "spark.executor.extraJavaOptions": quick,
		"spark.driver.memory": "512m", "spark.yarn.am.memory": "512m", "spark.executor.memory": "512m",
		"spark.executor.cores": "1", "spark.executor.instances": "1", "spark.ui.showConsoleProgress": "false",
	} {
		c.Conf[k] = v
	}
	res, err := c.Submit(ctx, "--queue", third, program, from, to)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, res.Stderr[max(0, len(res.Stderr)-4000):])
	}
	return res, err
}
