package sysctl

import (
	"fmt"
	"os"
	"path/filepath"
)

// Parameter is a kernel parameter with the value that it is to have.
type Parameter struct {
	Name  string // path below /proc/sys
	Value int
	Least bool // a larger value will do, too
}

// Deviation is a parameter that is not as wanted.
type Deviation struct {
	Parameter
	Have int
	Err  error // why Have is not known; nil if it is
}

// Wanted lists the parameters below /proc/sys that Apply would bring to what the settings say, in its order.
func (s System) Wanted(settings Settings) []Parameter {
	s = s.withDefaults()
	kernel, err := s.kernel()
	if err != nil {
		kernel = version{} // as in Apply, which says so
	}
	var list []Parameter
	for _, p := range settings.fixed(kernel) {
		list = append(list, Parameter{Name: p.name, Value: p.value})
	}
	if most := settings.Conntrack.conntrackMax(s.CPUs); most > 0 {
		list = append(list, Parameter{Name: conntrackMaxName, Value: most, Least: true})
	}
	return list
}

// Compare returns those parameters that are not as wanted, and changes nothing. A limit that belongs to the host and cannot
// be written in this network namespace is left out.
func (s System) Compare(wanted []Parameter) []Deviation {
	s = s.withDefaults()
	var found []Deviation
	for _, p := range wanted {
		path := filepath.Join(s.ProcSys, p.Name)
		have, err := read(path)
		switch {
		case err != nil:
			found = append(found, Deviation{Parameter: p, Err: fmt.Errorf("read %s: %w; %s", p.Name, err, remedy(p.Name))})
		case have == p.Value, p.Least && (have > p.Value || !writable(path)):
		default:
			found = append(found, Deviation{Parameter: p, Have: have})
		}
	}
	return found
}

// writable reports whether the kernel lets anybody write a parameter here.
func writable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o200 != 0
}
