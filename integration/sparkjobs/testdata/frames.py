"""Data frames on text in HDFS: frames.py FOLDER. Prints name=value lines, which the test knows beforehand."""
import sys

import pandas as pd
from pyspark.sql import SparkSession, functions as F

base = sys.argv[1]
spark = SparkSession.builder.appName("frames").getOrCreate()
sc = spark.sparkContext


def stages(group):
    """The stages of the jobs of a group."""
    t = sc.statusTracker()
    return ",".join(str(s) for s in sorted(s for j in t.getJobIdsForGroup(group) for s in t.getJobInfo(j).stageIds))


# Group-by on text, a partition for each block.
sc.setJobGroup("read", "read")
words = (spark.read.text(base + "/words")
         .select(F.explode(F.split("value", " ")).alias("word")).where("word <> ''"))
counts = words.groupBy("word").count()
table = {r["word"]: r["count"] for r in counts.collect()}
print("words=%d" % sum(table.values()))
print("distinct=%d" % len(table))
print("alpha=%d" % table["alpha"])
print("read_stages=" + stages("read"))

# A join with a table of text.
sc.setJobGroup("join", "join")
names = spark.read.csv(base + "/names", schema="word string, name string")
joined = counts.join(names, "word").orderBy("word").collect()
print("join=" + ";".join("%s:%s:%d" % (r["word"], r["name"], r["count"]) for r in joined))
spark.conf.set("spark.sql.autoBroadcastJoinThreshold", -1)
print("sortmerge=%d" % counts.join(names, "word").count())

# Parquet, partitioned by a column.
(spark.range(1000).withColumn("part", F.col("id") % 4).write.partitionBy("part").mode("overwrite").parquet(base + "/parquet"))
back = spark.read.parquet(base + "/parquet")
print("parquet=%d" % back.count())
print("part=%d" % back.where("part = 3").agg(F.sum("id")).first()[0])

# The second pass over a cached RDD finds it in the executors.
lines = sc.textFile(base + "/words").cache()
lines.count()
sc.setJobGroup("cached", "cached")
print("lines=%d" % lines.count())
print("cached_stages=" + stages("cached"))

# A thousand tiny tasks.
sc.setJobGroup("tiny", "tiny")
print("tiny=%d" % spark.range(1000, numPartitions=1000).agg(F.sum("id")).first()[0])
print("tiny_stages=" + stages("tiny"))
sc.setJobGroup("arrow", "arrow")


# Functions on pandas, which Arrow carries.
@F.pandas_udf("long")
def twice(x: pd.Series) -> pd.Series:
    return x * 2


print("arrow=%d" % spark.range(1000).select(twice("id").alias("x")).agg(F.sum("x")).first()[0])


def shout(batches):
    for b in batches:
        b["word"] = b["word"].str.upper()
        yield b


print("map=%d" % counts.mapInPandas(shout, "word string, count long").where("word = 'ALPHA'").first()["count"])
spark.stop()
