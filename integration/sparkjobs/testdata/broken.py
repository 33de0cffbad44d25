"""A driver with an error."""
from pyspark import SparkContext

sc = SparkContext(appName="broken")
raise ValueError("deliberate error in the driver")
