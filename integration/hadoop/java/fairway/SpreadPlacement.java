package fairway;

import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.hadoop.hdfs.AddBlockFlag;
import org.apache.hadoop.hdfs.protocol.BlockStoragePolicy;
import org.apache.hadoop.hdfs.server.blockmanagement.BlockPlacementPolicyDefault;
import org.apache.hadoop.hdfs.server.blockmanagement.DatanodeStorageInfo;
import org.apache.hadoop.net.Node;

/**
 * Puts the first replica of each new block on the next DataNode in turn, whoever writes it, so that files of replication
 * 1 lie evenly over the DataNodes. Hadoop's own choice is random, or the writer's host, and here all writers and all
 * DataNodes have the same address.
 */
public final class SpreadPlacement extends BlockPlacementPolicyDefault {
  private final AtomicInteger turn = new AtomicInteger();

  @Override
  public DatanodeStorageInfo[] chooseTarget(
      String path,
      int count,
      Node writer,
      List<DatanodeStorageInfo> chosen,
      boolean returnChosen,
      Set<Node> excluded,
      long blockSize,
      BlockStoragePolicy policy,
      EnumSet<AddBlockFlag> flags) {
    List<Node> nodes = new ArrayList<>(clusterMap.getLeaves(""));
    nodes.sort(Comparator.comparing(Node::getName));
    if (count != 1 || !chosen.isEmpty() || nodes.isEmpty()) {
      return super.chooseTarget(
          path, count, writer, chosen, returnChosen, excluded, blockSize, policy, flags);
    }
    Set<Node> without = excluded == null ? new HashSet<>() : excluded;
    int first = Math.floorMod(turn.getAndIncrement(), nodes.size());
    for (int i = 0; i < nodes.size(); i++) {
      Node wanted = nodes.get((first + i) % nodes.size());
      if (without.contains(wanted)) {
        continue;
      }
      Set<Node> others = new HashSet<>(nodes);
      others.addAll(without);
      others.remove(wanted);
      DatanodeStorageInfo[] found =
          super.chooseTarget(
              path, 1, wanted, new ArrayList<>(), returnChosen, others, blockSize, policy, flags);
      if (found.length > 0) {
        return found;
      }
    }
    return super.chooseTarget(
        path, count, writer, chosen, returnChosen, without, blockSize, policy, flags);
  }
}
