import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.lang.reflect.UndeclaredThrowableException;
import java.net.InetSocketAddress;
import java.security.PrivilegedExceptionAction;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.io.DataOutputBuffer;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.io.WritableUtils;
import org.apache.hadoop.net.NetUtils;
import org.apache.hadoop.security.Credentials;
import org.apache.hadoop.security.SecurityUtil;
import org.apache.hadoop.security.UserGroupInformation;
import org.apache.hadoop.security.token.Token;
import org.apache.hadoop.security.token.TokenIdentifier;
import org.apache.hadoop.yarn.api.ApplicationClientProtocol;
import org.apache.hadoop.yarn.api.ApplicationMasterProtocol;
import org.apache.hadoop.yarn.api.ContainerManagementProtocol;
import org.apache.hadoop.yarn.api.protocolrecords.GetApplicationReportRequest;
import org.apache.hadoop.yarn.api.protocolrecords.GetClusterMetricsRequest;
import org.apache.hadoop.yarn.api.protocolrecords.GetContainerStatusesRequest;
import org.apache.hadoop.yarn.api.protocolrecords.GetNewApplicationRequest;
import org.apache.hadoop.yarn.api.protocolrecords.RegisterApplicationMasterRequest;
import org.apache.hadoop.yarn.api.protocolrecords.RegisterApplicationMasterResponse;
import org.apache.hadoop.yarn.api.protocolrecords.StopContainersRequest;
import org.apache.hadoop.yarn.api.records.ApplicationAttemptId;
import org.apache.hadoop.yarn.api.records.ApplicationId;
import org.apache.hadoop.yarn.api.records.ContainerId;
import org.apache.hadoop.yarn.api.records.NodeId;
import org.apache.hadoop.yarn.api.records.Priority;
import org.apache.hadoop.yarn.api.records.Resource;
import org.apache.hadoop.yarn.client.ClientRMProxy;
import org.apache.hadoop.yarn.client.api.YarnClient;
import org.apache.hadoop.yarn.client.api.YarnClientApplication;
import org.apache.hadoop.yarn.conf.YarnConfiguration;
import org.apache.hadoop.yarn.ipc.YarnRPC;
import org.apache.hadoop.yarn.security.AMRMTokenIdentifier;
import org.apache.hadoop.yarn.security.ContainerTokenIdentifier;
import org.apache.hadoop.yarn.security.NMTokenIdentifier;
import org.apache.hadoop.yarn.security.client.ClientToAMTokenIdentifier;
import org.apache.hadoop.yarn.security.client.RMDelegationTokenIdentifier;

/** Calls a server by Hadoop's own clients and prints what comes back: a name, a tab and a value per line. */
public class Probe {
  static void say(String name, String value) {
    synchronized (System.out) {
      System.out.println(name + "\t" + value.replace("\n", "\\n"));
    }
  }

  /** Prints what a call gives, or the class and first line of what it throws. */
  static void probe(String name, Callable<String> f) {
    try {
      say(name, f.call());
    } catch (Throwable t) {
      while (t instanceof UndeclaredThrowableException && t.getCause() != null) {
        t = t.getCause();
      }
      String m = String.valueOf(t.getMessage()).split("\n")[0];
      say(name, "!" + t.getClass().getName() + "|" + m);
    }
  }

  static String hex(byte[] b) {
    StringBuilder s = new StringBuilder();
    for (byte x : b) {
      s.append(String.format("%02x", x));
    }
    return s.toString();
  }

  static byte[] bytes(TokenIdentifier id) throws Exception {
    DataOutputBuffer out = new DataOutputBuffer();
    id.write(out);
    return Arrays.copyOf(out.getData(), out.getLength());
  }

  static Token<TokenIdentifier> token(String url, InetSocketAddress service) throws Exception {
    Token<TokenIdentifier> t = new Token<>();
    t.decodeFromUrlString(url);
    SecurityUtil.setTokenService(t, service);
    return t;
  }

  static UserGroupInformation user(String name, Token<?>... tokens) {
    UserGroupInformation u = UserGroupInformation.createRemoteUser(name);
    for (Token<?> t : tokens) {
      u.addToken(t);
    }
    return u;
  }

  @SuppressWarnings("unchecked")
  static <P> P direct(Class<P> protocol, InetSocketAddress to, Configuration conf, UserGroupInformation as) throws Exception {
    return as.doAs((PrivilegedExceptionAction<P>) () -> (P) YarnRPC.create(conf).getProxy(protocol, to, conf));
  }

  static String register(ApplicationMasterProtocol p) throws Exception {
    RegisterApplicationMasterResponse r = p.registerApplicationMaster(RegisterApplicationMasterRequest.newInstance("localhost", 1, ""));
    return r.getQueue();
  }

  static String report(ApplicationClientProtocol p, int id) throws Exception {
    return p.getApplicationReport(GetApplicationReportRequest.newInstance(ApplicationId.newInstance(1, id))).getApplicationReport().getUser();
  }

