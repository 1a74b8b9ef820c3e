package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/packet"
)

// icmp is the protocol number of ICMP; the sets hold no entries for it.
const icmp dataplane.Protocol = 1

// packetOf reads "tcp 10.0.0.1 > 10.0.0.2:80 [ESTABLISHED|INVALID|RELATED] [in=eth0] [marked]"; the state is NEW unless given.
func packetOf(t *testing.T, text string) packet.Packet {
	t.Helper()
	words := strings.Fields(text)
	p := packet.Packet{State: "NEW", From: netip.MustParseAddr(words[1])}
	p.Protocol = map[string]dataplane.Protocol{
		"tcp": dataplane.TCP, "udp": dataplane.UDP, "sctp": dataplane.SCTP, "icmp": icmp,
	}[words[0]]
	if to, err := netip.ParseAddrPort(words[3]); err == nil {
		p.To, p.Port = to.Addr(), to.Port()
	} else {
		p.To = netip.MustParseAddr(words[3])
	}
	for _, word := range words[4:] {
		switch name, found := strings.CutPrefix(word, "in="); {
		case found:
			p.Input = name
		case word == "marked":
			p.Mark = 1 << 14
		default:
			p.State = word
		}
	}
	return p
}

// host has a packet filter of its own, whose rules must be such that a kernel takes them.
type host struct {
	t *testing.T
	packet.Filter
}

func hostOf(t *testing.T, rules dataplane.Ruleset, entries []dataplane.Entry) host {
	f := packet.Filter{Rules: rules, Types: map[string]dataplane.SetType{}, Entries: map[string][]dataplane.Entry{}}
	for _, set := range Sets(dataplane.Families()) {
		f.Types[set.Name] = set.Type
	}
	for _, entry := range entries {
		f.Entries[entry.Set] = append(f.Entries[entry.Set], entry)
	}
	f.Local = func(addr netip.Addr) bool {
		return slices.ContainsFunc(entries, func(e dataplane.Entry) bool {
			return e.Addr == addr && (strings.HasSuffix(e.Set, "IPVS-IPS") || strings.HasSuffix(e.Set, "NODE-PORT-IPS"))
		})
	}
	return host{t, f}
}

// pass sends a packet through a built-in chain. The verdict is empty when nothing of ours decides.
func (h host) pass(table dataplane.Table, builtin string, p *packet.Packet) (verdict string) {
	h.t.Helper()
	_, end, err := h.Pass(table, builtin, p)
	if err != nil {
		h.t.Fatal(err)
	}
	switch end := end.(type) {
	case nil:
		return ""
	case dataplane.Accept:
		return "accept"
	case dataplane.Drop:
		return "drop"
	case dataplane.SNATToNode:
		return "masquerade"
	case dataplane.Reject:
		return [...]string{"port-unreachable", "reset", "protocol-unreachable"}[end.With]
	}
	return fmt.Sprintf("%T", end)
}
