package core

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strconv"
	"strings"

	"fairway/broker/api"
)

// keySize is the size of a cluster's key material, in bytes.
const keySize = 32

// newClusterID is 8 letters and digits that no other cluster has.
func newClusterID() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

func newKey() []byte {
	b := make([]byte, keySize)
	_, _ = rand.Read(b) // never fails
	return b
}

func keyed(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// jobToken is what a coordinator of the job shows at the door.
func jobToken(key []byte, job string) string {
	return "job:" + job + ":" + hex.EncodeToString(keyed(key, "job-token\n"+job))
}

// jobSecret is shared by the tasks of a job (or of a framework without one) and the agents that run them.
func jobSecret(key []byte, job string) []byte { return keyed(key, "job-secret\n"+job) }

// logTicket opens the logs of a task until expiry (Unix seconds) on the agent's data server.
func logTicket(secret []byte, framework string, sequence uint64, expiry int64) string {
	e := strconv.FormatInt(expiry, 10)
	text := "logs\n" + framework + "/" + strconv.FormatUint(sequence, 10) + "\n" + e
	return e + ":" + hex.EncodeToString(keyed(secret, text))
}

// VerifyJobToken tells who bears the token of a coordinator ("job:<id>:<hex HMAC>"). The caller may speak for that job
// only, as the job's user. It is false before the broker serves.
func (b *Broker) VerifyJobToken(token string) (api.Caller, bool) {
	key := b.key.Load()
	rest, ok := strings.CutPrefix(token, "job:")
	if key == nil || !ok || len(token) > 256 {
		return api.Caller{}, false
	}
	at := strings.LastIndexByte(rest, ':')
	if at <= 0 {
		return api.Caller{}, false
	}
	job := rest[:at]
	if !hmac.Equal([]byte(token), []byte(jobToken(*key, job))) {
		return api.Caller{}, false
	}
	return api.Caller{User: "job:" + job, UID: -1, JobID: job}, true
}
