package wire

import (
	"encoding/base64"
	"strings"
)

const lineLength = 76

// Base64 is how Spark writes user names and passwords for SASL: by Netty's encoder, which begins a new line after each 76
// characters. The secret that Spark makes for an application of YARN is longer than a line.
func Base64(text string) string {
	s := base64.StdEncoding.EncodeToString([]byte(text))
	var b strings.Builder
	for len(s) > lineLength {
		b.WriteString(s[:lineLength])
		b.WriteByte('\n')
		s = s[lineLength:]
	}
	b.WriteString(s)
	return b.String()
}
