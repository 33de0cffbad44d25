package resourcemanager

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc"
	rpc "fairway/adapters/hadooprpc/wire"
	"fairway/adapters/yarn/wire"
)

const saidNoExcludes = "Nothing was decommissioned (%v): there is no file of excluded nodes. 'fairway drain AGENT' takes a node out of service, with --timeout " +
	"for a limit and --wait to wait for it, and 'fairway undrain AGENT' puts it back"

// adminProtocol is what `yarn rmadmin` calls. What has nothing to read again in Fairway says so instead of succeeding.
func (m *Manager) adminProtocol() hadooprpc.Protocol {
	no := func(why string) hadooprpc.Method { return refuse(hadooprpc.YarnException, why) }
	labels := func(method string) hadooprpc.Method { return no(fmt.Sprintf(saidOwnLabels, method)) }
	federation := "Federation is not enabled"
	methods := map[string]hadooprpc.Method{
		"refreshQueues":                       hadooprpc.Handle(m.refreshQueues),
		"refreshNodes":                        hadooprpc.Handle(m.refreshNodes),
		"refreshNodesResources":               hadooprpc.Handle(m.refreshNodesResources),
		"refreshAdminAcls":                    hadooprpc.Handle(m.refreshAdminACLs),
		"getGroupsForUser":                    hadooprpc.Handle(m.getGroupsForUser),
		"checkForDecommissioningNodes":        hadooprpc.Handle(m.checkForDecommissioningNodes),
		"refreshUserToGroupsMappings":         answer(&wire.RefreshUserToGroupsMappingsResponseProto{}), // they are looked up each time
		"refreshSuperUserGroupsConfiguration": no("no user may act for another: there are no proxy users to read again"),
		"refreshServiceAcls":                  hadooprpc.Handle(m.refreshServiceACLs),
		"refreshClusterMaxPriority":           no("priorities of applications have no limit"),
		"updateNodeResource":                  no("an agent's own configuration states its resources; change it there"),
		"addToClusterNodeLabels":              labels("addToClusterNodeLabels"),
		"removeFromClusterNodeLabels":         labels("removeFromClusterNodeLabels"),
		"replaceLabelsOnNodes":                labels("replaceLabelsOnNode"),
		"mapAttributesToNodes":                no("attributes of nodes are not enabled"),
	}
	for _, name := range []string{"deregisterSubCluster", "saveFederationQueuePolicy", "batchSaveFederationQueuePolicies", "listFederationQueuePolicies",
		"deleteFederationApplication", "getFederationSubClusters", "deleteFederationPoliciesByQueues"} {
		methods[name] = no(federation)
	}
	for name, f := range methods {
		methods[name] = m.operatorsOnly(name, f)
	}
	methods = m.guarded(methods)
	return hadooprpc.Protocol{Name: "org.apache.hadoop.yarn.server.api.ResourceManagerAdministrationProtocolPB", Version: 1, Methods: methods}
}

// operatorsOnly lets operators through, and everybody to what only tells.
func (m *Manager) operatorsOnly(name string, f hadooprpc.Method) hadooprpc.Method {
	return func(ctx context.Context, c *hadooprpc.Caller, request []byte) (proto.Message, error) {
		who := shortName(c.User)
		if name != "getGroupsForUser" && !m.isOperator(who) && !m.mayAdminister(who, "") {
			return nil, hadooprpc.Errorf(hadooprpc.AccessControlException, "User %s doesn't have permission to call '%s'", who, name)
		}
		m.o.Log.Info("operator", zap.String("method", name), zap.String("user", who))
		return f(ctx, c, request)
	}
}

func (m *Manager) refreshQueues(ctx context.Context, c *hadooprpc.Caller, q *wire.RefreshQueuesRequestProto) (proto.Message, error) {
	if err := m.loadRights(); err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Exception refresh queues: %v", err)
	}
	if err := m.refresh(ctx); err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Exception refresh queues: %v", err)
	}
	return &wire.RefreshQueuesResponseProto{}, nil
}

// refreshNodes has no lists of nodes to read again. To take excluded ones out of service, at leisure or at once, it would have
// to know which those are; who asks for that is told what does it.
func (m *Manager) refreshNodes(ctx context.Context, c *hadooprpc.Caller, q *wire.RefreshNodesRequestProto) (proto.Message, error) {
	if k := q.GetDecommissionType(); k != wire.DecommissionTypeProto_NORMAL {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, saidNoExcludes, k)
	}
	if err := m.refresh(ctx); err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Exception refresh nodes: %v", err)
	}
	return &wire.RefreshNodesResponseProto{}, nil
}

// checkForDecommissioningNodes are the nodes that are not done yet. They are named by 'fairway drain', as there is no file of
// excluded nodes.
func (m *Manager) checkForDecommissioningNodes(context.Context, *hadooprpc.Caller, *wire.CheckForDecommissioningNodesRequestProto) (proto.Message, error) {
	r := &wire.CheckForDecommissioningNodesResponseProto{}
	for _, n := range m.cluster().nodes {
		if n.State == wire.NodeStateProto_NS_DECOMMISSIONING {
			r.DecommissioningNodes = append(r.DecommissioningNodes, n.ID.Proto())
		}
	}
	return r, nil
}

func (m *Manager) refreshNodesResources(ctx context.Context, c *hadooprpc.Caller, q *wire.RefreshNodesResourcesRequestProto) (proto.Message, error) {
	if err := m.refresh(ctx); err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Exception refresh nodes' resources: %v", err)
	}
	return &wire.RefreshNodesResourcesResponseProto{}, nil
}

func (m *Manager) refreshAdminACLs(ctx context.Context, c *hadooprpc.Caller, q *wire.RefreshAdminAclsRequestProto) (proto.Message, error) {
	if err := m.loadRights(); err != nil {
		return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Exception refresh AdminAcls: %v", err)
	}
	return &wire.RefreshAdminAclsResponseProto{}, nil
}

func (m *Manager) refreshServiceACLs(ctx context.Context, c *hadooprpc.Caller, q *wire.RefreshServiceAclsRequestProto) (proto.Message, error) {
	return nil, hadooprpc.Errorf(hadooprpc.YarnException, "Service Authorization (hadoop.security.authorization) not enabled.")
}

func (m *Manager) getGroupsForUser(ctx context.Context, c *hadooprpc.Caller, q *wire.GetGroupsForUserRequestProto) (proto.Message, error) {
	if err := checkUser(q.GetUser()); err != nil {
		return nil, err
	}
	return &wire.GetGroupsForUserResponseProto{Groups: groupsOf(q.GetUser())}, nil
}

// stateProtocol tells `yarn rmadmin -getServiceState` that this is the one resource manager.
func (m *Manager) stateProtocol() hadooprpc.Protocol {
	no := refuse(hadooprpc.AccessControlException, "this resource manager is active by itself and has no standby to change places with")
	return hadooprpc.Protocol{Name: "org.apache.hadoop.ha.HAServiceProtocol", Version: 1, Methods: map[string]hadooprpc.Method{
		"getServiceStatus":     answer(&rpc.GetServiceStatusResponseProto{State: rpc.HAServiceStateProto_ACTIVE.Enum(), ReadyToBecomeActive: proto.Bool(true)}),
		"monitorHealth":        answer(&rpc.MonitorHealthResponseProto{}),
		"transitionToActive":   no,
		"transitionToStandby":  no,
		"transitionToObserver": no,
	}}
}
