package state

import (
	"fmt"

	"fairway/broker/resource"
)

// Bounds of a fact's fields, in bytes unless said. Apply refuses what is over them, so a state holds nothing that could
// not be written and read again.
const (
	MaxName  = 4 << 10  // Name, Host, User
	MaxText  = 64 << 10 // Text
	MaxBody  = 8 << 20  // Body
	MaxSaved = 1 << 20  // Body of FrameworkSaved
	MaxPorts = 256      // ranges
)

func bounded(f *Fact) error {
	body := MaxBody
	if f.Kind == FrameworkSaved {
		body = MaxSaved
	}
	switch {
	case len(f.Name) > MaxName:
		return fmt.Errorf("name of %d bytes, at most %d: %w", len(f.Name), MaxName, ErrTooLarge)
	case len(f.Host) > MaxName:
		return fmt.Errorf("host of %d bytes, at most %d: %w", len(f.Host), MaxName, ErrTooLarge)
	case len(f.User) > MaxName:
		return fmt.Errorf("user of %d bytes, at most %d: %w", len(f.User), MaxName, ErrTooLarge)
	case len(f.Text) > MaxText:
		return fmt.Errorf("text of %d bytes, at most %d: %w", len(f.Text), MaxText, ErrTooLarge)
	case len(f.Body) > body:
		return fmt.Errorf("body of %d bytes, at most %d: %w", len(f.Body), body, ErrTooLarge)
	case len(f.Ports) > MaxPorts:
		return fmt.Errorf("%d ranges of ports, at most %d: %w", len(f.Ports), MaxPorts, ErrTooLarge)
	}
	return portsFit(f.Ports)
}

func portsFit(ports []resource.PortRange) error {
	for _, r := range ports {
		if r.First > r.Last {
			return contradicts("range of ports %d-%d", r.First, r.Last)
		}
	}
	return nil
}

func contradicts(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrContradiction, fmt.Sprintf(format, args...))
}
