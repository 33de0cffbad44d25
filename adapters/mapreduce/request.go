package mapreduce

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"fairway/adapters/hadooprpc/writable"
)

// Headers of requests and responses, as Hadoop spells them.
const (
	headerName      = "name"
	headerVersion   = "version"
	headerURLHash   = "UrlHash"
	headerReplyHash = "ReplyHash"
	protocolName    = "mapreduce"
	protocolVersion = "1.0.0"
)

// Limits of a request. Hadoop's own fetchers ask for 20 maps at once, in about 1 KiB.
const (
	maxURL     = 16 << 10 // bytes
	maxMaps    = 256
	maxAttempt = 128 // bytes of an attempt's id
	maxHash    = 256 // bytes of a hash's base64
)

// request is one that is well-formed; nothing of it is believed before its hash was checked.
type request struct {
	job       string
	reduce    int
	maps      []string
	keepAlive bool
}

// refusal is an error that the fetcher is told.
type refusal struct {
	status  int
	message string
	cause   error // for the log; may be nil
}

func (r *refusal) Error() string {
	if r.cause != nil {
		return r.message + ": " + r.cause.Error()
	}
	return r.message
}

func badRequest(message string) *refusal {
	return &refusal{status: http.StatusBadRequest, message: message}
}

// parseQuery reads job, reduce, map and keepAlive. Other parameters (Tez sends dag) are left alone.
func parseQuery(raw string) (request, *refusal) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return request{}, badRequest("Bad query")
	}
	jobs, reduces, maps := q["job"], q["reduce"], q["map"]
	if len(jobs) == 0 || len(reduces) == 0 || len(maps) == 0 {
		return request{}, badRequest("Required param job, map and reduce")
	}
	if len(jobs) != 1 || len(reduces) != 1 {
		return request{}, badRequest("Too many job/reduce parameters")
	}
	r := request{job: jobs[0]}
	reduce, err := strconv.ParseInt(reduces[0], 10, 32)
	if err != nil || reduce < 0 {
		return request{}, badRequest("Bad reduce parameter")
	}
	r.reduce = int(reduce)
	number, ok := strings.CutPrefix(r.job, "job_")
	if _, err := jobOf("application_" + number); !ok || err != nil {
		return request{}, badRequest("Bad job parameter")
	}
	for _, list := range maps {
		for m := range strings.SplitSeq(list, ",") {
			if m == "" {
				continue // as Java's split drops the empty ones at the end
			}
			if !validAttempt(m, number) {
				return request{}, badRequest("Bad map parameter")
			}
			if len(r.maps) == maxMaps {
				return request{}, badRequest("Too many maps, at most " + strconv.Itoa(maxMaps) + " at once")
			}
			r.maps = append(r.maps, m)
		}
	}
	if len(r.maps) == 0 {
		return request{}, badRequest("Required param job, map and reduce")
	}
	if k := q["keepAlive"]; len(k) == 1 {
		r.keepAlive = strings.EqualFold(k[0], "true")
	}
	return r, nil
}

// validAttempt says whether an id names a folder of outputs of the job: attempt_<number>_ and letters, digits and
// underscores. MapReduce's ids go on with m_000000_0, Tez's with numbers.
func validAttempt(id, number string) bool {
	rest, ok := strings.CutPrefix(id, "attempt_")
	if rest, ok = cutIf(ok, rest, number+"_"); !ok || rest == "" || len(id) > maxAttempt {
		return false
	}
	return strings.IndexFunc(rest, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_')
	}) < 0
}

func cutIf(ok bool, s, prefix string) (string, bool) {
	if !ok {
		return "", false
	}
	return strings.CutPrefix(s, prefix)
}

// sign is Hadoop's SecureShuffleUtils.generateHash: HMAC-SHA1 in base64.
func sign(secret []byte, message string) string {
	h := hmac.New(sha1.New, secret)
	h.Write([]byte(message))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// message is what a fetcher signs: the server's port, then path and query as they were sent.
func message(port int, requestURI string) string { return strconv.Itoa(port) + requestURI }

// verify checks a request's hash, which covers the port of this server so that it is of no use at another one.
func verify(secret []byte, port int, requestURI, hash string) bool {
	if len(hash) > maxHash {
		return false
	}
	given, err := base64.StdEncoding.DecodeString(hash)
	if err != nil {
		return false
	}
	h := hmac.New(sha1.New, secret)
	h.Write([]byte(message(port, requestURI)))
	return hmac.Equal(given, h.Sum(nil))
}

// appendHeader appends the ShuffleHeader that goes before each partition.
func appendHeader(b []byte, attempt string, s span, reduce int) []byte {
	b = writable.AppendText(b, attempt)
	b = writable.AppendVLong(b, s.length)
	b = writable.AppendVLong(b, s.raw)
	return writable.AppendVLong(b, int64(reduce))
}
