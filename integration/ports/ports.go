// Package ports finds TCP ports for servers that take theirs from a configuration.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The range lies below the ports that Linux gives to outgoing connections (ip_local_port_range), which could otherwise
// take one between its choice and its server's start.
const first, last = 20000, 32000

// Free returns n ports that nobody listens on.
func Free(n int) ([]int, error) {
	var found []int
	var open []net.Listener
	defer func() {
		for _, l := range open {
			l.Close()
		}
	}()
	var problem error
	for range 100 * n {
		if len(found) == n {
			return found, nil
		}
		port := first + rand.IntN(last-first)
		l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port))) // on all addresses
		if err != nil {
			problem = err
			continue
		}
		open = append(open, l)
		found = append(found, port)
	}
	return nil, errors.Join(fmt.Errorf("no %d free ports between %d and %d", n, first, last), problem)
}
