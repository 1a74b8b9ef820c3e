package admin

import (
	"fmt"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// IPVS prints the virtual and real servers as ipvsadm -Sn does, and in its order, for which it has to be known what the
// kernel has, in the kernel's order; see asIpvsadm.
func (d Desired) IPVS(found []dataplane.Pool) string {
	var out strings.Builder
	for _, pool := range asIpvsadm(d.Pools, found) {
		fmt.Fprintln(&out, pool.VirtualServer)
		for _, real := range pool.RealServers {
			fmt.Fprintln(&out, dataplane.Member{VirtualServer: pool.Key, RealServer: real})
		}
	}
	return out.String()
}

// IPSet prints the sets and their entries as ipset save does. The kernel has the entries in an order of its own.
func (d Desired) IPSet() string {
	var out strings.Builder
	entries := make(map[string][]dataplane.Entry, len(d.Sets))
	for _, entry := range d.Entries {
		entries[entry.Set] = append(entries[entry.Set], entry)
	}
	for _, set := range d.Sets {
		fmt.Fprintln(&out, set)
		for _, entry := range slices.SortedFunc(slices.Values(entries[set.Name]), dataplane.Entry.Compare) {
			fmt.Fprintln(&out, entry)
		}
	}
	return out.String()
}

// IPAddr prints the commands that bind the addresses.
func (d Desired) IPAddr() string {
	var out strings.Builder
	for _, addr := range d.Objects.Addresses {
		fmt.Fprintln(&out, dataplane.Operation{Verb: dataplane.Add, Object: dataplane.Address{Addr: addr}})
	}
	return out.String()
}

// IPTables prints the chains and jumps of one family as iptables-save does: of each table what is the daemon's own.
func (v View) IPTables(family dataplane.Family) string {
	var out strings.Builder
	for _, table := range v.Tables {
		if table.Family != family.String() {
			continue
		}
		fmt.Fprintf(&out, "*%s\n", table.Name)
		for _, chain := range table.Chains {
			fmt.Fprintf(&out, ":%s - [0:0]\n", chain.Name)
		}
		for _, jump := range slices.Backward(table.Jumps) {
			fmt.Fprintln(&out, jump.Rule)
		}
		for _, chain := range table.Chains {
			for _, rule := range chain.Rules {
				fmt.Fprintln(&out, rule)
			}
		}
		fmt.Fprintln(&out, "COMMIT")
	}
	return out.String()
}
