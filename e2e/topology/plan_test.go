package topology

import (
	"net/netip"
	"testing"
)

func TestAddressPlan(t *testing.T) {
	subnets := podSubnets(2)
	pod := nth(subnets, 7)
	for got, want := range map[string]string{
		subnets.four.String():                                   "10.244.2.0/24",
		subnets.six.String():                                    "fd00:10:244:2::/64",
		pod.four.String():                                       "10.244.2.7",
		pod.six.String():                                        "fd00:10:244:2::7",
		nth(underlay(), firstNode).four.String():                "172.18.0.11",
		within(pod, subnets)[1].String():                        "fd00:10:244:2::7/64",
		alone(pod)[0].String():                                  "10.244.2.7/32",
		everywhere().six.String():                               "::/0",
		podSubnets(maxNodes).four.String():                      "10.244.90.0/24",
		nth(podSubnets(1), maxPods+1).four.String():             "10.244.1.251",
		nth(underlay(), firstClient+maxClients-1).four.String(): "172.18.0.200",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if firstNode+maxNodes > firstClient {
		t.Errorf("the last node's address is the first client's: %d + %d > %d", firstNode, maxNodes, firstClient)
	}
}

func TestSolicitedNodeGroup(t *testing.T) {
	group := solicited(netip.MustParseAddr("fd00:10:244:1::12:3456"))
	if want := netip.MustParseAddr("ff02::1:ff12:3456"); group != want {
		t.Errorf("got %v, want %v", group, want)
	}
	groups := "1    lo              ff020000000000000000000000000001     1 00000000 0\n" +
		"2    eth0            ff0200000000000000000001ff123456     1 00000004 0\n"
	if !joined(groups, "eth0", group) || joined(groups, "lo", group) || joined("", "eth0", group) {
		t.Error("the kernel's table of groups is misread")
	}
}

func TestFamilyAndNetwork(t *testing.T) {
	for _, test := range []struct {
		address  string
		protocol Protocol
		family   Family
		network  string
	}{
		{"10.0.0.1", TCP, IPv4, "tcp4"},
		{"::ffff:10.0.0.1", UDP, IPv4, "udp4"},
		{"fd00::1", SCTP, IPv6, "sctp6"},
	} {
		address := netip.MustParseAddr(test.address)
		got, err := network(test.protocol, address)
		if FamilyOf(address) != test.family || got != test.network || err != nil {
			t.Errorf("%v: %s, %s, %v, want %s, %s", address, FamilyOf(address), got, err, test.family, test.network)
		}
	}
}
