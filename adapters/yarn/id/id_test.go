package id

import (
	"encoding/hex"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/wire"
)

var (
	app     = ApplicationID{1700000000000, 7}
	attempt = AttemptID{app, 1}
)

func TestText(t *testing.T) {
	for want, got := range map[string]string{
		"application_1700000000000_0007":                                             app.String(),
		"application_1700000000000_12345":                                            ApplicationID{1700000000000, 12345}.String(),
		"appattempt_1700000000000_0007_000001":                                       attempt.String(),
		"appattempt_1700000000000_0007_1234567":                                      AttemptID{app, 1234567}.String(),
		"container_1700000000000_0007_01_000002":                                     NewContainer(attempt, 0, 2).String(),
		"container_e03_1700000000000_0007_01_000002":                                 NewContainer(attempt, 3, 2).String(),
		"container_e123_1700000000000_0007_01_1000000":                               NewContainer(attempt, 123, 1000000).String(),
		"container_e8388607_9223372036854775807_2147483647_2147483647_1099511627775": NewContainer(AttemptID{ApplicationID{1<<63 - 1, 1<<31 - 1}, 1<<31 - 1}, 1<<23-1, 1<<40-1).String(),
		"node1:45454": NodeID{"node1", 45454}.String(),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestParse(t *testing.T) {
	if a, err := ParseApplication("application_1700000000000_0007"); err != nil || a != app {
		t.Error(a, err)
	}
	if a, err := ParseAttempt("appattempt_1700000000000_0007_000001"); err != nil || a != attempt {
		t.Error(a, err)
	}
	for _, c := range []ContainerID{NewContainer(attempt, 0, 2), NewContainer(attempt, 7, 1<<40-1), NewContainer(attempt, 1<<23-1, 1)} {
		if got, err := ParseContainer(c.String()); err != nil || got != c {
			t.Error(c, got, err)
		}
	}
	if c := NewContainer(attempt, 3, 2); c.Epoch() != 3 || c.Number() != 2 || c.ID != 3<<40|2 || c.Application() != app {
		t.Error(c)
	}
	if n, err := ParseNode("node1:45454"); err != nil || n != (NodeID{"node1", 45454}) {
		t.Error(n, err)
	}
}

func TestRefused(t *testing.T) {
	for _, s := range []string{
		"", "application", "application_", "application_1", "application_1_", "application_1_2_", "application_1_2_3", "application_-1_2", "application_1_-2",
		"application_1_2147483648", "application_9223372036854775808_1", "application__1", "application_1 _2", "job_1_2", "application_+1_2", "application_1_0x2",
	} {
		if a, err := ParseApplication(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, %v", s, a, err)
		}
	}
	for _, s := range []string{"appattempt_1_2", "appattempt_1_2_3_4", "application_1_2", "appattempt_1_2_2147483648"} {
		if a, err := ParseAttempt(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, %v", s, a, err)
		}
	}
	for _, s := range []string{"container_1_2_3", "container_e_1_2_3_4", "container_1_2_3_1099511627776", "container_e8388608_1_2_3_4", "container_e1_e1_1_2_3_4", "container_1_2_3_4_5"} {
		if c, err := ParseContainer(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, %v", s, c, err)
		}
	}
	for _, s := range []string{"", "node", ":1", "node:", "node:65536", "node:-1", "[::1]:80", "a:b:1"} {
		if n, err := ParseNode(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, %v", s, n, err)
		}
	}
}

// The bytes are those of a real 3.4.1 identifier (reference yarn-wire.md, section 4.1).
func TestProto(t *testing.T) {
	b, err := proto.Marshal(NewContainer(attempt, 0, 2).Proto())
	if err != nil || hex.EncodeToString(b) != "120d0a0908071080d095ffbc3110011802" {
		t.Errorf("%x, %v", b, err)
	}
	var p wire.ContainerIdProto
	if err := proto.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	if c, err := ContainerFrom(&p); err != nil || c != NewContainer(attempt, 0, 2) {
		t.Error(c, err)
	}
	if n, err := NodeFrom(NodeID{"node1", 45454}.Proto()); err != nil || n != (NodeID{"node1", 45454}) {
		t.Error(n, err)
	}
	if _, err := ApplicationFrom(nil); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := AttemptFrom(&wire.ApplicationAttemptIdProto{ApplicationId: app.Proto(), AttemptId: proto.Int32(-1)}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := ContainerFrom(&wire.ContainerIdProto{Id: proto.Int64(1)}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := NodeFrom(&wire.NodeIdProto{Host: proto.String("h"), Port: proto.Int32(65536)}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"application_1700000000000_0007", "appattempt_1700000000000_0007_000001", "container_e03_1700000000000_0007_01_000002", "node1:45454"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := ParseApplication(s); err == nil {
			if again, err := ParseApplication(a.String()); err != nil || again != a {
				t.Errorf("%q: %v, %v", s, again, err)
			}
		}
		if a, err := ParseAttempt(s); err == nil {
			if again, err := ParseAttempt(a.String()); err != nil || again != a {
				t.Errorf("%q: %v, %v", s, again, err)
			}
		}
		if c, err := ParseContainer(s); err == nil {
			if again, err := ParseContainer(c.String()); err != nil || again != c {
				t.Errorf("%q: %v, %v", s, again, err)
			}
		}
		if n, err := ParseNode(s); err == nil {
			if again, err := ParseNode(n.String()); err != nil || again != n {
				t.Errorf("%q: %v, %v", s, again, err)
			}
		}
	})
}
