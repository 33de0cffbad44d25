package token

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/adapters/yarn/id"
	"fairway/adapters/yarn/wire"
)

var attempt = id.AttemptID{Application: id.ApplicationID{Timestamp: 1700000000000, Number: 7}, Number: 1}

func container() Container {
	return Container{
		ID: id.NewContainer(attempt, 0, 2), Node: "node1:45454", User: "alice", MemoryMB: 1024, VCores: 1, Expires: time.UnixMilli(1700000600000), KeyID: 44,
		ResourceManager: 1699999999999, Priority: 20, Created: time.UnixMilli(1700000000500), Type: wire.ContainerTypeProto_TASK, AllocationRequestID: -1,
	}
}

// Vectors made with Hadoop 3.4.1's own classes (reference yarn-wire.md, section 4.1).
const (
	amrmVector      = "0a0d0a0908071080d095ffbc311001" + "102a"
	nmVector        = "0a0d0a0908071080d095ffbc311001" + "120b0a056e6f646531108ee302" + "1a05616c696365" + "202b"
	containerVector = "0a11120d0a0908071080d095ffbc3110011802120b6e6f6465313a34353435341a05616c696365222b08800810011a140a096d656d6f72792d6d621080081a024d6920001a0e0a0676636f72657310011a00200028c09fbaffbc31302c38ffcf95ffbc314202081448f4d395ffbc315a0060026801700078ffffffffffffffffff01"
)

func TestVectors(t *testing.T) {
	for name, v := range map[string]struct {
		want string
		got  []byte
	}{
		"AMRM":      {amrmVector, AMRM{attempt, 42}.Marshal()},
		"NM":        {nmVector, NM{attempt, id.NodeID{Host: "node1", Port: 45454}, "alice", 43}.Marshal()},
		"container": {containerVector, container().Marshal()},
	} {
		if got := hex.EncodeToString(v.got); got != v.want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, v.want)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPasswordVectors(t *testing.T) {
	key := unhex(t, "0102030405060708")
	for identifier, want := range map[string]string{
		amrmVector: "d292fa3ff0acd37b7f68942b01bcc440c695a1a2",
		nmVector:   "ad9da1f4401b19d0e597ef683407f59f2f30d73e",
	} {
		b := unhex(t, identifier)
		if got := hex.EncodeToString(Password(key, b)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		password := unhex(t, want)
		if !Check(key, b, password) {
			t.Error("the right password is refused")
		}
		for bit := range 8 * len(b) {
			b[bit/8] ^= 1 << (bit % 8)
			if Check(key, b, password) {
				t.Errorf("bit %d of the identifier does not count", bit)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		password[19] ^= 1
		if Check(key, b, password) || Check(key, b, nil) || Check(key, b, password[:19]) {
			t.Error("a wrong password is taken")
		}
	}
}

func TestParse(t *testing.T) {
	if got, err := ParseAMRM(unhex(t, amrmVector)); err != nil || got != (AMRM{attempt, 42}) || got.User() != "appattempt_1700000000000_0007_000001" {
		t.Error(got, err)
	}
	if got, err := ParseNM(unhex(t, nmVector)); err != nil || got != (NM{attempt, id.NodeID{Host: "node1", Port: 45454}, "alice", 43}) {
		t.Error(got, err)
	}
	want := container()
	want.Execution = wire.ExecutionTypeProto_GUARANTEED
	if got, err := ParseContainer(unhex(t, containerVector)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	gpu := container()
	gpu.Resources = []*wire.ResourceInformationProto{{Key: proto.String("yarn.io/gpu"), Value: proto.Int64(2)}}
	if got, err := ParseContainer(gpu.Marshal()); err != nil || len(got.Resources) != 1 || got.Resources[0].GetValue() != 2 {
		t.Error(got, err)
	}
	d := Delegation{Owner: "alice", Renewer: "oozie", RealUser: "hue", Issued: time.UnixMilli(1), Max: time.UnixMilli(2), Sequence: 3, KeyID: 4}
	if got, err := ParseDelegation(d.Marshal()); err != nil || got != d {
		t.Error(got, err)
	}
	c := ClientToAM{attempt, "alice"}
	if got, err := ParseClientToAM(c.Marshal()); err != nil || got != c {
		t.Error(got, err)
	}
}

func TestRefused(t *testing.T) {
	parsers := map[string]func([]byte) error{
		"AMRM":       func(b []byte) error { _, err := ParseAMRM(b); return err },
		"NM":         func(b []byte) error { _, err := ParseNM(b); return err },
		"container":  func(b []byte) error { _, err := ParseContainer(b); return err },
		"delegation": func(b []byte) error { _, err := ParseDelegation(b); return err },
		"client":     func(b []byte) error { _, err := ParseClientToAM(b); return err },
	}
	for name, parse := range parsers {
		for what, b := range map[string][]byte{"nothing": nil, "noise": []byte("not a message"), "a megabyte": make([]byte, 1<<20), "cut": unhex(t, amrmVector)[:9]} {
			if err := parse(b); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
	if _, err := ParseNM(AMRM{attempt, 1}.Marshal()); !errors.Is(err, ErrInvalid) {
		t.Error("a master's token passes for an agent's:", err)
	}
	for _, b := range [][]byte{unhex(t, amrmVector), unhex(t, nmVector)} {
		if d, err := ParseDelegation(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("an attempt's token passes for a user's: %+v", d)
		}
	}
	negative := container()
	negative.MemoryMB = -1
	if _, err := ParseContainer(negative.Marshal()); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestKeysDiffer(t *testing.T) {
	a, b := Keys([]byte("one")), Keys([]byte("two"))
	all := [][]byte{a.AMRM, a.NM, a.Container, a.ClientToAM, b.AMRM, b.NM, b.Container, b.ClientToAM}
	for i := range all {
		for j := range i {
			if bytes.Equal(all[i], all[j]) {
				t.Errorf("keys %d and %d are equal", i, j)
			}
		}
	}
	if !reflect.DeepEqual(a, Keys([]byte("one"))) {
		t.Error("the same secret gives other keys")
	}
	tok := Issue(KindNM, "node1:45454", a.NM, unhex(t, nmVector))
	if !Check(a.NM, tok.Identifier, tok.Password) || Check(b.NM, tok.Identifier, tok.Password) || Check(a.AMRM, tok.Identifier, tok.Password) {
		t.Error("a token is not bound to its application and kind")
	}
}

func FuzzIdentifiers(f *testing.F) {
	f.Add(unhex(f, amrmVector))
	f.Add(unhex(f, nmVector))
	f.Add(unhex(f, containerVector))
	f.Add(Delegation{Owner: "a"}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseAMRM(b); err == nil {
			if again, err := ParseAMRM(got.Marshal()); err != nil || again != got {
				t.Errorf("%+v became %+v, %v", got, again, err)
			}
		}
		if got, err := ParseNM(b); err == nil {
			if again, err := ParseNM(got.Marshal()); err != nil || again != got {
				t.Errorf("%+v became %+v, %v", got, again, err)
			}
		}
		if got, err := ParseContainer(b); err == nil {
			if again, err := ParseContainer(got.Marshal()); err != nil || again.ID != got.ID || again.MemoryMB != got.MemoryMB || again.User != got.User {
				t.Errorf("%+v became %+v, %v", got, again, err)
			}
		}
		if got, err := ParseDelegation(b); err == nil {
			if again, err := ParseDelegation(got.Marshal()); err != nil || again.Owner != got.Owner || again.Sequence != got.Sequence {
				t.Errorf("%+v became %+v, %v", got, again, err)
			}
		}
		_, _ = ParseClientToAM(b)
	})
}
