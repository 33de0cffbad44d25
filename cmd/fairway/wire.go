package main

import (
	"fmt"
	"os"
	"os/user"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"fairway/adapters/hdfs"
	v1 "fairway/broker/api/fairwayv1"
	"fairway/broker/resource"
	"fairway/conf"
	"fairway/frameworks/storage"
	"fairway/frameworks/storage/local"
)

// logger makes the log of a daemon, on stderr.
func logger(c conf.Log) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, usageError{err}
	}
	z := zap.NewProductionConfig()
	if c.Format == "console" {
		z = zap.NewDevelopmentConfig()
		z.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
		z.DisableStacktrace = true
	}
	z.Level = zap.NewAtomicLevelAt(level)
	z.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return z.Build()
}

// hdfsOptions are how every part of the program reaches HDFS. log may be nil, as it is for commands that a person calls:
// what fails in the end they say as their error.
func hdfsOptions(c *conf.Config, log *zap.Logger) hdfs.Options {
	if log != nil {
		log = log.Named("hdfs")
	}
	return hdfs.Options{ConfDir: c.HDFS.ConfDir, Timeout: time.Duration(c.HDFS.Timeout), Logger: log}
}

// openers are the file systems that the binary knows.
func openers(c *conf.Config, log *zap.Logger) map[string]storage.Opener {
	return map[string]storage.Opener{"file": local.Opener(), "hdfs": hdfs.Opener(hdfsOptions(c, log))}
}

// fileSystems are all of them. A path without scheme lies in the default one of Hadoop's configuration. log may be nil.
func fileSystems(c *conf.Config, log *zap.Logger) (*storage.Mux, error) {
	url, err := hdfs.DefaultURL(hdfsOptions(c, log))
	if err != nil {
		return nil, usageError{err}
	}
	return storage.NewMux(openers(c, log), url), nil
}

// account is the name of who runs the command.
func account() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Geteuid())
}

// resources turns declared amounts into the wire's; nil if none is declared.
func resources(r conf.Resources, ports string) (*v1.Resources, error) {
	out := &v1.Resources{Named: r.Named}
	any := len(r.Named) > 0
	set := func(dst *int64, v *int64) {
		if v != nil {
			*dst, any = *v, true
		}
	}
	set(&out.CpuMilli, (*int64)(r.CPU))
	set(&out.MemoryBytes, (*int64)(r.Memory))
	set(&out.DiskBytes, (*int64)(r.Disk))
	set(&out.Gpus, r.GPUs)
	if ports != "" {
		set, err := resource.ParsePorts(ports)
		if err != nil {
			return nil, usagef("agent.ports: %w", err)
		}
		for _, p := range set {
			out.PortRanges = append(out.PortRanges, &v1.PortRange{First: uint32(p.First), Last: uint32(p.Last)})
		}
		out.Ports, any = int64(set.Len()), true
	}
	if !any {
		return nil, nil
	}
	return out, nil
}
