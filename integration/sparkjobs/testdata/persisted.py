"""Blocks of an RDD on disk that are read after all executors that wrote them have gone: persisted.py PARTITIONS."""
import sys
import time

from pyspark import SparkContext, StorageLevel

sc = SparkContext(appName="persisted")
n = int(sys.argv[1])
computed = sc.accumulator(0)


def compute(x):
    computed.add(1)
    return x * 3


rdd = sc.parallelize(range(2000), n).map(compute).persist(StorageLevel.DISK_ONLY)
print("first=%d" % rdd.sum())
end = time.time() + 90
while sc._jsc.sc().getExecutorMemoryStatus().size() > 1 and time.time() < end:
    time.sleep(0.2)
print("left=%d" % (sc._jsc.sc().getExecutorMemoryStatus().size() - 1))
print("second=%d" % rdd.sum())
print("computed=%d" % computed.value)
sc.stop()
