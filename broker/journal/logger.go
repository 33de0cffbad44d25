package journal

import (
	"fmt"
	"io"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

type raftLogger = hclog.Logger

// bridge lets raft and the WAL log to zap.
func bridge(log *zap.Logger) raftLogger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Error})
	l.RegisterSink(sink{log})
	return l
}

type sink struct{ log *zap.Logger }

// Accept takes a line of raft's. Its information is our debugging: elections of a single voter interest nobody else.
func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	at := zapcore.DebugLevel
	switch level {
	case hclog.Warn:
		at = zapcore.InfoLevel
	case hclog.Error:
		at = zapcore.WarnLevel
	}
	entry := s.log.Check(at, msg)
	if entry == nil {
		return
	}
	fields := make([]zap.Field, 0, len(args)/2+1)
	if name != "" {
		fields = append(fields, zap.String("part", name))
	}
	for i := 0; i+1 < len(args); i += 2 {
		value := args[i+1]
		if f, ok := value.(hclog.Format); ok && len(f) > 0 {
			if format, ok := f[0].(string); ok {
				value = fmt.Sprintf(format, f[1:]...)
			}
		}
		fields = append(fields, zap.Any(fmt.Sprint(args[i]), value))
	}
	entry.Write(fields...)
}
