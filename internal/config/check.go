package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"kube-ipvs-proxy/internal/service"
)

// checker collects what is wrong with a configuration, and what is worth a warning.
type checker struct {
	flagOf   map[string]string // path of a field that a flag has set → the flag
	errs     []error
	warnings []string
}

// err returns everything that was refused as one error, nil if nothing was.
func (c *checker) err() error {
	if len(c.errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n%w", ErrInvalid, errors.Join(c.errs...))
}

func (c *checker) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

// refuse reports a value and what to do about it.
func (c *checker) refuse(path string, value any, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: %q: %s", c.name(path), fmt.Sprint(value), fmt.Sprintf(format, args...)))
}

// name returns what the operator called a field: its path, or the flag that set it.
func (c *checker) name(path string) string {
	field, index, _ := strings.Cut(path, "[")
	name, ok := c.flagOf[field]
	switch {
	case !ok:
		return path
	case index == "":
		return name
	}
	return name + "[" + index
}

// number checks that a number lies between two others, both included.
func (c *checker) number(path string, value *int32, least, most int) int {
	n := int(*value)
	if n < least || n > most {
		c.refuse(path, n, "give a number from %d to %d", least, most)
	}
	return n
}

// positive checks that a duration is more than 0.
func (c *checker) positive(path string, d time.Duration) time.Duration {
	if d <= 0 {
		c.refuse(path, d, "give a duration of more than 0, such as 30s")
	}
	return d
}

// timeout checks a duration that the kernel counts in seconds and of which 0 means to leave the kernel's value.
func (c *checker) timeout(path string, d time.Duration) time.Duration {
	switch {
	case d < 0:
		c.refuse(path, d, "give a duration in whole seconds, or 0 to keep the kernel's value")
	case d%time.Second != 0:
		c.warn("%s: %s is cut to %s, because the kernel counts whole seconds; 0 keeps its value", c.name(path), d,
			d.Truncate(time.Second))
	}
	return d.Truncate(time.Second)
}

// prefix reads a CIDR, with leading zeros if need be, as kube-proxy does, and clears the bits beyond its length.
func (c *checker) prefix(path, value string) (netip.Prefix, bool) {
	p, err := service.ParsePrefix(strings.TrimSpace(value))
	if err != nil || p.Addr().Is4In6() {
		c.refuse(path, value, "give a CIDR such as 10.244.0.0/16 or fd00:10:244::/56")
		return netip.Prefix{}, false
	}
	if _, strange := netip.ParsePrefix(strings.TrimSpace(value)); strange != nil {
		c.warn("%s: %q is read as %s; write it without leading zeros, which other programs take for octal numbers", c.name(path), value, p)
	}
	return p, true
}

// listener checks an address to listen on.
func (c *checker) listener(path, value string) string {
	ap, err := netip.ParseAddrPort(value)
	if err != nil || ap.Port() == 0 {
		c.refuse(path, value, "give an IP address, with a port from 1 to 65535 unless the default one will do: "+
			"127.0.0.1, 0.0.0.0:10256 or [::1]:10249")
	}
	return value
}

// interfaceName checks the name of a network interface, or what names begin with.
func (c *checker) interfaceName(path, value string, longest int) string {
	if value == "" || len(value) > longest || strings.ContainsAny(value, "/: \t\n\"'!") {
		c.refuse(path, value, "detectLocalMode needs it: give the name of an interface, 1 to %d characters", longest)
	}
	return value
}
