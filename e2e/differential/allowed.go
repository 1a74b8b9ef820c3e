package differential

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rule allows one kind of difference.
type Rule struct {
	Name string
	ID   string // of the promise that asks for the difference
	Why  string
	// Allows reports whether the difference is meant. It looks for the whole of what is meant, not only for the one line.
	Allows func(d Difference, p Pair) bool
}

// The daemon's own sets, which kube-proxy does not have.
const (
	noEndpoints = "KUBE-NO-ENDPOINTS"
	noLocal     = "KUBE-NO-LOCAL"
	nodePortIPs = "KUBE-NODE-PORT-IPS"
	servedIPs   = "KUBE-SERVED-IPS"
	marks       = "KUBE-INTERNAL-MARK"
)

// masqueradeBit is what both set on packets that are to be masqueraded.
const masqueradeBit = 0x4000

// firstNodePort begins the API server's range of node ports.
const firstNodePort = 30000

// Rules returns everything that may differ. Each is needed by a scenario; a test holds that.
func Rules() []Rule {
	return []Rule{
		{"no empty virtual server", "P27", "A virtual server without real servers lets clients hang; KUBE-NO-ENDPOINTS has it refused, or KUBE-NO-LOCAL dropped.", emptyServer},
		{"no remote endpoints under the policy Local", "P26", "internalTrafficPolicy Local has no fall-back to other nodes: KUBE-NO-LOCAL has the traffic dropped.", remoteServer},
		{"KUBE-NO-ENDPOINTS", "P27", "A set of our own: exactly what kube-proxy has an empty virtual server for.", noEndpointsSet},
		{"KUBE-NO-LOCAL", "P26", "A set of our own: exactly what kube-proxy serves by remote endpoints, or by none, under the policy Local.", noLocalSet},
		{"KUBE-INTERNAL-MARK", "P26", "A set of our own, and virtual servers for its marks: clients inside the cluster get all endpoints where externalTrafficPolicy is Local.", internalMark},
		{"KUBE-NODE-PORT-IPS", "P17", "A set of our own, since a port number alone does not make a NodePort: the addresses NodePorts are served on.", nodePortSet},
		{"KUBE-SERVED-IPS", "P01", "A set of our own: the addresses of all that kube-proxy has a virtual server for, so that packets to others pass one rule.", servedSet},
		{"health-check ports without NodePort addresses", "P16", "Health checks pass the filter whatever nodePortAddresses selects; kube-proxy leaves out the ports of Services with NodePorts when it selects nothing.", healthPort},
		{"bucket size", "P21", "Sets have kube-proxy's parameters; that its ipset asks for the newest revision of the type, too, which has a bucket size, changes nothing for either.", bucketSize},
		{"fall-back of sh and mh", "P14", "Without the flag new connections fail as long as an endpoint drains.", fallback},
		{"addresses of other nodes are not bound", "P18", "Binding one cuts this node off from that one. Where nodePortAddresses names networks, kube-proxy then serves NodePorts on it, too.", otherNode},
		{"source range of length 0", "P20", "hash:net cannot hold it, so it is stored in two halves; kube-proxy leaves all ranges of the family away, with the same effect.", everySource},
	}
}

// emptyServer: kube-proxy has a virtual server with nothing behind it, the daemon an entry instead.
func emptyServer(d Difference, p Pair) bool {
	if d.Ours || d.Kind != VirtualServer || len(p.Theirs.Reals(d.Of)) > 0 || p.has(d.Of) {
		return false
	}
	return p.Ours.Has(inSet(noEndpoints, d.Of)) || p.Ours.Has(inSet(noLocal, d.Of))
}

// remoteServer: kube-proxy has a virtual server with endpoints of other nodes only, the daemon an entry instead.
func remoteServer(d Difference, p Pair) bool {
	if d.Ours || d.Kind != VirtualServer && d.Kind != RealServer || p.has(d.Of) {
		return false
	}
	return len(p.Theirs.Reals(d.Of)) > 0 && p.remoteOnly(d.Of) && p.Ours.Has(inSet(noLocal, d.Of))
}

func noEndpointsSet(d Difference, p Pair) bool {
	switch {
	case !d.Ours || d.Of != noEndpoints && d.Of != setName(noEndpoints, true):
		return false
	case d.Kind == Set:
		return true
	}
	server := serverOf(d.Text)
	_, theirs := p.Theirs.Virtual(server)
	return theirs && len(p.Theirs.Reals(server)) == 0 && !p.has(server)
}

