package mapreduce

import (
	"encoding/hex"
	"errors"
	"testing"

	"fairway/adapters/hadooprpc/writable"
)

// Vectors made with Hadoop 3.4.2's own SecureShuffleUtils, ShuffleHeader, Token and SpillRecord.
const (
	vectorSecret = "0123456789abcdefghij"
	vectorURI    = "/mapOutput?job=job_1700000000000_0007&reduce=3&map=attempt_1700000000000_0007_m_000000_0,attempt_1700000000000_0007_m_000001_0"
	vectorHash   = "chRgPnxgbMa0OsIb8D+ReQKDMJ0="
	vectorReply  = "URblYdjHvs0rDOKP1oMS+JMaNmc="
	vectorHeader = "25617474656d70745f313730303030303030303030305f303030375f6d5f3030303030305f308e03e88e07d003"
	vectorToken  = "17166a6f625f313730303030303030303030305f3030303714303132333435363738396162636465666768696a0d6d61707265647563652e6a6f62166a6f625f313730303030303030303030305f30303037"
	vectorIndex  = "000000000000000000000000000007d000000000000003e800000000000003e80000000000000006000000000000000800000000bda46241"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHashVectors(t *testing.T) {
	if got := sign([]byte(vectorSecret), message(DefaultPort, vectorURI)); got != vectorHash {
		t.Errorf("UrlHash %s, want %s", got, vectorHash)
	}
	if got := sign([]byte(vectorSecret), vectorHash); got != vectorReply {
		t.Errorf("ReplyHash %s, want %s", got, vectorReply)
	}
	if !verify([]byte(vectorSecret), DefaultPort, vectorURI, vectorHash) {
		t.Error("the right hash is refused")
	}
	for what, ok := range map[string]bool{
		"another port":   verify([]byte(vectorSecret), DefaultPort+1, vectorURI, vectorHash),
		"another secret": verify([]byte(vectorSecret+"k"), DefaultPort, vectorURI, vectorHash),
		"another URL":    verify([]byte(vectorSecret), DefaultPort, vectorURI+"0", vectorHash),
		"a shorter hash": verify([]byte(vectorSecret), DefaultPort, vectorURI, vectorHash[:24]),
		"no base64":      verify([]byte(vectorSecret), DefaultPort, vectorURI, "%"+vectorHash[1:]),
		"none":           verify([]byte(vectorSecret), DefaultPort, vectorURI, ""),
	} {
		if ok {
			t.Errorf("%s is accepted", what)
		}
	}
}

func TestHeaderVector(t *testing.T) {
	got := appendHeader(nil, "attempt_1700000000000_0007_m_000000_0", span{length: 1000, raw: 2000}, 3)
	if hex.EncodeToString(got) != vectorHeader {
		t.Errorf("header %x, want %s", got, vectorHeader)
	}
}

func TestTokenVector(t *testing.T) {
	for _, trailing := range []int{0, 1, 100} {
		reg, err := newRegistration("application_1700000000000_0007", "alice", 1000, append(unhex(t, vectorToken), make([]byte, trailing)...), []string{"/x"})
		if err != nil || string(reg.Secret) != vectorSecret {
			t.Errorf("with %d bytes behind: %+v, %v", trailing, reg, err)
		}
	}
	for i := range len(vectorToken) / 2 {
		if _, err := newRegistration("application_1_0001", "alice", 1, unhex(t, vectorToken)[:i], []string{"/x"}); !errors.Is(err, writable.ErrFormat) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
}

func TestIndexVector(t *testing.T) {
	x, err := parseIndex(unhex(t, vectorIndex))
	if err != nil {
		t.Fatal(err)
	}
	for reduce, want := range []span{{0, 2000, 1000}, {1000, 6, 8}} {
		if got, err := x.partition(reduce); err != nil || got != want {
			t.Errorf("partition %d is %+v, %v; want %+v", reduce, got, err, want)
		}
	}
	for _, reduce := range []int{-1, 2, 1 << 30} {
		if _, err := x.partition(reduce); !errors.Is(err, errReduce) {
			t.Errorf("partition %d: %v", reduce, err)
		}
	}
	for i := range len(vectorIndex) / 2 {
		b := unhex(t, vectorIndex)
		b[i] ^= 1
		if _, err := parseIndex(b); err == nil {
			t.Errorf("a flipped bit of byte %d is not noticed", i)
		}
		if _, err := parseIndex(b[:i]); err == nil && i != 8 { // eight zeros are an index of none
			t.Errorf("the first %d bytes are an index", i)
		}
	}
}

func TestJobOf(t *testing.T) {
	if id, err := jobOf("application_1700000000000_0007"); err != nil || id != "job_1700000000000_0007" {
		t.Errorf("%s, %v", id, err)
	}
	for _, bad := range []string{"", "application_", "application__", "application_1", "application_1_", "application__1", "application_1_2_3",
		"application_1_../x", "job_1_1", "application_-1_1", "application_11111111111111111111111111111_111111111111111111111"} {
		if id, err := jobOf(bad); err == nil {
			t.Errorf("%q gives %s", bad, id)
		}
	}
}
