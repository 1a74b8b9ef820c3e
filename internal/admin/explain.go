package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/packet"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// Explanation is the answer to a Question.
type Explanation struct {
	Address string `json:"address"` // as asked, with the protocol: "10.96.0.1:80/tcp"
	Node    string `json:"node"`    // on which it is so
	Daemon  bool   `json:"daemon"`  // a running daemon said so; else it was worked out what one would want
	Found   bool   `json:"found"`   // a Service is served there
	// Service is the one whose virtual server it is.
	Service *Served   `json:"service,omitempty"`
	Notes   []string  `json:"notes,omitempty"`   // sentences
	Clients []Outcome `json:"clients,omitempty"` // what becomes of new connections
}

// Served is a port of a Service at an address.
type Served struct {
	Owner
	Number   uint16   `json:"number"`             // of the port
	Kinds    []string `json:"kinds"`              // what the address is to the Service: "ClusterIP", "externalIP", "load-balancer IP", "NodePort"
	Settings []string `json:"settings,omitempty"` // fields of the Service that matter, "externalTrafficPolicy: Local"
}

// Verdict is what becomes of a connection.
type Verdict string

// The verdicts.
const (
	VerdictServed    Verdict = "served"
	VerdictRefused   Verdict = "refused"   // with an answer that ends the attempt
	VerdictDropped   Verdict = "dropped"   // without one
	VerdictNode      Verdict = "node"      // no virtual server: left to the node's own processes
	VerdictElsewhere Verdict = "elsewhere" // the address is not this node's, and no virtual server's: routes decide
)

// Outcome is what becomes of new connections of one client.
type Outcome struct {
	Client  string     `json:"client"` // who that is, a phrase
	From    netip.Addr `json:"from"`
	Verdict Verdict    `json:"verdict"`
	Because string     `json:"because,omitempty"` // of what is not served
	// VirtualServer and its real servers, as ipvsadm -Sn prints them.
	VirtualServer []string         `json:"virtualServer,omitempty"`
	Draining      []netip.AddrPort `json:"draining,omitempty"` // real servers with old connections only
	Endpoints     []Candidate      `json:"endpoints,omitempty"`
	Masqueraded   bool             `json:"masqueraded"`      // the endpoint sees an address of this node
	Source        string           `json:"source,omitempty"` // why, a phrase
	Rules         []Hit            `json:"rules"`            // that the connection's first packet meets, in order
}

// Case is what an explanation is made from: what is wanted, and those Services that the question concerns.
type Case struct {
	View     reconcile.View
	Services []reconcile.Delivered
	Settings Settings
	Compile  Compile
}

// explainer answers one question.
type explainer struct {
	Case
	question Question
	filter   filter
}

// Explain answers a question. The rules are passed as the packet filter would, with what is wanted in the sets; rules of
// others are not known. The error is that of a rule that cannot be expressed, or that a kernel would not take.
func Explain(c Case, q Question) (Explanation, error) {
	e, err := newExplainer(c, q)
	if err != nil {
		return Explanation{}, err
	}
	out := Explanation{Address: q.String(), Node: c.Settings.Node}
	s, notes := e.find()
	if out.Notes = notes; s != nil {
		out.Found, out.Service = true, &s.Served
	}
	if s != nil || slices.Contains(c.View.Objects.Addresses, q.To.Addr()) {
		clients, more := e.clients(s)
		out.Notes = append(out.Notes, more...)
		for _, client := range clients {
			outcome, err := e.follow(client, s)
			if err != nil {
				return Explanation{}, fmt.Errorf("pass the daemon's own rules: %w", err)
			}
			out.Clients = append(out.Clients, outcome)
		}
	}
	return out, nil
}

func newExplainer(c Case, q Question) (explainer, error) {
	f := filter{lines: map[chainID][]string{},
		Filter: packet.Filter{Types: map[string]dataplane.SetType{}, Entries: map[string][]dataplane.Entry{}}}
	for _, rules := range c.View.Foundation.Rulesets {
		if rules.Family != q.family() {
			continue
		}
		f.Rules = rules
		tables, err := c.Compile(rules)
		if err != nil {
			return explainer{}, fmt.Errorf("put the rules into iptables' words: %w", err)
		}
		for _, table := range tables {
			for _, chain := range table.Chains {
				f.lines[chainID{table.Name, chain.Name}] = chain.Rules
			}
		}
	}
	for _, set := range c.View.Foundation.Sets {
		f.Types[set.Name] = set.Type
	}
	for _, entry := range c.View.Objects.Entries {
		f.Entries[entry.Set] = append(f.Entries[entry.Set], entry)
	}
	f.Local = func(addr netip.Addr) bool {
		return addr.IsLoopback() || slices.Contains(c.View.Basis.Facts.Local, addr) || slices.Contains(c.View.Objects.Addresses, addr)
	}
	return explainer{c, q, f}, nil
}

