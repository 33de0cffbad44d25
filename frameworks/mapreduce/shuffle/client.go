package shuffle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

// SignatureHeader bears the request's signature.
const SignatureHeader = "X-Fairway-Signature"

// Sign signs a request for bytes of a file of a job's folder: path is the URL's escaped path, byteRange the Range
// header.
func Sign(secret []byte, path, byteRange string) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("GET\n" + path + "\n" + byteRange))
	return hex.EncodeToString(m.Sum(nil))
}

// Config of a Client.
type Config struct {
	Job    string // id
	Secret []byte
	// Local is the data address of this task's own agent, and Dir the job's folder on it: outputs that lie there are
	// read directly. Either empty: everything goes over HTTP.
	Local string
	Dir   string

	Parallel int           // fetches at once; 0: 5
	Attempts int           // tries of one output before FetchFailed; 0: 4
	Backoff  time.Duration // before the second try, doubled for each further one; 0: 200 ms
	Timeout  time.Duration // without a byte; 0: 30 s
	HTTP     *http.Client  // nil: one of its own
}

// Client fetches map outputs.
type Client struct{ cfg Config }

// New returns a client.
func New(cfg Config) *Client { return &Client{cfg: cfg} }
