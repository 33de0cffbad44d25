"""A task that says which GPU it has, and waits until the test lets it: gpu.py FOLDER."""
import os
import sys
import time

from pyspark import SparkContext, TaskContext

folder = sys.argv[1]


def task(_):
    with open(os.path.join(folder, "started-0"), "w"):
        pass
    end = time.time() + 300
    while not os.path.exists(os.path.join(folder, "open")):
        if time.time() > end:
            raise RuntimeError("nobody opened the gate")
        time.sleep(0.05)
    return TaskContext.get().resources()["gpu"].addresses[0]


sc = SparkContext(appName="gpu")
print("gpu=%s" % sc.parallelize(range(1), 1).map(task).first())
sc.stop()
