package text

import (
	"bytes"
	"strings"
	"testing"
)

func TestFill(t *testing.T) {
	words := vocabulary(1000)
	for _, size := range []int64{0, 3, 11, 12, 13, 146, 1000, 1001, 1002, 1003, 1 << 20} {
		var b bytes.Buffer
		counts := make([]int64, len(words))
		if err := fill(&b, words, counts, size, 1); err != nil || int64(b.Len()) != size {
			t.Fatalf("%d bytes of %d, %v", b.Len(), size, err)
		}
		if size > 0 && b.Bytes()[size-1] != '\n' {
			t.Errorf("%d bytes do not end with a line", size)
		}
		got := map[string]int64{}
		for _, w := range strings.Fields(b.String()) {
			got[w]++
		}
		for k, w := range words {
			if got[w] != counts[k] {
				t.Errorf("%d bytes: %q %d times, counted %d", size, w, got[w], counts[k])
			}
		}
	}
	if err := fill(&bytes.Buffer{}, words, make([]int64, len(words)), 2, 1); err == nil {
		t.Error("a text of two bytes")
	}
}
