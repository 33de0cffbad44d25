"""Tasks that wait until the test lets them: gate.py FOLDER TASKS [go].

Each task leaves a file in the folder (on this machine) and waits for the file "open". With "go" the driver first says that
it is there, with a file "ready-" and the application's id, and waits for the file "go"."""
import os
import sys
import time
from operator import add

from pyspark import SparkContext, TaskContext

folder, n = sys.argv[1], int(sys.argv[2])


def wait(name):
    end = time.time() + 300
    while not os.path.exists(os.path.join(folder, name)):
        if time.time() > end:
            raise RuntimeError("nobody opened the gate")
        time.sleep(0.05)


def task(i):
    c = TaskContext.get()
    with open(os.path.join(folder, "started-%d-%d" % (i, c.taskAttemptId())), "w"):
        pass
    wait("open")
    return i % 4, 1


sc = SparkContext(appName="gate")
if len(sys.argv) > 3:
    with open(os.path.join(folder, "ready-" + sc.applicationId), "w"):
        pass
    wait("go")
print("total=%d" % sum(v for _, v in sc.parallelize(range(n), n).map(task).reduceByKey(add, 2).collect()))
sc.stop()
