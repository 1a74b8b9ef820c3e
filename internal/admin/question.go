package admin

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// Question asks what becomes of new connections to an address and port.
type Question struct {
	To       netip.AddrPort
	Protocol dataplane.Protocol
	// From is the client; without one, clients of several kinds are looked at.
	From netip.Addr
}

// ParseQuestion reads ADDRESS:PORT, which /tcp, /udp or /sctp may follow, and a client's address, which may be empty.
func ParseQuestion(to, from string) (Question, error) {
	text, protocol, named := strings.Cut(to, "/")
	q := Question{Protocol: dataplane.TCP}
	if named {
		known, ok := map[string]dataplane.Protocol{"tcp": dataplane.TCP, "udp": dataplane.UDP, "sctp": dataplane.SCTP}[strings.ToLower(protocol)]
		if !ok {
			return Question{}, fmt.Errorf("the protocol %q of %q is none: give tcp, udp or sctp", protocol, to)
		}
		q.Protocol = known
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 || !service.Reachable(at.Addr().Unmap()) {
		return Question{}, fmt.Errorf("%q is no unicast address with a port: give for example 10.96.0.10:53/udp or [fd00:96::a]:443", to)
	}
	q.To = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if from == "" {
		return q, nil
	}
	if q.From, err = netip.ParseAddr(from); err != nil || !service.Reachable(q.From.Unmap()) {
		return Question{}, fmt.Errorf("the client %q is no unicast address", from)
	}
	if q.From = q.From.Unmap(); dataplane.FamilyOf(q.From) != q.family() {
		return Question{}, errors.New("client and address are of different IP families")
	}
	return q, nil
}

// String returns the address, port and protocol as ParseQuestion reads them.
func (q Question) String() string { return q.To.String() + "/" + q.Protocol.String() }

func (q Question) family() dataplane.Family { return dataplane.FamilyOf(q.To.Addr()) }

func (q Question) key() dataplane.VirtualServerKey {
	return dataplane.KeyOf(q.Protocol, q.To.Addr(), q.To.Port())
}

// Concerns reports whether a Service may have to do with the answer.
func (q Question) Concerns(view service.View) bool {
	return hasAddress(view.Service, q.To.Addr()) || view.Policy.HealthCheckNodePort == q.To.Port() ||
		slices.ContainsFunc(view.Ports, func(p service.Port) bool { return p.NodePort == q.To.Port() }) ||
		hasEndpoint(view, q.To.Addr())
}
