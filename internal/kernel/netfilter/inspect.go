package netfilter

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// Inspect returns what Ensure would put right in the tables, a fault for each table with anything wrong, and changes
// nothing. It executes one iptables-save for each family.
func (d *Driver) Inspect(ctx context.Context, wanted []Table) ([]dataplane.Fault, error) {
	d.settle()
	reads := map[dataplane.Family]func() (saved, error){}
	for _, w := range wanted {
		if reads[w.Family] == nil {
			if err := d.Available(w.Family); err != nil {
				return nil, err
			}
			reads[w.Family] = d.save(ctx, w.Family)
		}
	}
	found := map[dataplane.Family]saved{}
	for family, read := range reads {
		have, err := read()
		if err != nil {
			return nil, err
		}
		found[family] = have
	}
	var faults []dataplane.Fault
	for _, w := range wanted {
		if fault := d.inspect(w, found[w.Family][w.Name]); fault.What != "" {
			faults = append(faults, fault)
		}
	}
	return faults, nil
}

// inspect returns what is wrong with one table; the zero Fault if nothing is.
func (d *Driver) inspect(wanted Table, have savedTable) dataplane.Fault {
	prefix := fmt.Sprintf("%v table %s: ", wanted.Family, wanted.Name)
	if have.foreign {
		return dataplane.Fault{What: prefix + "it holds rules made with nft(8) that iptables cannot show; move those to a table of their own"}
	}
	c := compare(wanted.compiled(), have)
	if c.empty() {
		return dataplane.Fault{}
	}
	return dataplane.Fault{What: prefix + strings.Join(c.because, "; "), Repair: fmt.Sprintf("%s --noflush <<'EOF'\n%sEOF",
		filepath.Base(d.tools[wanted.Family].restore), c.text(wanted.Name))}
}

// compiled is the reverse of Compile.
func (t Table) compiled() table {
	out := table{name: t.Name}
	for _, c := range t.Chains {
		out.chains = append(out.chains, chain{name: c.Name, rules: c.Rules})
	}
	for _, j := range t.Jumps {
		out.jumps = append(out.jumps, jump{from: j.From, to: j.To, line: j.Rule})
	}
	return out
}
