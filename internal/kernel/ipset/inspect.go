package ipset

import (
	"context"
	"fmt"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// Inspection is what Inspect found.
type Inspection struct {
	Faults   []dataplane.Fault
	Readable []string // names of the sets that are there and of the right kind
	InTheWay []string // names under which there is something else
}

// Inspect returns what Ensure would put right, or could not, and changes nothing.
func (d *Driver) Inspect(ctx context.Context, sets []dataplane.Set) (Inspection, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	present, err := d.conn.headers(ctx)
	if err != nil {
		return Inspection{}, err
	}
	var found Inspection
	for _, set := range sets {
		fault := inspect(set, present)
		if fault.What != "" {
			found.Faults = append(found.Faults, fault)
		}
		have, exists := present[set.Name]
		switch {
		case !exists:
		case sameKind(have, set):
			found.Readable = append(found.Readable, set.Name)
		default:
			found.InTheWay = append(found.InTheWay, set.Name)
		}
	}
	return found, nil
}

// inspect returns what is wrong with one set; the zero Fault if nothing is.
func inspect(set dataplane.Set, present map[string]header) dataplane.Fault {
	have, exists := present[set.Name]
	switch {
	case !exists:
		return dataplane.Fault{What: "set " + set.Name + " missing", Repair: "ipset " + strings.TrimSpace(set.String())}
	case !sameKind(have, set):
		return dataplane.Fault{What: (&ConflictError{Set: set.Name, Found: have.String(), Wanted: kindOf(set).String()}).Error()}
	}
	if fault := difference(have, set); fault != "" {
		return dataplane.Fault{What: fmt.Sprintf("set %s: %s; it takes another set, swapped for this one, to change that", set.Name, fault)}
	}
	return dataplane.Fault{}
}
