"""Counts the lines of a file in HDFS: count.py FILE. The driver stays for a while, as what it says of itself ends with it."""
import sys
import time

from pyspark import SparkContext

sc = SparkContext(appName="count")
print("lines=%d" % sc.textFile(sys.argv[1]).count())
print("a word on stderr", file=sys.stderr)
time.sleep(5)
sc.stop()
