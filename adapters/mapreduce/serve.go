package mapreduce

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"fairway/adapters/recent"
)

const (
	// A partition up to this many bytes is copied into the buffer with its header; a larger one goes by sendfile.
	smallPartition = 64 << 10
	bufferSize     = 256 << 10
	// A response keeps so many files open between looking and sending; those of further maps are opened again.
	keptFiles = 32
	// So much of a file must have gone out within sendPatience, or the fetcher has stopped reading.
	sendChunk    = 16 << 20
	sendPatience = 5 * time.Minute
	retryAfter   = "1000" // milliseconds: Hadoop's fetchers read it so
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, bufferSize); return &b }}

// part is one map's partition of a response.
type part struct {
	attempt string
	dir     string
	span    span
	file    *os.File // nil: opened again when its turn comes
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if ref := s.respond(w, r); ref != nil {
		s.refuse(w, r, ref)
	}
}

// respond answers a good request; for any other nothing has been written.
func (s *Server) respond(w http.ResponseWriter, r *http.Request) *refusal {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok && c.over {
		return &refusal{status: http.StatusTooManyRequests}
	}
	if r.Method != http.MethodGet {
		return &refusal{status: http.StatusMethodNotAllowed}
	}
	if len(r.RequestURI) > maxURL {
		return badRequest("URL of more than " + strconv.Itoa(maxURL) + " bytes")
	}
	if r.Header.Get(headerName) != protocolName || r.Header.Get(headerVersion) != protocolVersion {
		return badRequest("Incompatible shuffle request version")
	}
	if r.URL.Path != "/mapOutput" || r.RequestURI[0] != '/' {
		return &refusal{status: http.StatusNotFound, message: "There is only /mapOutput"}
	}
	q, ref := parseQuery(r.URL.RawQuery)
	if ref != nil {
		return ref
	}
	reg := s.jobs.find(q.job)
	if reg == nil {
		return &refusal{status: http.StatusUnauthorized, message: "Could not find jobid"}
	}
	hash := r.Header.Get(headerURLHash)
	if hash == "" {
		return &refusal{status: http.StatusUnauthorized, message: "fetcher cannot be authenticated"}
	}
	if !verify(reg.Secret, s.port, r.RequestURI, hash) {
		return &refusal{status: http.StatusUnauthorized, message: "Verification of the hashReply failed"}
	}
	parts, length, err := s.gather(reg, q)
	defer closeAll(parts)
	if err != nil {
		return &refusal{status: http.StatusInternalServerError, message: err.Error()}
	}
	h := w.Header()
	h[headerReplyHash] = []string{sign(reg.Secret, hash)}
	h[headerName] = []string{protocolName}
	h[headerVersion] = []string{protocolVersion}
	h["Content-Type"] = nil // net/http would guess one
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	if q.keepAlive {
		h.Set("Connection", "Keep-Alive")
		h.Set("Keep-Alive", "timeout="+strconv.Itoa(int(keepAlive/time.Second)))
	} else {
		h.Set("Connection", "close")
	}
	w.WriteHeader(http.StatusOK)
	s.metrics.requests.WithLabelValues("200").Inc()
	if err := s.send(w, reg, q.reduce, parts); err != nil {
		// What was promised cannot be kept: net/http closes the connection when less was written than announced.
		s.metrics.failed.Inc()
		if !errors.Is(err, net.ErrClosed) && !isReset(err) {
			s.log.Warn("map output not sent to its end", zap.String("job", q.job), zap.Int("reduce", q.reduce),
				zap.String("peer", r.RemoteAddr), zap.Error(err))
		}
	}
	return nil
}

// gather finds all partitions and says how long the whole body is. What it returns with an error is to be closed too.
func (s *Server) gather(reg *registration, q request) (parts []part, length int64, err error) {
	parts = make([]part, 0, len(q.maps))
	var header [maxAttempt + 32]byte
	for _, attempt := range q.maps {
		p, err := s.find(reg, q.job, attempt, q.reduce)
		if err != nil {
			return parts, 0, err
		}
		if len(parts) >= keptFiles {
			p.file.Close()
			p.file = nil
		}
		parts = append(parts, p)
		length += p.span.length + int64(len(appendHeader(header[:0], attempt, p.span, q.reduce)))
		if length < 0 {
			return parts, 0, errors.New("partitions of more than 2^63 bytes")
		}
	}
	return parts, length, nil
}

