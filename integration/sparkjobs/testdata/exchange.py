"""A shuffle of tasks that take a second each: exchange.py PARTITIONS."""
import sys
import time

from pyspark import SparkContext


def slowly(rows):
    time.sleep(1)
    return rows


sc = SparkContext(appName="exchange")
n = int(sys.argv[1])
print("groups=%d" % sc.parallelize(range(60000), n).mapPartitions(slowly).map(lambda x: (x % 600, str(x))).groupByKey(n).count())
sc.stop()
