import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.File;
import java.io.PrintStream;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.security.UserGroupInformation;
import org.apache.hadoop.yarn.api.records.ApplicationAccessType;
import org.apache.hadoop.yarn.api.records.ApplicationId;
import org.apache.hadoop.yarn.api.records.ContainerId;
import org.apache.hadoop.yarn.api.records.NodeId;
import org.apache.hadoop.yarn.conf.YarnConfiguration;
import org.apache.hadoop.yarn.logaggregation.AggregatedLogFormat;
import org.apache.hadoop.yarn.logaggregation.LogCLIHelpers;
import org.apache.hadoop.yarn.logaggregation.filecontroller.LogAggregationFileControllerFactory;

/**
 * Asks Hadoop's own log aggregation. Each line of output begins with a word that the test looks for.
 * Arguments: root folder, user, application, node, folder with local logs, file to write, file of ours or -
 */
public class Logs {
  public static void main(String[] args) throws Exception {
    Configuration conf = new YarnConfiguration();
    conf.set("fs.defaultFS", "file:///");
    conf.set(YarnConfiguration.NM_REMOTE_APP_LOG_DIR, args[0]);
    String user = args[1];
    ApplicationId app = ApplicationId.fromString(args[2]);
    NodeId node = NodeId.fromString(args[3]);
    LogAggregationFileControllerFactory factory = new LogAggregationFileControllerFactory(conf);
    System.out.println("PATH " + factory.getFileControllerForWrite().getRemoteNodeLogFileForApp(app, user, node).toUri().getPath());
    write(conf, user, app, args[4], args[5]);
    if (!args[6].equals("-")) {
      read(conf, args[6]);
      LogCLIHelpers cli = new LogCLIHelpers();
      cli.setConf(conf);
      for (File c : containers(app, args[4])) {
        // What "yarn logs -containerId" does once it knows the application's owner.
        PrintStream out = System.out;
        ByteArrayOutputStream kept = new ByteArrayOutputStream();
        System.setOut(new PrintStream(kept, true));
        int code = cli.dumpAContainersLogs(app.toString(), c.getName(), node.toString(), user);
        System.setOut(out);
        System.out.println("CLI " + c.getName() + " " + code + " " + hash(kept.toByteArray(), kept.size())
            + " " + kept.toString().contains("LogType:stdout"));
      }
    }
  }

  static File[] containers(ApplicationId app, String dir) {
    File[] all = new File(dir, app.toString()).listFiles();
    Arrays.sort(all);
    return all;
  }

  static void write(Configuration conf, String user, ApplicationId app, String dir, String file) throws Exception {
    AggregatedLogFormat.LogWriter w = new AggregatedLogFormat.LogWriter();
    w.initialize(conf, new Path("file://" + file), UserGroupInformation.getCurrentUser());
    w.writeApplicationOwner(user);
    Map<ApplicationAccessType, String> acls = new TreeMap<>();
    acls.put(ApplicationAccessType.VIEW_APP, "ann,carl ops");
    acls.put(ApplicationAccessType.MODIFY_APP, " ");
    w.writeApplicationACLs(acls);
    for (File c : containers(app, dir)) {
      ContainerId id = ContainerId.fromString(c.getName());
      w.append(new AggregatedLogFormat.LogKey(id), new AggregatedLogFormat.LogValue(Arrays.asList(dir), id, user));
    }
    w.close();
  }

  static void read(Configuration conf, String file) throws Exception {
    AggregatedLogFormat.LogReader r = new AggregatedLogFormat.LogReader(conf, new Path("file://" + file));
    System.out.println("OWNER " + r.getApplicationOwner());
    Map<ApplicationAccessType, String> acls = r.getApplicationAcls();
    System.out.println("VIEW " + acls.get(ApplicationAccessType.VIEW_APP));
    System.out.println("MODIFY [" + acls.get(ApplicationAccessType.MODIFY_APP) + "]");
    AggregatedLogFormat.LogKey key = new AggregatedLogFormat.LogKey();
    DataInputStream in;
    while ((in = r.next(key)) != null) {
      while (true) {
        String name;
        try {
          name = in.readUTF();
        } catch (java.io.EOFException e) {
          break;
        }
        int size = Integer.parseInt(in.readUTF());
        byte[] b = new byte[size];
        in.readFully(b);
        System.out.println("FILE " + key + " " + name + " " + size + " " + hash(b, size));
      }
      key = new AggregatedLogFormat.LogKey();
    }
    r.close();
  }

  static int hash(byte[] b, int n) {
    int h = 1;
    for (int i = 0; i < n; i++) {
      h = 31 * h + b[i];
    }
    return h;
  }
}
