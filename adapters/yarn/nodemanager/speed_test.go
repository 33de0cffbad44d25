package nodemanager

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/adapters/yarn/wire"
	"google.golang.org/protobuf/proto"
)

// From startContainers to the command's first instruction, with everything localised: the time that a job feels. It is
// measured only when asked for, since a bound would fail on a busy machine.
func TestStartLatency(t *testing.T) {
	if os.Getenv("FAIRWAY_MEASURE") == "" {
		t.Skip("set FAIRWAY_MEASURE=1 to measure")
	}
	r := newRig(t, nil)
	r.launch(1, "nobody", said("sleep 1000"))
	r.running(1)
	c := r.client(r.nm())
	shared := []*wire.StringLocalResourceMapProto{{Key: proto.String("job.jar"), Value: file(t, r, "data", "hello", 0o644)}, {Key: proto.String("job.xml"), Value: file(t, r, "xml", "hello", 0o644)}}
	var text strings.Builder
	for n := int64(2); n < 30; n++ {
		r.launch(n, "nobody", nil)
		<-time.After(20 * time.Millisecond) // the grant is there
		q := r.permit(n, nil)
		q.ContainerLaunchContext = said(`echo \$EPOCHREALTIME`)
		q.ContainerLaunchContext.LocalResources = shared
		begun := time.Now()
		if err := c.Call(t.Context(), "startContainers", &wire.StartContainersRequestProto{StartContainerRequest: []*wire.StartContainerRequestProto{q}}, &wire.StartContainersResponseProto{}); err != nil {
			t.Fatal(err)
		}
		called := time.Since(begun)
		r.outcome(n)
		reported := time.Since(begun)
		at, err := strconv.ParseFloat(strings.ReplaceAll(r.log(n, "stdout"), ",", "."), 64)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "call %v, command %.2f ms, end reported %v\n", called.Round(10*time.Microsecond), 1e3*(at-float64(begun.UnixNano())/1e9), reported.Round(10*time.Microsecond))
	}
	t.Log("\n" + text.String())
}
