"""What the user adds reaches driver and tasks: files.py."""
import single
from packaged import inner
from pyspark import SparkContext

sc = SparkContext(appName="files")


def look(_):
    import single as s
    from packaged import inner as i
    with open("bundle/inner/deep.txt") as f:
        deep = f.read().strip()
    with open("side.txt") as f:
        side = f.read().strip()
    return "%s,%s,%s,%s" % (s.WORD, i.WORD, deep, side)


print("driver=%s,%s" % (single.WORD, inner.WORD))
print("tasks=%s" % ";".join(sorted(set(sc.parallelize(range(2), 2).map(look).collect()))))
sc.stop()
