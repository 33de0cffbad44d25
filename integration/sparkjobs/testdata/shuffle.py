"""A shuffle that is read twice, the second time after all executors of the first have gone: shuffle.py PARTITIONS [FOLDER].

With a folder it leaves a file "left" there in between, and waits for the file "go"."""
import os
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
if len(sys.argv) > 2:
    with open(os.path.join(sys.argv[2], "left"), "w"):
        pass
    end = time.time() + 300
    while not os.path.exists(os.path.join(sys.argv[2], "go")):
        if time.time() > end:
            raise RuntimeError("nobody lets it go on")
        time.sleep(0.05)
print("values=%d" % grouped.map(lambda kv: len(list(kv[1]))).sum())
sc.stop()
