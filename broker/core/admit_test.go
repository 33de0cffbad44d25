package core

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	v1 "fairway/broker/api/fairwayv1"
)

// After a restart agents come back at the stated rate, and one whose turn comes later than the timeout after which a
// silent agent is unreachable has not become so.
func TestAgentsWaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const agents = 45
		w := newWorld(t, Config{AgentRate: 1, AgentTimeout: 30 * time.Second})
		for i := range agents {
			w.agent(fmt.Sprintf("h%d", i), "/r1", 1000, 1024)
		}
		w.sleep(agents * time.Second)
		w.halt()
		w.start()
		for _, a := range w.agents {
			a.connect()
		}
		for range agents {
			w.sleep(time.Second)
			list, err := w.broker.ListAgents(context.Background(), operator, &v1.ListAgentsRequest{})
			if err != nil || len(list.Agents) != agents {
				t.Fatal(list, err)
			}
			for _, a := range list.Agents {
				if a.State != "active" {
					t.Fatalf("%s is %s", a.Info.Host, a.State)
				}
			}
		}
		w.inspect(func(m *machine) {
			if m.returned != agents {
				t.Errorf("%d of %d are back after as many seconds", m.returned, agents)
			}
		})
		w.check()
	})
}