func noLocalSet(d Difference, p Pair) bool {
	switch {
	case !d.Ours || d.Of != noLocal && d.Of != setName(noLocal, true):
		return false
	case d.Kind == Set:
		return true
	}
	server := serverOf(d.Text)
	_, theirs := p.Theirs.Virtual(server)
	return theirs && p.remoteOnly(server)
}

// internalMark: the entry is one of those that kube-proxy has under externalTrafficPolicy Local, or the virtual server is
// that of such an entry's mark.
func internalMark(d Difference, p Pair) bool {
	switch {
	case !d.Ours:
		return false
	case d.Kind == VirtualServer || d.Kind == RealServer:
		return slices.Contains(p.marked(strings.HasSuffix(d.Of, " -6")), d.Of)
	case d.Of != marks && d.Of != setName(marks, true):
		return false
	case d.Kind == Set:
		return true
	}
	element, _, _ := strings.Cut(d.Text, " ")
	address, protocolPort, _ := strings.Cut(element, ",")
	protocol, port, _ := strings.Cut(protocolPort, ":")
	six := isSix(address)
	for _, set := range []string{"KUBE-EXTERNAL-IP-LOCAL", "KUBE-LOAD-BALANCER-LOCAL", "KUBE-NODE-PORT-LOCAL-SCTP-HASH"} {
		if p.Theirs.Has(Item{Entry, setName(set, six), element}) {
			return true
		}
	}
	addr, err := netip.ParseAddr(address)
	return err == nil && slices.Contains(p.NodePorts, addr) &&
		p.Theirs.Has(Item{Entry, setName("KUBE-NODE-PORT-LOCAL-"+strings.ToUpper(protocol), six), port})
}

// marked are the virtual servers that the marks in the daemon's set lead to, before and after packets have been chosen to be
// masqueraded.
func (p Pair) marked(six bool) []string {
	suffix := ""
	if six {
		suffix = " -6"
	}
	var servers []string
	for item := range p.Ours {
		if item.Kind != Entry || item.Of != setName(marks, six) {
			continue
		}
		_, text, _ := strings.Cut(item.Text, "skbmark ")
		text, _, _ = strings.Cut(text, "/")
		if mark, err := strconv.ParseUint(strings.TrimSpace(text), 0, 32); err == nil {
			servers = append(servers, fmt.Sprintf("-f %d%s", mark, suffix), fmt.Sprintf("-f %d%s", mark|masqueradeBit, suffix))
		}
	}
	return servers
}

func nodePortSet(d Difference, p Pair) bool {
	if !d.Ours || d.Of != nodePortIPs && d.Of != setName(nodePortIPs, true) {
		return false
	}
	addr, err := netip.ParseAddr(d.Text)
	return d.Kind == Set || err == nil && slices.Contains(p.NodePorts, addr)
}

// servedSet: the entry is an address of one of kube-proxy's virtual servers, or one that NodePorts are served on.
func servedSet(d Difference, p Pair) bool {
	if !d.Ours || d.Of != servedIPs && d.Of != setName(servedIPs, true) {
		return false
	}
	addr, err := netip.ParseAddr(d.Text)
	if d.Kind == Set || err == nil && slices.Contains(p.NodePorts, addr) {
		return true
	}
	for item := range p.Theirs {
		_, text, _ := strings.Cut(item.Of, " ")
		at, notServer := netip.ParseAddrPort(text)
		if item.Kind == VirtualServer && notServer == nil && err == nil && at.Addr() == addr {
			return true
		}
	}
	return false
}

// healthPort: kube-proxy has no virtual server for any NodePort of the family.
func healthPort(d Difference, p Pair) bool {
	const set = "KUBE-HEALTH-CHECK-NODE-PORT"
	six := d.Of == setName(set, true)
	if !d.Ours || d.Kind != Entry || d.Of != set && !six {
		return false
	}
	for item := range p.Theirs {
		_, text, _ := strings.Cut(item.Of, " ")
		at, err := netip.ParseAddrPort(text)
		if item.Kind == VirtualServer && err == nil && at.Addr().Is6() == six && at.Port() >= firstNodePort && slices.Contains(p.NodePorts, at.Addr()) {
			return false
		}
	}
	return true
}

