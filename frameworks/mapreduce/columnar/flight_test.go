package columnar

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
)

// serve starts a server with n rows at mem:///good and returns its address.
func serve(t *testing.T, n int) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Token: "secret", Fill: func(ctx context.Context, url string, to *Stream) error {
		switch url {
		case "mem:///good":
			i := 0
			return to.AddRecords(url, func() (k, v []byte, err error) {
				if i == n {
					return nil, nil, io.EOF
				}
				i++
				return []byte("row" + strconv.Itoa(i)), []byte(strconv.Itoa(i)), nil
			}, Columns{arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64})
		case "mem:///panic":
			panic("Arrow's own")
		case "mem:///denied":
			return fmt.Errorf("%s: %w", url, fs.ErrPermission)
		}
		return fmt.Errorf("%s: %w", url, fs.ErrNotExist)
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func TestFlightRoundTrip(t *testing.T) {
	addr := serve(t, 100_000)
	var b bytes.Buffer
	if err := fetch(context.Background(), checked(t), addr, "secret", "mem:///good", &b); err != nil {
		t.Fatal(err)
	}
	var out collector
	if err := readRecords(checked(t), &b, &out); err != nil || out.ints != 100_000 || out.lines[99_999] != "row100000=100000" {
		t.Errorf("%v, %d rows", err, out.ints)
	}
	for _, c := range []struct{ token, url, want string }{
		{"wrong", "mem:///good", "Unauthenticated"},
		{"", "mem:///good", "Unauthenticated"},
		{"secret", "mem:///none", "NotFound"},
		{"secret", "mem:///denied", "PermissionDenied"},
		{"secret", "mem:///panic", "DataLoss"},
		{"secret", "", "InvalidArgument"},
		{"secret", strings.Repeat("x", 5000), "InvalidArgument"},
	} {
		err := Fetch(context.Background(), addr, c.token, c.url, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %.20q: %v", c.token, c.url, err)
		}
	}
}

func TestFlightFromPython(t *testing.T) {
	if exec.Command("python3", "-c", "import pyarrow.flight").Run() != nil {
		t.Skip("python3 cannot import pyarrow.flight: pip install pyarrow")
	}
	out, err := exec.Command("python3", "-c", `
import sys, pyarrow.flight as fl
c = fl.connect("grpc://" + sys.argv[1])
o = fl.FlightCallOptions(headers=[(b"authorization", b"Bearer secret")])
info = c.get_flight_info(fl.FlightDescriptor.for_path("mem:///good"), o)
t = c.do_get(info.endpoints[0].ticket, o).read_all()
print(t.num_rows, sum(t["value"].to_pylist()))
`, serve(t, 20_000)).CombinedOutput()
	if err != nil || string(out) != "20000 200010000\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestFlightServesLoopbackWithTokenOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Server{}).Serve(context.Background(), l); err == nil || !strings.Contains(err.Error(), "token") {
		t.Error(err)
	}
	if l, err = net.Listen("tcp", "0.0.0.0:0"); err != nil {
		t.Fatal(err)
	}
	if err := (&Server{Token: "x"}).Serve(context.Background(), l); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Error(err)
	}
}
