package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"fairway/broker/server"
	"fairway/frameworks/mapreduce/columnar"
	"fairway/frameworks/mapreduce/input"
	"fairway/frameworks/mapreduce/spec"
	"fairway/frameworks/storage"
)

// catArrow writes the rows behind a URL as one Arrow IPC stream.
func catArrow(ctx context.Context, mux *storage.Mux, url string, w io.Writer) error {
	s := columnar.NewStream(w)
	if err := fill(ctx, mux, url, s); err != nil {
		return err
	}
	return s.Close()
}

// fill adds all files behind a URL to a stream: Parquet and Arrow files with their columns, text as key and value.
func fill(ctx context.Context, mux *storage.Mux, url string, to *columnar.Stream) error {
	fs, files, err := parts(ctx, mux, url)
	if err != nil {
		return err
	}
	for _, i := range files {
		if err := addFile(ctx, fs, i, to); err != nil {
			return err
		}
	}
	return nil
}

// magic tells the formats apart by the first bytes of a file.
var magic = map[columnar.Format]string{columnar.Parquet: "PAR1", columnar.Arrow: "ARROW1"}

func addFile(ctx context.Context, fs storage.FS, i storage.Info, to *columnar.Stream) error {
	f, err := fs.Open(ctx, i.Path)
	if err != nil {
		return err
	}
	var head [6]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(err, f.Close())
	}
	for format, m := range magic {
		if strings.HasPrefix(string(head[:n]), m) {
			r, err := columnar.OpenFile(format, f, i.Path, 0, i.Size, i.Size)
			if err != nil {
				return errors.Join(err, f.Close())
			}
			return errors.Join(to.Add(r), r.Close())
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	cols, err := columnar.OutputColumns(nil)
	if err != nil {
		return err
	}
	r, err := input.Open(ctx, "keyvalue", fs, i.Path, spec.Split{URL: i.Path, Length: i.Size, FileSize: i.Size, Whole: true}, nil)
	if err != nil {
		return err
	}
	return errors.Join(to.AddRecords(i.Path, r.Next, cols), r.Close())
}

func (a *app) flightCommand() *cobra.Command {
	var listen, tokenFile string
	c := &cobra.Command{
		Use: "flight", Short: "Serve results by Arrow Flight on this machine", Args: cobra.NoArgs,
		Long: `Flight serves files and output folders as Arrow streams to programs on this machine: DoGet
with a ticket that is a URL. It reads with the rights of who runs it. Callers show the
token of the file (written if absent) in the header "authorization: Bearer TOKEN".`,
		Example: "  fairway flight --listen 127.0.0.1:8815 --flight-token ~/.fairway/flight-token\n" +
			"  python3 -c 'import pyarrow.flight as f; c=f.connect(\"grpc://127.0.0.1:8815\"); print(c.do_get(f.Ticket(b\"hdfs:///counts\"), f.FlightCallOptions(headers=[(b\"authorization\", b\"Bearer \"+open(\"flight-token\",\"rb\").read().strip())])).read_all())'",
		RunE: func(c *cobra.Command, _ []string) error {
			token, err := server.LoadToken(tokenFile)
			if err != nil {
				return err
			}
			mux, err := a.mux()
			if err != nil {
				return err
			}
			defer mux.Close()
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return usagef("--listen: %w", err)
			}
			fmt.Fprintf(c.ErrOrStderr(), "Arrow Flight on %s; token in %s\n", l.Addr(), tokenFile)
			s := &columnar.Server{Token: token, Fill: func(ctx context.Context, url string, to *columnar.Stream) error { return fill(ctx, mux, url, to) }}
			return s.Serve(c.Context(), l)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8815", "loopback address")
	c.Flags().StringVar(&tokenFile, "flight-token", "flight-token", "file with the token that callers show")
	return c
}
