package fairway;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Ties a JVM to the process that started it: at the end of standard input the JVM ends, whatever else it does. As a main
 * class it runs another one that way: "fairway.Tied CLASS ARGS...".
 */
public final class Tied {
  private static final long GRACE_MILLIS = 8_000;

  private Tied() {}

  public static void main(String[] args) throws Throwable {
    watch(GRACE_MILLIS);
    String[] rest = new String[args.length - 1];
    System.arraycopy(args, 1, rest, 0, rest.length);
    Class.forName(args[0]).getMethod("main", String[].class).invoke(null, (Object) rest);
  }

  /**
   * Returns the lines of standard input. At its end the JVM exits: orderly if that takes at most graceMillis, else by
   * halt; 0 halts at once.
   */
  static BlockingQueue<String> watch(long graceMillis) {
    BlockingQueue<String> lines = new LinkedBlockingQueue<>();
    Thread reader =
        new Thread(
            () -> {
              BufferedReader in =
                  new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
              try {
                for (String line = in.readLine(); line != null; line = in.readLine()) {
                  lines.add(line);
                }
              } catch (IOException e) {
                // As good as the end.
              }
              if (graceMillis > 0) {
                Thread orderly = new Thread(() -> System.exit(0), "orderly exit");
                orderly.setDaemon(true);
                orderly.start();
                try {
                  orderly.join(graceMillis);
                } catch (InterruptedException e) {
                  // Nobody interrupts this thread; halt all the same.
                }
              }
              Runtime.getRuntime().halt(0);
            },
            "parent watch");
    reader.setDaemon(true);
    reader.start();
    return lines;
  }
}
