package differential

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Kind says what an Item is.
type Kind string

// The kinds.
const (
	VirtualServer Kind = "virtual server"
	RealServer    Kind = "real server"
	Address       Kind = "address"
	Set           Kind = "ipset"
	Entry         Kind = "entry"
)

// Item is one thing in the kernel, as the tools print it.
type Item struct {
	Kind Kind
	// Of is the virtual server of a VirtualServer or RealServer, such as "-t 10.96.0.1:80", and the name of a Set or of an Entry's set.
	Of string
	// Text is the rest of the tool's line: options, real server, set type, element; or the Address.
	Text string
}

// String prints the item much as the tools do.
func (i Item) String() string {
	switch i.Kind {
	case VirtualServer:
		return "ipvsadm -A " + i.Of + " " + i.Text
	case RealServer:
		return "ipvsadm -a " + i.Of + " " + i.Text
	case Set:
		return "ipset create " + i.Of + " " + i.Text
	case Entry:
		return "ipset add " + i.Of + " " + i.Text
	}
	return "ip addr add " + i.Text + " dev kube-ipvs0"
}

func compareItems(a, b Item) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Of, b.Of), cmp.Compare(a.Text, b.Text))
}

// State is what one proxy has made of its kernel namespace. Order is left out of it.
type State map[Item]struct{}

// ParseState reads the output of "ipvsadm -Sn" and "ipset save", and takes the addresses of kube-ipvs0. Sets that are not
// a proxy's are left out.
func ParseState(ipvsadm, ipset string, addresses []netip.Prefix) State {
	s := State{}
	for line := range strings.Lines(ipvsadm) {
		if item, ok := parseServer(strings.Fields(line)); ok {
			s[item] = struct{}{}
		}
	}
	for line := range strings.Lines(ipset) {
		if item, ok := parseSet(strings.Fields(line)); ok {
			s[item] = struct{}{}
		}
	}
	for _, address := range addresses {
		s[Item{Kind: Address, Text: address.String()}] = struct{}{}
	}
	return s
}

// parseServer reads a line of ipvsadm -Sn: "-A -t ADDR:PORT -s rr …" or "-a -t ADDR:PORT -r ADDR:PORT …".
func parseServer(fields []string) (Item, bool) {
	if len(fields) < 4 {
		return Item{}, false
	}
	kind, after := VirtualServer, slices.Index(fields, "-s")
	if fields[0] == "-a" {
		kind, after = RealServer, slices.Index(fields, "-r")
	}
	if after < 2 {
		return Item{}, false
	}
	return Item{Kind: kind, Of: strings.Join(fields[1:after], " "), Text: strings.Join(fields[after:], " ")}, true
}

// parseSet reads a line of ipset save: "create NAME TYPE …" or "add NAME ELEMENT". The seed of a hash is nobody's choice.
func parseSet(fields []string) (Item, bool) {
	if len(fields) < 3 || !strings.HasPrefix(fields[1], "KUBE-") {
		return Item{}, false
	}
	kind, rest := Entry, fields[2:]
	if fields[0] == "create" {
		kind = Set
		if i := slices.Index(rest, "initval"); i >= 0 && i+1 < len(rest) {
			rest = slices.Delete(rest, i, i+2)
		}
	}
	return Item{Kind: kind, Of: fields[1], Text: strings.Join(rest, " ")}, true
}

// Has reports whether there is such a thing.
func (s State) Has(item Item) bool {
	_, found := s[item]
	return found
}

// Virtual returns the virtual server of that name.
func (s State) Virtual(server string) (Item, bool) {
	for item := range s {
		if item.Kind == VirtualServer && item.Of == server {
			return item, true
		}
	}
	return Item{}, false
}

// Reals returns the real servers of a virtual server, such as "10.244.1.2:8080", sorted.
func (s State) Reals(server string) []string {
	var found []string
	for item := range s {
		if item.Kind == RealServer && item.Of == server {
			found = append(found, strings.Fields(item.Text)[1])
		}
	}
	slices.Sort(found)
	return found
}

// setName is the name of a set for the family of an IP: "KUBE-6-…", cut to what ipset can store, for IPv6.
func setName(base string, six bool) string {
	if !six {
		return base
	}
	name := strings.Replace(base, "KUBE-", "KUBE-6-", 1)
	return name[:min(len(name), 31)]
}

// isSix reports whether the text of an address is of IPv6.
func isSix(address string) bool { return strings.Contains(address, ":") }

// inSet is the element that a virtual server has in a set of type hash:ip,port.
func inSet(base, server string) Item {
	flag, at, _ := strings.Cut(server, " ")
	protocol := map[string]string{"-t": "tcp", "-u": "udp", "--sctp-service": "sctp"}[flag]
	addrPort, err := netip.ParseAddrPort(at)
	if err != nil {
		return Item{}
	}
	element := addrPort.Addr().String() + "," + protocol + ":" + portOf(at)
	return Item{Kind: Entry, Of: setName(base, addrPort.Addr().Is6()), Text: element}
}

// serverOf is the virtual server that an element of a set of type hash:ip,port stands for.
func serverOf(element string) string {
	address, rest, _ := strings.Cut(element, ",")
	protocol, port, _ := strings.Cut(rest, ":")
	flag := map[string]string{"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}[protocol]
	if isSix(address) {
		address = "[" + address + "]"
	}
	return flag + " " + address + ":" + port
}

// portOf is the part of ADDRESS:PORT after the last colon.
func portOf(at string) string { return at[strings.LastIndex(at, ":")+1:] }
