package conf

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"fairway/broker/resource"
)

// Duration is written as "30s", "10m", "24h".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration; write it as 30s, 10m or 24h", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Bytes is an amount of memory or disk, written as 512MiB, 8GiB, 8GB, 8G (a bare letter means the power of 1024).
type Bytes int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Bytes) UnmarshalText(b []byte) error {
	n, err := resource.ParseBytes(string(b))
	*v = Bytes(n)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (v Bytes) MarshalText() ([]byte, error) { return []byte(resource.FormatBytes(int64(v))), nil }

// CPU is an amount of cpu in thousandths, written as 4, 0.5 or 500m.
type CPU int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *CPU) UnmarshalText(b []byte) error {
	n, err := resource.ParseCPU(string(b))
	*v = CPU(n)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (v CPU) MarshalText() ([]byte, error) { return []byte(resource.FormatCPU(int64(v))), nil }

// yaml.v3 hands only string scalars to UnmarshalText, so numbers ("cpu: 4") come through here.
func scalar(n *yaml.Node, set func([]byte) error) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: want one value, not a list or a section", n.Line)
	}
	if err := set([]byte(n.Value)); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	return nil
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error { return scalar(n, d.UnmarshalText) }

// UnmarshalYAML implements yaml.Unmarshaler.
func (v *Bytes) UnmarshalYAML(n *yaml.Node) error { return scalar(n, v.UnmarshalText) }

// UnmarshalYAML implements yaml.Unmarshaler.
func (v *CPU) UnmarshalYAML(n *yaml.Node) error { return scalar(n, v.UnmarshalText) }
