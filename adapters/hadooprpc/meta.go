package hadooprpc

import (
	"context"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/hadooprpc/wire"
)

const (
	metaName    = "org.apache.hadoop.ipc.ProtocolMetaInfoPB"
	kindPBName  = "RPC_PROTOCOL_BUFFER"
	metaVersion = 1
)

// metaProtocol tells clients which protocols are here. The hashes of methods' Java signatures are left out: they differ
// between releases, and YARN's clients do not ask for them.
func metaProtocol(protocols []Protocol) Protocol {
	versions := map[string]uint64{metaName: metaVersion}
	for _, p := range protocols {
		versions[p.Name] = max(p.Version, 1)
	}
	return Protocol{Name: metaName, Version: metaVersion, Methods: map[string]Method{
		"getProtocolVersions": Handle(func(_ context.Context, _ *Caller, q *wire.GetProtocolVersionsRequestProto) (proto.Message, error) {
			a := &wire.GetProtocolVersionsResponseProto{}
			if v, ok := versions[q.GetProtocol()]; ok {
				a.ProtocolVersions = []*wire.ProtocolVersionProto{{RpcKind: proto.String(kindPBName), Versions: []uint64{v}}}
			}
			return a, nil
		}),
		"getProtocolSignature": Handle(func(_ context.Context, _ *Caller, q *wire.GetProtocolSignatureRequestProto) (proto.Message, error) {
			a := &wire.GetProtocolSignatureResponseProto{}
			if v, ok := versions[q.GetProtocol()]; ok && q.GetRpcKind() == kindPBName {
				a.ProtocolSignature = []*wire.ProtocolSignatureProto{{Version: proto.Uint64(v)}}
			}
			return a, nil
		}),
	}}
}