// bucketSize: the same set, but for the bucket size that kube-proxy's has.
func bucketSize(d Difference, p Pair) bool {
	const size = " bucketsize 12"
	if d.Kind != Set {
		return false
	}
	plain := strings.TrimSuffix(d.Text, size)
	return p.Ours.Has(Item{Set, d.Of, plain}) && p.Theirs.Has(Item{Set, d.Of, plain + size})
}

// fallback: the same virtual server, but for the flag.
func fallback(d Difference, p Pair) bool {
	if d.Kind != VirtualServer {
		return false
	}
	ours, have := p.Ours.Virtual(d.Of)
	theirs, had := p.Theirs.Virtual(d.Of)
	return have && had && ours.Text != theirs.Text && ours.Text == withFallback(theirs.Text)
}

// withFallback adds the flag to the options of a virtual server with sh or mh.
func withFallback(options string) string {
	fields := strings.Fields(options)
	if len(fields) < 2 || fields[1] != "sh" && fields[1] != "mh" {
		return options
	}
	flag := fields[1] + "-fallback"
	if i := slices.Index(fields, "-b"); i >= 0 && i+1 < len(fields) {
		fields[i+1] = flag + "," + fields[i+1]
	} else {
		fields = append(fields, "-b", flag)
	}
	return strings.Join(fields, " ")
}

// otherNode: kube-proxy has bound the address of another node, or serves a NodePort on it.
func otherNode(d Difference, p Pair) bool {
	if d.Ours || d.Kind == Set {
		return false
	}
	server := d.Of
	switch {
	case d.Kind == Address || d.Kind == Entry && d.Of == setName("KUBE-IPVS-IPS", isSix(d.Text)):
		text, _, _ := strings.Cut(d.Text, "/")
		addr, err := netip.ParseAddr(text)
		return err == nil && slices.Contains(p.OtherNodes, addr)
	case d.Kind == Entry:
		server = serverOf(d.Text)
	}
	_, text, _ := strings.Cut(server, " ")
	at, err := netip.ParseAddrPort(text)
	return err == nil && slices.Contains(p.OtherNodes, at.Addr()) && at.Port() >= firstNodePort
}

// everySource: the daemon has both halves of everything as source ranges of a load-balancer address.
func everySource(d Difference, p Pair) bool {
	if !d.Ours || d.Kind != Entry {
		return false
	}
	parts := strings.SplitN(d.Text, ",", 3)
	six := isSix(parts[0])
	sources := setName("KUBE-LOAD-BALANCER-SOURCE-CIDR", six)
	if !slices.Contains([]string{setName("KUBE-LOAD-BALANCER-FW", six), sources, setName("KUBE-LOAD-BALANCER-SOURCE-IP", six)}, d.Of) {
		return false
	}
	halves := []string{"0.0.0.0/1", "128.0.0.0/1"}
	if six {
		halves = []string{"::/1", "8000::/1"}
	}
	for _, half := range halves {
		if !p.Ours.Has(Item{Entry, sources, parts[0] + "," + parts[1] + "," + half}) {
			return false
		}
	}
	// kube-proxy must not limit the address at all.
	return !p.Theirs.Has(Item{Entry, setName("KUBE-LOAD-BALANCER-FW", six), parts[0] + "," + parts[1]})
}

// has reports whether the daemon has the virtual server.
func (p Pair) has(server string) bool {
	_, found := p.Ours.Virtual(server)
	return found
}

// remoteOnly reports whether none of the real servers that kube-proxy has is on this node, as its own set of local
// endpoints tells.
func (p Pair) remoteOnly(server string) bool {
	_, entry, _ := strings.Cut(inSet("", server).Text, ",")
	protocol, _, _ := strings.Cut(entry, ":")
	for _, real := range p.Theirs.Reals(server) {
		at, err := netip.ParseAddrPort(real)
		if err != nil {
			return false
		}
		addr := at.Addr().String()
		element := addr + "," + protocol + ":" + portOf(real) + "," + addr
		if p.Theirs.Has(Item{Entry, setName("KUBE-LOOP-BACK", at.Addr().Is6()), element}) {
			return false
		}
	}
	return true
}
