package mapreduce

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
)

// BenchmarkFetch is one fetcher over loopback that asks for 20 maps at once: partitions of 8 MiB (sendfile) and of 1 KiB.
func BenchmarkFetch(b *testing.B) {
	for name, size := range map[string]int{"8MiB": 8 << 20, "64KiB": 64 << 10, "1KiB": 1 << 10} {
		b.Run(name, func(b *testing.B) {
			s := start(b, Options{})
			dir := b.TempDir()
			register(b, s, dir)
			maps := make([]string, 20)
			for i := range maps {
				maps[i] = attempt(i)
				output(b, dir, maps[i], 10, size)
			}
			target := uri(1, "&keepAlive=true", maps...)
			text := "GET " + target + " HTTP/1.1\r\nHost: x\r\nname: mapreduce\r\nversion: 1.0.0\r\nUrlHash: " +
				sign([]byte(vectorSecret), message(s.Port(), target)) + "\r\n\r\n"
			c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.Port()))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			r := bufio.NewReaderSize(c, 1<<20)
			buffer := make([]byte, 1<<20)
			b.SetBytes(int64(20 * size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.WriteString(c, text); err != nil {
					b.Fatal(err)
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != 200 {
					b.Fatal(resp, err)
				}
				if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, buffer); err != nil || n < int64(20*size) {
					b.Fatal(n, err)
				}
			}
		})
	}
}
