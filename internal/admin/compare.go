package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/ledger"
	"kube-ipvs-proxy/internal/plan"
)

// Difference is one thing in the kernel that is not as it is wanted.
type Difference struct {
	What    string `json:"what"`              // and which, a phrase
	Command string `json:"command,omitempty"` // repairs it; may have several lines; empty if no single command can
	Owner   Owner  `json:"owner,omitzero"`    // for whom it is, or was, wanted; as far as known
}

// String prints the command, and as a comment what it is for, so that what is printed can be given to a shell.
func (d Difference) String() string {
	what := "# " + strings.ReplaceAll(d.What, "\n", " ")
	if d.Owner.Name != "" {
		what += " (Service " + d.Owner.Namespace + "/" + d.Owner.Name + ")"
	}
	switch {
	case d.Command == "":
		return what
	case strings.Contains(d.Command, "\n"):
		return what + "\n" + d.Command
	}
	return d.Command + "  " + what
}

// Found is what a look at the kernel found.
type Found struct {
	Faults []dataplane.Fault // of device, sets and rules
	dataplane.Objects
	// InTheWay are names of sets under which there is something else: what is wanted in these cannot be added one by one.
	InTheWay []string
}

// drainForever has a real server that is not wanted drain, whenever that began: how long it may is the daemon's business.
const drainForever = time.Hour

// Compare returns the differences between what is wanted and what a kernel has, in the order in which to repair them. A real
// server that drains is none, nor is anything that is somebody else's. The options are the planner's; what is ours is the
// view's to say.
func Compare(view View, desired Desired, found Found, options plan.Options) []Difference {
	var differences []Difference
	for _, fault := range found.Faults {
		differences = append(differences, Difference{What: fault.What, Command: fault.Repair})
	}
	options.Ours, options.DrainTimeout = view.Settings.Ours, drainForever
	planner, wanted, keys := plan.New(options), ledger.New(nil), dataplane.NewKeys()
	objects := desired.Objects
	objects.Entries = slices.DeleteFunc(slices.Clone(objects.Entries), func(e dataplane.Entry) bool { return slices.Contains(found.InTheWay, e.Set) })
	wanted.Replace(ledger.Owner{Name: "view"}, objects, keys)
	planner.Adopt(found.Objects)
	keys = dataplane.NewKeys()
	planner.Unsettled(wanted, keys)
	operations := planner.Plan(plan.Request{Keys: keys, Desired: wanted})
	if len(operations) == 0 {
		return differences
	}
	namer := newNamer(view, desired, found)
	for _, operation := range operations {
		if difference, is := namer.difference(operation); is {
			differences = append(differences, difference)
		}
	}
	return differences
}

// namer says what operations are about.
type namer struct {
	servers   map[dataplane.VirtualServerKey]Owner
	addresses map[netip.Addr]Owner
	entries   map[dataplane.Entry]Owner
	members   map[dataplane.Member]struct{} // that are wanted
	there     map[dataplane.Entry]struct{}  // keys of the kernel's entries
}

func newNamer(view View, desired Desired, found Found) namer {
	n := namer{servers: map[dataplane.VirtualServerKey]Owner{}, addresses: map[netip.Addr]Owner{}, entries: map[dataplane.Entry]Owner{},
		members: map[dataplane.Member]struct{}{}, there: map[dataplane.Entry]struct{}{}}
	for i, pool := range desired.Pools {
		n.servers[pool.Key] = view.VirtualServers[i].Owner
		for _, real := range pool.RealServers {
			n.members[dataplane.Member{VirtualServer: pool.Key, RealServer: real}] = struct{}{}
		}
	}
	for _, address := range view.Addresses {
		n.addresses[address.Address] = address.Owner
	}
	at := 0
	for _, set := range view.Sets {
		for _, entry := range set.Entries {
			n.entries[desired.Entries[at].Key()] = entry.Owner
			at++
		}
	}
	for _, entry := range found.Entries {
		n.there[entry.Key()] = struct{}{}
	}
	return n
}

// difference describes what an operation would repair. Flows that are to be forgotten are no difference.
func (n namer) difference(operation dataplane.Operation) (Difference, bool) {
	d := Difference{Command: operation.String()}
	state := map[dataplane.Verb]string{dataplane.Add: "missing", dataplane.Edit: "different", dataplane.Delete: "not wanted"}[operation.Verb]
	switch x := operation.Object.(type) {
	case dataplane.VirtualServer:
		d.What, d.Owner = "virtual server "+state, n.servers[x.Key]
	case dataplane.Member:
		if _, wanted := n.members[x]; operation.Verb == dataplane.Edit && !wanted {
			state = "not wanted, to be drained"
		}
		d.What, d.Owner = "real server "+state, n.servers[x.VirtualServer]
	case dataplane.Address:
		d.What, d.Owner = "address "+state, n.addresses[x.Addr]
	case dataplane.Entry:
		if _, there := n.there[x.Key()]; there && operation.Verb == dataplane.Add {
			state, d.Command = "different", strings.Replace(d.Command, "ipset add ", "ipset -exist add ", 1)
		}
		d.What, d.Owner = fmt.Sprintf("entry of set %s %s", x.Set, state), n.entries[x.Key()]
	default:
		return Difference{}, false
	}
	return d, true
}

// Lasting returns those of the differences that are still there at a second look.
func Lasting(first, second []Difference) []Difference {
	return slices.DeleteFunc(slices.Clone(first), func(d Difference) bool { return !slices.Contains(second, d) })
}
