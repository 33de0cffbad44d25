package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/spf13/cobra"

	"fairway/broker/server"
	"fairway/frameworks/mapreduce/columnar"
	"fairway/frameworks/mapreduce/results"
	"fairway/frameworks/storage"
)

func (a *app) catCommand() *cobra.Command {
	var arrow bool
	c := &cobra.Command{
		Use: "cat URL...", Short: "Print files, or the results in a job's output folder", Args: cobra.MinimumNArgs(1),
		Long: `Cat prints files, decompressed, or the part files of an output folder in order; rows of
Parquet and Arrow files as "key TAB value" lines. With --arrow it writes one Arrow IPC
stream of the rows instead, for pyarrow and others.`,
		Example: "  fairway cat hdfs:///counts\n  fairway cat --arrow hdfs:///counts | python3 -c 'import pyarrow as pa, sys; print(pa.ipc.open_stream(sys.stdin.buffer).read_all())'",
		RunE: func(c *cobra.Command, args []string) error {
			if arrow && len(args) > 1 {
				return usagef("--arrow takes one URL: a stream has one schema")
			}
			return a.files(nil, func(mux *storage.Mux) error {
				w := bufio.NewWriterSize(c.OutOrStdout(), 256<<10)
				for _, url := range args {
					if err := cat(c.Context(), mux, url, arrow, w); err != nil {
						return quietPipe(err)
					}
				}
				return quietPipe(w.Flush())
			})
		},
	}
	c.Flags().BoolVar(&arrow, "arrow", false, "write one Arrow IPC stream")
	return c
}

// quietPipe takes the end of a reader such as head for success.
func quietPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

func cat(ctx context.Context, mux *storage.Mux, url string, arrow bool, w io.Writer) error {
	fs, path, err := mux.Resolve(ctx, url, "")
	if err != nil {
		return err
	}
	if arrow {
		return results.CatArrow(ctx, fs, path, nil, w)
	}
	return results.Text(ctx, fs, path, w)
}

func (a *app) flightCommand() *cobra.Command {
	var listen, tokenFile string
	c := &cobra.Command{
		Use: "flight URL", Short: "Serve the results in a folder by Arrow Flight, on this machine", Args: cobra.ExactArgs(1),
		Long: `Flight serves the results at a URL and below it as Arrow streams to programs on this
machine: DoGet with a ticket that is a URL. It reads with the rights of who runs it.
Callers show the token of a file (written if absent) as "authorization: Bearer TOKEN".`,
		Example: "  fairway flight hdfs:///reports --listen 127.0.0.1:8815 --flight-token token\n" +
			"  python3 -c 'import pyarrow.flight as f; t=open(\"token\",\"rb\").read().strip(); print(f.connect(\"grpc://127.0.0.1:8815\").do_get(f.Ticket(b\"hdfs:///reports/counts\"), f.FlightCallOptions(headers=[(b\"authorization\", b\"Bearer \"+t)])).read_all())'",
		RunE: func(c *cobra.Command, args []string) error {
			token, err := server.LoadToken(tokenFile)
			if err != nil {
				return err
			}
			return a.files(nil, func(mux *storage.Mux) error {
				l, err := net.Listen("tcp", listen)
				if err != nil {
					return usagef("--listen: %w", err)
				}
				fmt.Fprintf(c.ErrOrStderr(), "Arrow Flight on %s; token in %s\n", l.Addr(), tokenFile)
				s := &columnar.Server{Token: token, Fill: results.Serving(mux, args[0], "")}
				return s.Serve(c.Context(), l)
			})
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8815", "loopback address")
	c.Flags().StringVar(&tokenFile, "flight-token", "flight-token", "file with the token that callers show")
	return c
}
