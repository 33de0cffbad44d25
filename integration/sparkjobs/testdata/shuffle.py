"""A shuffle that is read twice, the second time after all executors of the first have gone: shuffle.py PARTITIONS."""
import sys
import time

from pyspark import SparkContext

sc = SparkContext(appName="shuffle")
n = int(sys.argv[1])
grouped = sc.parallelize(range(60000), n).map(lambda x: (x % 600, str(x) * 20)).groupByKey(n)
print("groups=%d" % grouped.count())


def executors():
    return sc._jsc.sc().getExecutorMemoryStatus().size() - 1  # the driver is one of them


end = time.time() + 90
while executors() > 0 and time.time() < end:
    time.sleep(0.2)
print("left=%d" % executors())
print("values=%d" % grouped.map(lambda kv: len(list(kv[1]))).sum())
sc.stop()