  static Configuration conf(String... pairs) {
    Configuration c = new YarnConfiguration();
    c.setBoolean(YarnConfiguration.TIMELINE_SERVICE_ENABLED, false);
    c.setInt("ipc.client.connect.max.retries", 0);
    for (int i = 0; i < pairs.length; i += 2) {
      c.set(pairs[i], pairs[i + 1]);
    }
    return c;
  }

  public static void main(String[] a) throws Exception {
    InetSocketAddress simple = NetUtils.createSocketAddr(a[0]);
    InetSocketAddress both = NetUtils.createSocketAddr(a[1]);
    InetSocketAddress only = NetUtils.createSocketAddr(a[2]);
    String good = a[3];
    String wrong = a[4];
    String foreign = a[5];
    String delegation = a[6];
    String nm = a[7];
    File dir = new File(a[8]);
    Configuration conf = conf();

    // Who calls.
    for (Object[] c : new Object[][] {
      {"createApplication", simple, user("alice")},
      {"createApplication, foreign token, simple port", simple, user("alice", token(foreign, simple))},
      {"createApplication, port with tokens", both, user("alice")},
      {"createApplication, foreign token, port with tokens", both, user("alice", token(foreign, both))},
      {"createApplication, delegation token", both, user("bob", token(delegation, both))},
      {"createApplication, proxy user", both, UserGroupInformation.createProxyUser("alice", user("oozie"))},
      {"createApplication, proxy user refused", both, UserGroupInformation.createProxyUser("alice", user("mallory"))},
      {"createApplication, token port", only, user("alice")},
    }) {
      InetSocketAddress to = (InetSocketAddress) c[1];
      probe((String) c[0], () -> ((UserGroupInformation) c[2]).doAs((PrivilegedExceptionAction<String>) () -> {
        YarnClient y = YarnClient.createYarnClient();
        y.init(conf(YarnConfiguration.RM_ADDRESS, to.getAddress().getHostAddress() + ":" + to.getPort(), "yarn.resourcemanager.connect.max-wait.ms", "3000", "yarn.resourcemanager.connect.retry-interval.ms", "500"));
        y.start();
        try {
          YarnClientApplication app = y.createApplication();
          return app.getNewApplicationResponse().getApplicationId() + " " + app.getNewApplicationResponse().getMaximumResourceCapability().getMemorySize()
              + " " + report(direct(ApplicationClientProtocol.class, to, conf, UserGroupInformation.getCurrentUser()), 0);
        } finally {
          y.stop();
        }
      }));
    }

    // A master by its token.
    Configuration masters = conf(YarnConfiguration.RM_SCHEDULER_ADDRESS, a[2]);
    for (Object[] c : new Object[][] {
      {"master", user("appattempt_1700000000000_0007_000001", token(good, only))},
      {"master, another name of its user", user("whoever", token(good, only))},
      {"master, wrong password", user("m1", token(wrong, only))},
      {"master, foreign token of the kind", user("m2", token(foreign, only))},
      {"master, no token", user("m3")},
    }) {
      probe((String) c[0], () -> {
        long begin = System.nanoTime();
        try {
          return ((UserGroupInformation) c[1]).doAs((PrivilegedExceptionAction<String>) () -> register(ClientRMProxy.createRMProxy(masters, ApplicationMasterProtocol.class)));
        } finally {
          say(c[0] + ", seconds", String.valueOf((System.nanoTime() - begin) / 1000000000L));
        }
      });
    }
    probe("agent", () -> {
      direct(ContainerManagementProtocol.class, only, conf, user("appattempt_1700000000000_0007_000001", token(nm, only))).stopContainers(StopContainersRequest.newInstance(new ArrayList<>()));
      return "ok";
    });
    probe("agent, unknown method", () -> {
      direct(ContainerManagementProtocol.class, only, conf, user("appattempt_1700000000000_0007_000001", token(nm, only))).getContainerStatuses(GetContainerStatusesRequest.newInstance(new ArrayList<>()));
      return "ok";
    });

    // What arrives of exceptions.
    ApplicationClientProtocol p = direct(ApplicationClientProtocol.class, simple, conf, user("alice"));
    for (int i = 1; i <= Integer.parseInt(a[9]); i++) {
      int id = i;
      probe("exception " + i, () -> report(p, id));
    }
    probe("unknown method", () -> p.getClusterMetrics(GetClusterMetricsRequest.newInstance()).toString());
    probe("unknown protocol", () -> register(direct(ApplicationMasterProtocol.class, simple, conf, user("alice"))));
    probe("large answer", () -> String.valueOf(p.getApplicationReport(GetApplicationReportRequest.newInstance(ApplicationId.newInstance(2, 0))).getApplicationReport().getDiagnostics().length()));

    // A resource manager that is not yet ready: YARN's own proxy retries until it is.
    for (int i : new int[] {1, 2}) {
      Configuration retry = conf(YarnConfiguration.RM_ADDRESS, a[0], "yarn.resourcemanager.connect.max-wait.ms", "20000", "yarn.resourcemanager.connect.retry-interval.ms", "100");
      probe("retried " + i, () -> user("retry" + i).doAs((PrivilegedExceptionAction<String>) () -> {
        ApplicationClientProtocol q = ClientRMProxy.createRMProxy(retry, ApplicationClientProtocol.class);
        return q.getApplicationReport(GetApplicationReportRequest.newInstance(ApplicationId.newInstance(3, i))).getApplicationReport().getUser();
      }));
    }

    // A call that lasts longer than the client's patience for silence: pings keep it.
    Configuration pings = conf("ipc.client.ping", "true", "ipc.ping.interval", "500", "ipc.client.rpc-timeout.ms", "0");
    probe("pings", () -> direct(ApplicationClientProtocol.class, simple, pings, user("ping"))
        .getApplicationReport(GetApplicationReportRequest.newInstance(ApplicationId.newInstance(4, 0))).getApplicationReport().getUser());

    // Many calls on one connection.
    probe("many", () -> {
      ExecutorService pool = Executors.newFixedThreadPool(64);
      List<Future<String>> all = new ArrayList<>();
      for (int i = 0; i < 2000; i++) {
        int id = i;
        all.add(pool.submit(() -> p.getApplicationReport(GetApplicationReportRequest.newInstance(ApplicationId.newInstance(5, id))).getApplicationReport().getName()));
      }
      int right = 0;
      for (int i = 0; i < all.size(); i++) {
        right += all.get(i).get().equals("n" + i) ? 1 : 0;
      }
      pool.shutdown();
      return String.valueOf(right);
    });

    // Tokens, credentials and identifiers.
    ApplicationAttemptId attempt = ApplicationAttemptId.newInstance(ApplicationId.newInstance(1700000000000L, 7), 1);
    probe("amrm", () -> hex(bytes(new AMRMTokenIdentifier(attempt, 42))));
    probe("nm", () -> hex(bytes(new NMTokenIdentifier(attempt, NodeId.newInstance("node1", 45454), "alice", 43))));
    probe("client", () -> hex(bytes(new ClientToAMTokenIdentifier(attempt, "alice"))));
    probe("delegation", () -> {
      RMDelegationTokenIdentifier d = new RMDelegationTokenIdentifier(new Text("alice"), new Text("oozie"), new Text("hue"));
      d.setIssueDate(1700000000001L);
      d.setMaxDate(1700000000002L);
      d.setSequenceNumber(3);
      d.setMasterKeyId(4);
      return hex(bytes(d));
    });
    probe("container", () -> hex(bytes(new ContainerTokenIdentifier(ContainerId.newContainerId(attempt, (5L << 40) | 2), "node1:45454", "alice", Resource.newInstance(2048, 3),
        1700000600000L, 44, 1699999999999L, Priority.newInstance(20), 1700000000500L))));
    probe("our container token", () -> {
      ContainerTokenIdentifier c = new ContainerTokenIdentifier();
      c.readFields(new DataInputStream(new ByteArrayInputStream(java.nio.file.Files.readAllBytes(new File(dir, "container").toPath()))));
      return c.getContainerID() + " " + c.getNmHostAddress() + " " + c.getApplicationSubmitter() + " " + c.getResource() + " " + c.getExpiryTimeStamp() + " " + c.getMasterKeyId()
          + " " + c.getRMIdentifier() + " " + c.getPriority() + " " + c.getCreationTime() + " " + c.getContainerType() + " " + c.getExecutionType() + " " + c.getAllocationRequestId();
    });
    for (String s : new String[] {"container_e07_1700000000000_0007_01_000002", "container_1700000000000_12345_123_1234567"}) {
      probe(s, () -> ContainerId.fromString(s).getContainerId() + " " + ContainerId.fromString(s));
    }
    probe("our credentials", () -> {
      Credentials c = Credentials.readTokenStorageFile(new File(dir, "credentials"), conf);
      Token<?> t = c.getToken(new Text(""));
      return c.numberOfTokens() + " " + t.getKind() + " " + t.getService() + " " + hex(t.getIdentifier()) + " " + hex(t.getPassword()) + " " + hex(c.getSecretKey(new Text("MapReduceShuffleToken")));
    });
    Credentials mine = new Credentials();
    mine.addToken(new Text("alias é"), new Token<>(new byte[] {1, 2}, new byte[300], new Text("kind"), new Text("10.0.0.1:8032")));
    mine.addToken(new Text(""), new Token<>(new byte[0], new byte[0], new Text("K2"), new Text("")));
    mine.addSecretKey(new Text("secret"), new byte[] {9, 8, 7});
    for (Credentials.SerializedFormat f : Credentials.SerializedFormat.values()) {
      try (DataOutputStream out = new DataOutputStream(new FileOutputStream(new File(dir, "java-" + f)))) {
        mine.writeTokenStorageToStream(out, f);
      }
    }
    probe("numbers", () -> {
      DataOutputBuffer out = new DataOutputBuffer();
      for (int bits = 0; bits < 64; bits++) {
        WritableUtils.writeVLong(out, 1L << bits);
        WritableUtils.writeVLong(out, (1L << bits) - 1);
        WritableUtils.writeVLong(out, -(1L << bits));
      }
      return hex(Arrays.copyOf(out.getData(), out.getLength()));
    });
    System.out.flush();
    System.exit(0);
  }
}
