package hadooprpc

import "fmt"

// Exception is an error that travels under the name of a Java class. What a client does depends on the class: see
// reference yarn-wire.md, section 1.6.
type Exception struct {
	Class   string
	Message string
	Fatal   bool // the connection was closed with it (clients' side)
}

func (e *Exception) Error() string {
	if e.Message == "" {
		return e.Class
	}
	return e.Message
}

// Errorf makes an Exception.
func Errorf(class, format string, args ...any) *Exception {
	return &Exception{Class: class, Message: fmt.Sprintf(format, args...)}
}

// Classes of Hadoop's own RPC and security.
const (
	RPCServerException     = "org.apache.hadoop.ipc.RpcServerException"
	NoSuchMethod           = "org.apache.hadoop.ipc.RpcNoSuchMethodException"
	NoSuchProtocol         = "org.apache.hadoop.ipc.RpcNoSuchProtocolException"
	VersionMismatch        = "org.apache.hadoop.ipc.RPC$VersionMismatch"
	IPCException           = "org.apache.hadoop.ipc.IpcException"
	StandbyException       = "org.apache.hadoop.ipc.StandbyException"
	RetriableException     = "org.apache.hadoop.ipc.RetriableException"
	AccessControlException = "org.apache.hadoop.security.AccessControlException"
	AuthorizationException = "org.apache.hadoop.security.authorize.AuthorizationException"
	InvalidToken           = "org.apache.hadoop.security.token.SecretManager$InvalidToken"
	SaslException          = "javax.security.sasl.SaslException"
	IOException            = "java.io.IOException" // clients of 8030 and 8032 retry it for 15 minutes: for nothing permanent
	IllegalArgument        = "java.lang.IllegalArgumentException"
)

// Classes of YARN.
const (
	yarnExceptions                  = "org.apache.hadoop.yarn.exceptions."
	YarnException                   = yarnExceptions + "YarnException"
	ApplicationNotFound             = yarnExceptions + "ApplicationNotFoundException"
	AttemptNotFound                 = yarnExceptions + "ApplicationAttemptNotFoundException"
	ContainerNotFound               = yarnExceptions + "ContainerNotFoundException"
	ApplicationMasterNotRegistered  = yarnExceptions + "ApplicationMasterNotRegisteredException"
	InvalidApplicationMasterRequest = yarnExceptions + "InvalidApplicationMasterRequestException"
	InvalidResourceRequest          = yarnExceptions + "InvalidResourceRequestException"
	InvalidLabelResourceRequest     = yarnExceptions + "InvalidLabelResourceRequestException"
	InvalidContainerRelease         = yarnExceptions + "InvalidContainerReleaseException"
	InvalidResourceBlacklistRequest = yarnExceptions + "InvalidResourceBlacklistRequestException"
	InvalidContainer                = yarnExceptions + "InvalidContainerException"
	NMNotYetReady                   = yarnExceptions + "NMNotYetReadyException"
	ApplicationIDNotProvided        = yarnExceptions + "ApplicationIdNotProvidedException"
	FeatureNotEnabled               = yarnExceptions + "YARNFeatureNotEnabledException"
)
