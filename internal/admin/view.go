package admin

import (
	"net/netip"
	"slices"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// View is the answer to GET /view: everything that a daemon, or one that would run with the same flags, wants of the kernel.
type View struct {
	Settings Settings `json:"settings"`
	State    State    `json:"state"`
	// VirtualServers are sorted by family, address, port and protocol, those with a mark first in their family.
	VirtualServers []VirtualServer `json:"virtualServers"`
	Addresses      []Address       `json:"addresses"` // on kube-ipvs0, sorted
	Sets           []Set           `json:"sets"`
	Tables         []Table         `json:"tables"`
	// Draining are real servers that are not wanted and have weight 0, as far as the daemon knows: they are deleted when their
	// connections have ended.
	Draining []DrainingServer `json:"draining,omitempty"`
	// Parameters are those of the kernel that a daemon sets when it starts.
	Parameters []Parameter `json:"parameters,omitempty"`
}

// Settings are those that decide what is the daemon's own.
type Settings struct {
	Node string `json:"node"` // name of the node
	// ExcludeCIDRs are where virtual servers are somebody else's.
	ExcludeCIDRs []netip.Prefix `json:"excludeCIDRs,omitempty"`
	// Virtual servers with marks in this range, ends included and apart from the masquerade bit, are the daemon's own.
	InternalMarks  MarkRange `json:"internalMarks"`
	MasqueradeMark uint32    `json:"masqueradeMark"`
}

// MarkRange are packet marks, both ends included.
type MarkRange struct {
	First uint32 `json:"first"`
	Last  uint32 `json:"last"`
}

// Ours says whether a virtual server may be deleted when nothing wants it: one at an address, outside of what the operator
// excluded, or one with a packet mark out of the range that is given to the proxy.
func (s Settings) Ours(key dataplane.VirtualServerKey) bool {
	if key.Mark != 0 {
		return service.MarkRange(s.InternalMarks).Contains(key.Mark &^ s.MasqueradeMark)
	}
	return !slices.ContainsFunc(s.ExcludeCIDRs, func(p netip.Prefix) bool { return p.Contains(key.Addr) })
}

// State says how far the daemon is.
type State struct {
	At time.Time `json:"at"` // when the view was taken
	// Complete says that every source has delivered everything. Before that nothing is removed from the kernel.
	Complete  bool      `json:"complete"`
	LastRound time.Time `json:"lastRound,omitzero"`
	LastAudit time.Time `json:"lastAudit,omitzero"` // the last comparison of the whole kernel with all that is wanted
	// Waiting is the number of objects whose operations failed and will be tried again.
	Waiting int `json:"waiting"`
}

// Parameter is a kernel parameter with the value that is wanted.
type Parameter struct {
	Name  string `json:"name"` // path below /proc/sys
	Value int    `json:"value"`
	Least bool   `json:"least,omitempty"` // a larger value will do, too
}

// Owner is the Service for which something is there; all empty for what the node itself needs.
type Owner struct {
	Source    string `json:"source,omitempty"` // "api" or "manifests"
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Port      string `json:"port,omitempty"` // name of the Service's port; of virtual servers only, and where it has one
}

// ServerKey identifies a virtual server: by protocol and address, or by mark and family.
type ServerKey struct {
	Protocol string         `json:"protocol,omitempty"` // "TCP", "UDP" or "SCTP"
	Address  netip.AddrPort `json:"address,omitzero"`
	Mark     uint32         `json:"mark,omitempty"`
	Family   string         `json:"family,omitempty"` // "IPv4" or "IPv6"; where there is a mark
}

// VirtualServer is a virtual server with the real servers that are wanted, in the order in which they are added.
type VirtualServer struct {
	ServerKey
	Scheduler   string       `json:"scheduler"`
	Flags       uint32       `json:"flags,omitempty"`   // IP_VS_SVC_F_* of linux/ip_vs.h
	Timeout     uint32       `json:"timeout,omitempty"` // of persistence, in seconds
	MaskBits    uint8        `json:"maskBits"`          // of persistence, a prefix length
	RealServers []RealServer `json:"realServers"`
	// For are the addresses whose packets get the mark.
	For   []ServerKey `json:"for,omitempty"`
	Owner Owner       `json:"owner"`
}

// RealServer is one real server.
type RealServer struct {
	Address    netip.AddrPort `json:"address"`
	Weight     uint32         `json:"weight"`
	Forwarding string         `json:"forwarding,omitempty"` // "-i" or "-g" as in ipvsadm; empty for masquerading
	Place                     // in GET /servers only
}

// Place is where an endpoint is, as far as its EndpointSlice tells.
type Place struct {
	Node string `json:"node,omitempty"`
	Zone string `json:"zone,omitempty"`
}

// DrainingServer is a real server together with its virtual server.
type DrainingServer struct {
	VirtualServer ServerKey      `json:"virtualServer"`
	Address       netip.AddrPort `json:"address"`
	Place                        // in GET /servers only
}

// Address is one on kube-ipvs0.
type Address struct {
	Address netip.Addr `json:"address"`
	Owner   Owner      `json:"owner"`
}

// Set is an ipset with its entries, sorted.
type Set struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"`               // ipset's name, for example "hash:ip,port"
	Family   string  `json:"family"`             // "IPv4" or "IPv6"
	HashSize uint32  `json:"hashSize,omitempty"` // with which it is created
	MaxElem  uint32  `json:"maxElem,omitempty"`  // the least that will do
	Marks    bool    `json:"marks,omitempty"`    // entries can have marks: skbinfo
	Entries  []Entry `json:"entries,omitempty"`
}

// Entry is an entry of a set; which fields it has depends on the set's type.
type Entry struct {
	Address  netip.Addr   `json:"address,omitzero"`
	Protocol string       `json:"protocol,omitempty"`
	Port     uint16       `json:"port,omitempty"`
	Peer     netip.Prefix `json:"peer,omitzero"`
	Mark     uint32       `json:"mark,omitempty"`
	Owner    Owner        `json:"owner"`
}

// Table is what is wanted of one packet-filter table: the daemon's own chains, whole, and the jumps to them.
type Table struct {
	Family string  `json:"family"` // "IPv4" or "IPv6"
	Name   string  `json:"name"`   // "nat", "filter" or "mangle"
	Chains []Chain `json:"chains"`
	Jumps  []Jump  `json:"jumps"`
}

// Chain is a chain with all its rules as iptables-save prints them.
type Chain struct {
	Name  string   `json:"name"`
	Rules []string `json:"rules"`
}

// Jump is a rule in a built-in chain, as iptables-save prints it. The last of a built-in chain's comes first there.
type Jump struct {
	From string `json:"from"`
	To   string `json:"to"`
	Rule string `json:"rule"`
}
