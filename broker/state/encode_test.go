package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/broker/resource"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata")

// everyKind is a fact of each kind with all its fields set.
func everyKind() []Fact {
	v := resource.Vector{resource.CPU: 1500, resource.Memory: 1 << 33, resource.Named: -1}
	ports := []resource.PortRange{{First: 31000, Last: 31001}, {First: 32000, Last: 32000}}
	return []Fact{
		{Kind: ClusterCreated, Now: 1, Name: "cluster", Body: []byte{1, 2, 3}},
		{Kind: EpochBegun, Now: 2, Epoch: 7},
		{Kind: KindNamed, Now: 3, Code: 5, Name: "fpga"},
		{Kind: AgentAdmitted, Now: 4, Agent: 1, Name: "a1", Host: "h1", Body: []byte("info"), Resources: v, Text: "boot", Wall: 1_800_000_000_000_000_000},
		{Kind: AgentUpdated, Now: 5, Agent: 1, Host: "h2", Body: []byte{}, Resources: v, Text: "boot2"},
		{Kind: AgentChanged, Now: 6, Agent: 1, Status: AgentDraining, Wall: 5, Text: "operator"},
		{Kind: AgentForgotten, Now: 7, Agent: 1},
		{Kind: RoleSet, Now: 8, Role: 2, Parent: 1, Name: "a/b", Weight: 2000, Guarantee: v, Limit: resource.Vector{-1, -1, -1, -1, -1, -1, -1, -1}, Flag: true},
		{Kind: RoleRemoved, Now: 9, Role: 2},
		{Kind: FrameworkAdmitted, Now: 10, Framework: 300, Name: "f1", Role: 2, Job: 70000, User: "u", Text: "name", Flag: true, Duration: 3600e9, Attempt: 1, Wall: 6},
		{Kind: FrameworkChanged, Now: 11, Framework: 300, Job: 70000, Duration: -1, Attempt: 2, Role: 9},
		{Kind: FrameworkEnded, Now: 12, Framework: 300, Wall: 7},
		{Kind: FrameworkSaved, Now: 13, Framework: 300, Version: 9, Body: bytes.Repeat([]byte("x"), 200)},
		{Kind: JobSubmitted, Now: 14, Job: 70000, Name: "j1", Role: 2, User: "u", Text: "wordcount", Body: []byte("spec"), Wall: 8, Host: "request"},
		{Kind: JobChanged, Now: 15, Job: 70000, Status: JobFailed, Attempt: 2, Framework: 300, Text: "why", Body: []byte("counters"), Wall: 9, Flag: true},
		{Kind: JobForgotten, Now: 16, Job: 70000},
		{Kind: TaskLaunched, Now: 17, Framework: 300, Sequence: 1 << 40, Agent: 1, Job: 70000, Resources: v, Ports: ports, Name: "map-0", Code: 1, Flag: true, Wall: 10},
		{Kind: TaskEnded, Now: 18, Framework: 300, Sequence: 1 << 40, Status: TaskFailed, Code: -9, Reason: 3, Wall: 11},
		{Kind: TaskResized, Now: 19, Framework: 300, Sequence: 1 << 40, Resources: v, Version: 3},
		{Kind: AgentDrained, Now: 20, Agent: 1, Flag: true, Duration: 1_800_000_000_000_000_000, Wall: 12},
	}
}

// The bytes of version 1 are in journals out there: this golden may only ever grow.
func TestEncodingIsKept(t *testing.T) {
	const path = "testdata/facts.golden"
	var b strings.Builder
	kinds := map[Kind]bool{}
	for _, f := range everyKind() {
		kinds[f.Kind] = true
		fmt.Fprintf(&b, "%v %s\n", f.Kind, hex.EncodeToString(AppendFact(nil, &f)))
	}
	for k := Kind(1); int(k) < len(layouts); k++ {
		if !kinds[k] {
			t.Errorf("no fact of kind %v", k)
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("encoding changed (-golden +now):\n%s", d)
	}
}

func TestFactsRoundTrip(t *testing.T) {
	facts := everyKind()
	var b []byte
	for i := range facts {
		b = AppendFact(b, &facts[i])
	}
	got, err := DecodeFacts(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(facts, got); d != "" {
		t.Error(d)
	}
	for i := range b {
		if _, err := DecodeFacts(b[:i]); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// A journal of before frameworks could change their role is read as ever.
func TestFirstLayoutOfFrameworkChanged(t *testing.T) {
	b, err := hex.DecodeString("0b010816ac02f0a2040102") // as it was in the golden file
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeFacts(b)
	want := []Fact{{Kind: FrameworkChanged, Now: 11, Framework: 300, Job: 70000, Duration: -1, Attempt: 2}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestNewerIsRefused(t *testing.T) {
	b := AppendFact(nil, &Fact{Kind: EpochBegun, Epoch: 1})
	kind, version := bytes.Clone(b), bytes.Clone(b)
	kind[0], version[1] = byte(len(layouts)), 2
	for name, b := range map[string][]byte{"kind": kind, "version": version} {
		if _, err := DecodeFacts(b); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "written by a newer Fairway") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := New().Apply(&Fact{Kind: Kind(len(layouts))}); !errors.Is(err, ErrNewer) {
		t.Errorf("apply: %v", err)
	}
	snapshot := dump(t, &New().View)
	snapshot[len(snapshotMagic)] = snapshotVersion + 1
	if _, err := ReadSnapshot(bytes.NewReader(snapshot)); !errors.Is(err, ErrNewer) {
		t.Errorf("snapshot: %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	for _, f := range []Fact{
		{Kind: ClusterCreated, Name: long}, {Kind: AgentAdmitted, Host: long}, {Kind: JobSubmitted, User: long}, {Kind: AgentChanged, Text: long},
		{Kind: JobSubmitted, Body: make([]byte, MaxBody+1)}, {Kind: FrameworkSaved, Body: make([]byte, MaxSaved+1)},
		{Kind: TaskLaunched, Ports: make([]resource.PortRange, MaxPorts+1)},
	} {
		if err := New().Apply(&f); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: %v", f.Kind, err)
		}
		if _, err := DecodeFacts(AppendFact(nil, &f)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("decode %v: %v", f.Kind, err)
		}
	}
}

func FuzzDecodeFacts(f *testing.F) {
	var all []byte
	for _, fact := range everyKind() {
		b := AppendFact(nil, &fact)
		f.Add(b)
		all = append(all, b...)
	}
	f.Add(all)
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		facts, err := DecodeFacts(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		s := New()
		for i := range facts {
			again = AppendFact(again, &facts[i])
			_ = s.Apply(&facts[i])
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x was decoded to %+v, which is %x", b, facts, again)
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