// find looks one partition up and opens its file.
func (s *Server) find(reg *registration, job, attempt string, reduce int) (part, error) {
	key := recent.Key{Job: job, Name: attempt}
	for {
		x, known := s.indexes.Get(key)
		if !known {
			var err error
			if x, err = readIndex(reg, attempt); err != nil {
				return part{}, fmt.Errorf("output of %s: %w", attempt, err)
			}
			s.indexes.Put(key, x, len(x.records))
		}
		p := part{attempt: attempt, dir: x.dir}
		f, size, err := openOwned(x.dir, dataFile(attempt), reg.UID)
		if err != nil {
			s.indexes.Drop(key)
			if known && errors.Is(err, fs.ErrNotExist) {
				continue // the folder that the index was found in may have changed
			}
			return part{}, fmt.Errorf("output of %s: %w", attempt, err)
		}
		if p.span, err = x.partition(reduce); err == nil && p.span.start+p.span.length > size {
			err = fmt.Errorf("file of %d bytes ends before partition %d does, at %d", size, reduce, p.span.start+p.span.length)
		}
		if err != nil {
			f.Close()
			return part{}, fmt.Errorf("output of %s: %w", attempt, err)
		}
		p.file = f
		return p, nil
	}
}

func dataFile(attempt string) string { return "output/" + attempt + "/file.out" }

// send writes headers and partitions in the order that they were asked for.
func (s *Server) send(w http.ResponseWriter, reg *registration, reduce int, parts []part) error {
	control := http.NewResponseController(w)
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	b := (*pooled)[:0]
	flush := func() error {
		if len(b) == 0 {
			return nil
		}
		if err := control.SetWriteDeadline(time.Now().Add(sendPatience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		_, err := w.Write(b)
		b = b[:0]
		return err
	}
	for i := range parts {
		p := &parts[i]
		if p.file == nil {
			f, size, err := openOwned(p.dir, dataFile(p.attempt), reg.UID)
			if err != nil {
				return err
			}
			p.file = f
			if size < p.span.start+p.span.length {
				return fmt.Errorf("output of %s became shorter", p.attempt)
			}
		}
		if len(b)+maxAttempt+32+int(min(p.span.length, smallPartition)) > bufferSize {
			if err := flush(); err != nil {
				return err
			}
		}
		b = appendHeader(b, p.attempt, p.span, reduce)
		if p.span.length <= smallPartition {
			n := len(b)
			b = b[:n+int(p.span.length)]
			if _, err := p.file.ReadAt(b[n:], p.span.start); err != nil {
				return fmt.Errorf("output of %s: %w", p.attempt, err)
			}
		} else {
			if err := flush(); err != nil {
				return err
			}
			if err := sendFile(w, control, p); err != nil {
				return err
			}
		}
		s.metrics.outputs.Inc()
		s.metrics.bytes.Add(float64(p.span.length))
		err := p.file.Close()
		p.file = nil
		if err != nil {
			return err
		}
	}
	return flush()
}

// sendFile has the kernel copy a partition: net/http hands a file behind a limit to its connection, which uses sendfile.
func sendFile(w http.ResponseWriter, control *http.ResponseController, p *part) error {
	if _, err := p.file.Seek(p.span.start, io.SeekStart); err != nil {
		return err
	}
	for left := p.span.length; left > 0; {
		if err := control.SetWriteDeadline(time.Now().Add(sendPatience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		n, err := io.CopyN(w, p.file, min(left, sendChunk))
		left -= n
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("output of %s became shorter", p.attempt)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func closeAll(parts []part) {
	for _, p := range parts {
		if p.file != nil {
			p.file.Close()
		}
	}
}

// refuse answers as Hadoop does: text, the protocol's headers, and the connection is closed.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, ref *refusal) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h[headerName] = []string{protocolName}
	h[headerVersion] = []string{protocolVersion}
	h.Set("Content-Length", strconv.Itoa(len(ref.message)))
	h.Set("Connection", "close")
	if ref.status == http.StatusTooManyRequests {
		h.Set("Retry-After", retryAfter)
	}
	w.WriteHeader(ref.status)
	io.WriteString(w, ref.message)
	s.metrics.requests.WithLabelValues(strconv.Itoa(ref.status)).Inc()
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		peer = r.RemoteAddr
	}
	job := r.URL.Query().Get("job")
	write := s.log.Debug
	if s.told.first(fmt.Sprintf("%s %d %.80s %.80s", peer, ref.status, ref.message, job), time.Now()) {
		write = s.log.Warn
	}
	write("shuffle request refused", zap.String("peer", r.RemoteAddr), zap.Int("status", ref.status),
		zap.String("why", ref.message), zap.String("url", fmt.Sprintf("%.500s", r.RequestURI)))
}
