package wire

import (
	"strings"
	"testing"
)

// As Netty 4.1's io.netty.handler.codec.base64.Base64.encode has them.
func TestBase64(t *testing.T) {
	full := strings.Repeat("YWFh", 19) // 76 characters
	for text, want := range map[string]string{
		"":                       "",
		"sparkSaslUser":          "c3BhcmtTYXNsVXNlcg==",
		strings.Repeat("a", 57):  full,
		strings.Repeat("a", 58):  full + "\nYQ==",
		strings.Repeat("a", 64):  full + "\nYWFhYWFhYQ==", // as long as YARN's secrets
		strings.Repeat("a", 114): full + "\n" + full,
	} {
		if got := Base64(text); got != want {
			t.Errorf("%d bytes: %q, want %q", len(text), got, want)
		}
	}
}
