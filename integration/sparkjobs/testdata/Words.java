import java.util.Arrays;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaSparkContext;
import scala.Tuple2;

/** Counts words: Words FILE WORD prints how often the word occurs. */
public class Words {
  public static void main(String[] args) {
    try (JavaSparkContext sc = new JavaSparkContext(new SparkConf().setAppName("words"))) {
      Map<String, Integer> counts = sc.textFile(args[0]).flatMap(line -> Arrays.asList(line.split(" ")).iterator())
          .mapToPair(word -> new Tuple2<>(word, 1)).reduceByKey(Integer::sum).collectAsMap();
      System.out.println("count=" + counts.get(args[1]));
    }
  }
}
