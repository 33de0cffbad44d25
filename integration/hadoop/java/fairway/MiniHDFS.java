package fairway;

import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.DFSTestUtil;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.MiniDFSCluster;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.SafeModeAction;
import org.apache.hadoop.hdfs.server.datanode.DataNode;
import org.apache.hadoop.hdfs.server.namenode.NameNode;
import org.apache.hadoop.metrics2.lib.DefaultMetricsSystem;

/**
 * A NameNode and DataNodes in one JVM, driven over standard input by the Go package fairway/integration/hadoop.
 *
 * <p>Arguments: folder, key=value settings, "--", then host=rack for each DataNode. Answers are lines on standard output
 * that start with "fairway "; all else goes to standard error.
 */
public final class MiniHDFS {
  private final PrintStream out;
  private final Map<String, MiniDFSCluster.DataNodeProperties> stopped = new HashMap<>();
  private MiniDFSCluster cluster;

  private MiniHDFS(PrintStream out) {
    this.out = out;
  }

  public static void main(String[] args) {
    BlockingQueue<String> commands = Tied.watch(0);
    PrintStream out = System.out;
    System.setOut(System.err);
    MiniHDFS hdfs = new MiniHDFS(out);
    try {
      hdfs.start(args);
      hdfs.serve(commands);
    } catch (Throwable t) {
      t.printStackTrace();
      hdfs.say("failed " + t);
      Runtime.getRuntime().halt(1);
    }
    Runtime.getRuntime().halt(0);
  }

  private void say(String line) {
    out.println("fairway " + line.replace('\n', ' '));
    out.flush();
  }

  private void start(String[] args) throws Exception {
    Configuration conf = new HdfsConfiguration();
    int i = 1;
    for (; !args[i].equals("--"); i++) {
      int eq = args[i].indexOf('=');
      conf.set(args[i].substring(0, eq), args[i].substring(eq + 1));
    }
    int count = args.length - i - 1;
    String[] hosts = new String[count];
    String[] racks = new String[count];
    for (int d = 0; d < count; d++) {
      String[] pair = args[i + 1 + d].split("=", 2);
      hosts[d] = pair[0];
      racks[d] = pair[1];
    }
    String address = conf.get("fairway.address");
    if (address != null) {
      say("ready " + startOn(address, conf, args[0], hosts));
      return;
    }
    cluster =
        new MiniDFSCluster.Builder(conf, new File(args[0]))
            .numDataNodes(count)
            .hosts(hosts)
            .racks(racks)
            .storagesPerDatanode(1)
            .build();
    cluster.waitActive();
    open(cluster.getFileSystem());
    say("ready " + cluster.getNameNodePort());
  }

  /** Starts daemons that listen on one address, which MiniDFSCluster cannot; the commands are not for these. */
  private static int startOn(String address, Configuration conf, String dir, String[] hosts)
      throws Exception {
    DefaultMetricsSystem.setMiniClusterMode(true);
    conf.set("fs.defaultFS", "hdfs://" + address + ":0");
    conf.set("dfs.namenode.http-address", address + ":0");
    conf.set("dfs.namenode.name.dir", new File(dir, "name").toURI().toString());
    DFSTestUtil.formatNameNode(conf);
    NameNode names = NameNode.createNameNode(new String[0], conf);
    InetSocketAddress at = names.getNameNodeAddress();
    conf.set("fs.defaultFS", "hdfs://" + address + ":" + at.getPort());
    for (int d = 0; d < hosts.length; d++) {
      Configuration own = new HdfsConfiguration(conf);
      own.set("dfs.datanode.data.dir", new File(dir, "data" + d).toURI().toString());
      own.set("dfs.datanode.hostname", hosts[d]);
      for (String port : new String[] {"address", "http.address", "ipc.address"}) {
        own.set("dfs.datanode." + port, address + ":0");
      }
      DataNode.createDataNode(new String[0], own);
    }
    while (names.getNamesystem().getNumLiveDataNodes() < hosts.length) {
      Thread.sleep(50);
    }
    open(FileSystem.get(conf));
    return at.getPort();
  }

  /** Makes the folders that every user writes to. */
  private static void open(FileSystem fs) throws IOException {
    for (String shared : new String[] {"/tmp", "/user"}) {
      fs.mkdirs(new Path(shared));
      fs.setPermission(new Path(shared), new FsPermission((short) 01777));
    }
  }

  private void serve(BlockingQueue<String> commands) throws InterruptedException {
    while (true) {
      String line = commands.take().trim();
      if (line.equals("exit")) {
        return;
      }
      int space = line.indexOf(' ');
      try {
        command(line.substring(0, space), line.substring(space + 1));
        say("ok");
      } catch (Throwable t) {
        t.printStackTrace();
        say("error " + t);
      }
    }
  }

  private void command(String verb, String argument) throws Exception {
    switch (verb) {
      case "stop":
        MiniDFSCluster.DataNodeProperties node = cluster.stopDataNode(indexOf(argument));
        stopped.put(argument, node);
        cluster.setDataNodeDead(node.getDatanode().getDatanodeId());
        return;
      case "start":
        if (!stopped.containsKey(argument)) {
          throw new IllegalArgumentException(argument + " is not stopped");
        }
        if (!cluster.restartDataNode(stopped.remove(argument), true)) {
          throw new IllegalStateException(argument + " did not start");
        }
        cluster.waitActive();
        return;
      case "corrupt": // every replica, so that no reader finds a good one
        int hit =
            cluster.corruptBlockOnDataNodes(
                DFSTestUtil.getFirstBlock(cluster.getFileSystem(), new Path(argument)));
        if (hit == 0) {
          throw new IllegalStateException("no replica of " + argument + " found");
        }
        return;
      case "safemode":
        cluster
            .getNameNode()
            .getRpcServer()
            .setSafeMode(
                argument.equals("on")
                    ? SafeModeAction.SAFEMODE_ENTER
                    : SafeModeAction.SAFEMODE_LEAVE,
                false);
        return;
      default:
        throw new IllegalArgumentException("unknown command " + verb);
    }
  }

  private int indexOf(String host) {
    int index = 0;
    for (DataNode node : cluster.getDataNodes()) {
      if (node.getDatanodeId().getHostName().equals(host)) {
        return index;
      }
      index++;
    }
    throw new IllegalArgumentException("no running DataNode " + host);
  }
}
