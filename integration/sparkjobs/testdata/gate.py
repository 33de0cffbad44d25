"""Tasks that wait until the test lets them: gate.py FOLDER TASKS [go].

The driver leaves a file "app-" with the application's id in the folder (on this machine), and each task one "started-"; they
wait for the file "open". With "go" the driver itself waits for the file "go" first."""
import os
import sys
import time
import uuid
from operator import add

from pyspark import SparkContext

folder, n = sys.argv[1], int(sys.argv[2])


def wait(name):
    end = time.time() + 300
    while not os.path.exists(os.path.join(folder, name)):
        if time.time() > end:
            raise RuntimeError("nobody opened the gate")
        time.sleep(0.05)


def leave(name):
    with open(os.path.join(folder, name), "w"):
        pass


def task(i):
    leave("started-%d-%s" % (i, uuid.uuid4().hex))
    wait("open")
    return i % 4, 1


sc = SparkContext(appName="gate")
leave("app-" + sc.applicationId)
if len(sys.argv) > 3:
    wait("go")
print("total=%d" % sum(v for _, v in sc.parallelize(range(n), n).map(task).reduceByKey(add, 2).collect()))
sc.stop()