// served is the Service that has the virtual server asked for.
type served struct {
	Served
	view service.View
	port service.Port
}

// is reports whether the address is of a kind.
func (s served) is(kind string) bool { return slices.Contains(s.Kinds, kind) }

// find returns the Service whose virtual server it is, and what else is to be said about the address.
func (e explainer) find() (*served, []string) {
	at := slices.IndexFunc(e.View.Objects.Pools, func(p dataplane.Pool) bool { return p.Key == e.question.key() })
	if at < 0 {
		return nil, e.elsewhere()
	}
	owner := e.View.Owners.Pools[at]
	var found *served
	var notes []string
	for _, one := range e.Services {
		port, kinds := e.wants(one.View)
		switch {
		case len(kinds) == 0:
		case one.Source == owner.Source && one.Name == owner.Service:
			found = &served{Served{ownerOf(owner), port.Port, kinds, settingsThatMatter(one.View, kinds)}, one.View, port}
			found.Port = port.Name
		default:
			notes = append(notes, fmt.Sprintf("Service %s wants it, too, and does not get it: %s came first.", nameOf(one), owner.Service))
		}
	}
	if found == nil {
		return nil, append(e.elsewhere(), fmt.Sprintf("The virtual server is that of Service %s, which is changing: ask again.", owner.Service))
	}
	return found, notes
}

// nameOf names a Service for a sentence.
func nameOf(one reconcile.Delivered) string {
	if one.Source == "api" {
		return one.Name.String()
	}
	return one.Name.String() + " of the " + one.Source
}

// The kinds of addresses.
const (
	kindCluster      = "ClusterIP"
	kindExternal     = "externalIP"
	kindLoadBalancer = "load-balancer IP"
	kindNodePort     = "NodePort"
)

// kindsOf says what an address is to a Service, NodePorts apart.
func kindsOf(s service.Service, addr netip.Addr) []string {
	var kinds []string
	for _, of := range []struct {
		kind  string
		addrs []netip.Addr
	}{{kindCluster, s.VIPs.Cluster}, {kindExternal, s.VIPs.External}, {kindLoadBalancer, s.VIPs.LoadBalancer}} {
		if slices.Contains(of.addrs, addr) {
			kinds = append(kinds, of.kind)
		}
	}
	return kinds
}

// wants returns the port of a Service that is asked for, and the kinds of address by which; none if it has no such port.
func (e explainer) wants(view service.View) (service.Port, []string) {
	q := e.question
	kinds := kindsOf(view.Service, q.To.Addr())
	byNumber := func(p service.Port) bool { return p.Protocol == q.Protocol && p.Port == q.To.Port() }
	if i := slices.IndexFunc(view.Ports, byNumber); i >= 0 && len(kinds) > 0 {
		return view.Ports[i], kinds
	}
	byNodePort := func(p service.Port) bool { return p.Protocol == q.Protocol && p.NodePort == q.To.Port() }
	i := slices.IndexFunc(view.Ports, byNodePort)
	if i < 0 || !slices.Contains(e.View.Basis.Facts.NodePortAddrs, q.To.Addr()) || !slices.Contains(view.Families, q.family()) {
		return service.Port{}, nil
	}
	return view.Ports[i], []string{kindNodePort}
}

// settingsThatMatter lists the fields of a Service by which its endpoints and clients are chosen at these kinds of address.
func settingsThatMatter(view service.View, kinds []string) []string {
	policy, exposed := view.Policy, slices.ContainsFunc(kinds, func(k string) bool { return k != kindCluster })
	var out []string
	add := func(holds bool, format string, values ...any) {
		if holds {
			out = append(out, fmt.Sprintf(format, values...))
		}
	}
	add(policy.InternalLocal && slices.Contains(kinds, kindCluster), "internalTrafficPolicy: Local")
	add(policy.ExternalLocal && exposed, "externalTrafficPolicy: Local")
	add(policy.AffinityTimeout > 0, "sessionAffinity: ClientIP, for %v", policy.AffinityTimeout)
	add(policy.PublishNotReady, "publishNotReadyAddresses")
	add(policy.Distribution != "", "trafficDistribution: %s", policy.Distribution)
	ranges := make([]string, len(policy.SourceRanges))
	for i, prefix := range policy.SourceRanges {
		ranges[i] = prefix.String()
	}
	add(len(ranges) > 0 && slices.Contains(kinds, kindLoadBalancer), "loadBalancerSourceRanges: %s", strings.Join(ranges, ", "))
	return out
}
