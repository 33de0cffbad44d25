package resource

import (
	"errors"
	"fmt"
	"strings"
)

// ErrKinds is returned, wrapped, when a kind of resource cannot be named.
var ErrKinds = errors.New("cannot name the kind of resource")

var wellKnown = [Named]string{"cpu", "memory", "disk", "gpu", "ports"}

// Kinds numbers the operator-named kinds of resource in the slots from Named on. The zero value knows none. A nil
// *Kinds may be read.
type Kinds struct {
	names [Slots - Named]string
}

// Name is the name of a slot's kind; "kind5" for one that has no name.
func (k *Kinds) Name(slot int) string {
	if slot >= 0 && slot < Named {
		return wellKnown[slot]
	}
	if k != nil && slot < Slots && slot >= Named && k.names[slot-Named] != "" {
		return k.names[slot-Named]
	}
	return fmt.Sprintf("kind%d", slot)
}

// Slot finds a kind by its name, well known or not.
func (k *Kinds) Slot(name string) (int, bool) {
	for i, n := range wellKnown {
		if n == name {
			return i, true
		}
	}
	if k != nil && name != "" {
		for i, n := range k.names {
			if n == name {
				return Named + i, true
			}
		}
	}
	return 0, false
}

// Intern finds or numbers a kind. The number is the lowest free one; fresh says that it was given now.
func (k *Kinds) Intern(name string) (slot int, fresh bool, err error) {
	if slot, ok := k.Slot(name); ok {
		return slot, false, nil
	}
	for i, n := range k.names {
		if n == "" {
			return Named + i, true, k.Set(Named+i, name)
		}
	}
	return 0, false, fmt.Errorf("%w %q: all %d numbers are taken (%s)", ErrKinds, name, len(k.names), strings.Join(k.names[:], ", "))
}

// Set gives a slot its name, as a fact of the state says. A slot is named once.
func (k *Kinds) Set(slot int, name string) error {
	if slot < Named || slot >= Slots {
		return fmt.Errorf("%w %q: slot %d is not one of %d to %d", ErrKinds, name, slot, Named, Slots-1)
	}
	if err := checkName(name); err != nil {
		return err
	}
	if old, ok := k.Slot(name); ok && old != slot {
		return fmt.Errorf("%w %q: it is slot %d already", ErrKinds, name, old)
	}
	if old := k.names[slot-Named]; old != "" && old != name {
		return fmt.Errorf("%w %q: slot %d is %q", ErrKinds, name, slot, old)
	}
	k.names[slot-Named] = name
	return nil
}

// checkName accepts names such as "yarn.io/fpga": 1 to 63 bytes of letters, digits and "./_-", beginning with a letter.
func checkName(name string) error {
	if name == "" || len(name) > 63 {
		return fmt.Errorf("%w %q: a name has 1 to 63 bytes", ErrKinds, name)
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || strings.IndexByte("./_-", c) >= 0)) {
			return fmt.Errorf("%w %q: letters, digits and ./_- only, beginning with a letter", ErrKinds, name)
		}
	}
	return nil
}
