package supervisor

// Exit is the exit record: how a container ended. It is a small text file, one "key value" to a line, closed by a
// checksum, so that a torn or foreign file is never taken for one.
type Exit struct {
	Code         int    // exit code; meaningless if Signal is set
	Signal       int    // the signal that ended the task's first process; 0: it exited
	OOM          bool   // the memory limit ended it
	Killed       bool   // an agent asked for the end before it came
	PeakBytes    int64  // of the whole container, or of its largest process where there is no cgroup; 0: unknown
	CPUNanos     int64  // of the whole container
	StartNanos   int64  // Unix nanoseconds
	EndNanos     int64  // Unix nanoseconds
	StartFailure string // why the task's program could not be executed; the other fields mean nothing then
}

const recordHead = "fairway-exit 1\n"

// MaxRecord bounds an exit record, in bytes.
const MaxRecord = 4096

// Encode returns the record as it is in the file.
func (x *Exit) Encode() []byte {
	b := append(make([]byte, 0, 256), recordHead...)
	line := func(key string, n int64) {
		b = append(b, key...)
		b = append(b, ' ')
		b = appendInt(b, n)
		b = append(b, '\n')
	}
	line("code", int64(x.Code))
	line("signal", int64(x.Signal))
	line("oom", truth(x.OOM))
	line("killed", truth(x.Killed))
	line("peak", x.PeakBytes)
	line("cpu", x.CPUNanos)
	line("start", x.StartNanos)
	line("end", x.EndNanos)
	if x.StartFailure != "" {
		b = append(b, "failure "...)
		for i := 0; i < len(x.StartFailure) && i < 2048; i++ {
			c := x.StartFailure[i]
			if c < ' ' {
				c = ' '
			}
			b = append(b, c)
		}
		b = append(b, '\n')
	}
	sum := checksum(b)
	line("sum", int64(sum>>1))
	return b
}

// DecodeExit reads what Encode wrote; false: it is not a whole record.
func DecodeExit(b []byte) (*Exit, bool) {
	if len(b) > MaxRecord || len(b) < len(recordHead) || string(b[:len(recordHead)]) != recordHead {
		return nil, false
	}
	x := &Exit{}
	for at := len(recordHead); at < len(b); {
		end := at
		for end < len(b) && b[end] != '\n' {
			end++
		}
		if end == len(b) {
			return nil, false
		}
		space := at
		for space < end && b[space] != ' ' {
			space++
		}
		if space == end {
			return nil, false
		}
		key, value := string(b[at:space]), b[space+1:end]
		if key == "failure" {
			x.StartFailure = string(value)
			at = end + 1
			continue
		}
		n, ok := parseInt(value)
		if !ok {
			return nil, false
		}
		switch key {
		case "code":
			x.Code = int(n)
		case "signal":
			x.Signal = int(n)
		case "oom":
			x.OOM = n != 0
		case "killed":
			x.Killed = n != 0
		case "peak":
			x.PeakBytes = n
		case "cpu":
			x.CPUNanos = n
		case "start":
			x.StartNanos = n
		case "end":
			x.EndNanos = n
		case "sum":
			return x, end+1 == len(b) && n == int64(checksum(b[:at])>>1)
		}
		at = end + 1
	}
	return nil, false
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// checksum is 64-bit FNV-1a.
func checksum(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		b = append(b, '-')
		n = -n
	}
	var d [20]byte
	i := len(d)
	for {
		i--
		d[i] = byte('0' + uint64(n)%10)
		n = int64(uint64(n) / 10)
		if n == 0 {
			break
		}
	}
	return append(b, d[i:]...)
}

func parseInt(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if n > 1<<63-1 {
		return 0, false
	}
	if negative {
		return -int64(n), true
	}
	return int64(n), true
}
