import java.util.Arrays;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import scala.Tuple2;

/** What benchspark runs: start, wordcount IN OUT, or sort IN OUT PARTITIONS. */
public class Bench {
  public static void main(String[] args) {
    try (JavaSparkContext sc = new JavaSparkContext(new SparkConf().setAppName("bench " + args[0]))) {
      switch (args[0]) {
        case "start":
          sc.parallelize(Arrays.asList(1), 1).count();
          return;
        case "wordcount":
          sc.textFile(args[1])
              .flatMap(line -> Arrays.asList(line.split(" ")).iterator())
              .mapToPair(word -> new Tuple2<>(word, 1L))
              .reduceByKey(Long::sum)
              .map(pair -> pair._1() + "\t" + pair._2())
              .saveAsTextFile(args[2]);
          return;
        case "sort":
          JavaRDD<String> lines = sc.textFile(args[1]);
          lines.sortBy(line -> line, true, Integer.parseInt(args[3])).saveAsTextFile(args[2]);
          return;
        default:
          throw new IllegalArgumentException("unknown job " + args[0]);
      }
    }
  }
}
