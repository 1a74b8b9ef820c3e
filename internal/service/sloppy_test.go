package service

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	sloppy "k8s.io/utils/net"
)

func TestLeadingZerosAreDecimal(t *testing.T) {
	for value, want := range map[string]string{
		"010.96.0.08": "10.96.0.8", "10.96.0.1": "10.96.0.1", "fd00::00001": "fd00::1", "::ffff:010.0.0.1": "::ffff:10.0.0.1", "fe80::1%x": "fe80::1%x",
		"": "", "010.96.0": "", "0x10.0.0.1": "", "256.0.0.1": "", " 10.0.0.1": "", "fd00::00001%x": "", "web": "",
	} {
		got, err := ParseAddr(value)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("address %q: %v, %v, want %q", value, got, err, want)
		}
	}
	for value, want := range map[string]string{
		"010.244.001.2/16": "10.244.0.0/16", "10.244.0.0/016": "10.244.0.0/16", "fd00:1::00001/64": "fd00:1::/64", "10.0.0.7/24": "10.0.0.0/24",
		"::ffff:010.0.0.0/104": "::ffff:10.0.0.0/104", "010.0.0.0": "", "010.0.0.0/33": "", "010.0.0.256/8": "", "/8": "", "": "",
	} {
		got, err := ParsePrefix(value)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("CIDR %q: %v, %v, want %q", value, got, err, want)
		}
	}
}

// All fields of a Service in which kube-proxy lets leading zeros pass have the address that they have there.
func TestLeadingZerosInAService(t *testing.T) {
	got, _, problems := FromService(parsed[corev1.Service](t, `
metadata: {name: web, namespace: default}
spec:
  type: LoadBalancer
  clusterIPs: [010.096.0.1]
  externalIPs: [192.000.002.007]
  loadBalancerSourceRanges: ["010.0.0.0/08"]
  ports: [{port: 80}]
status: {loadBalancer: {ingress: [{ip: 198.051.100.1}]}}
`))
	if len(problems) > 0 {
		t.Errorf("problems %v", problems)
	}
	text := fmt.Sprint(got.VIPs.Cluster, got.VIPs.External, got.VIPs.LoadBalancer, got.Policy.SourceRanges)
	if want := "[10.96.0.1] [192.0.2.7] [198.51.100.1] [10.0.0.0/8]"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

// Whatever is read here is what kube-proxy's functions read, except zones and IPv4 in IPv6 form, which are refused further up.
func FuzzSloppyIsKubeProxys(f *testing.F) {
	for _, seed := range []string{"010.0.0.1/08", "fd00::1/64", "::ffff:1.2.3.4/120", "1.2.3.4", "fe80::1%eth0", "00001::/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		theirs := sloppy.ParseIPSloppy(value)
		ours, err := ParseAddr(value)
		if err == nil && ours.Zone() == "" && (theirs == nil || ours.Unmap().String() != theirs.String()) || err != nil && theirs != nil {
			t.Errorf("address %q: %v, %v; kube-proxy reads %v", value, ours, err, theirs)
		}
		_, block, failed := sloppy.ParseCIDRSloppy(value)
		prefix, err := ParsePrefix(value)
		if (err == nil) != (failed == nil) {
			t.Fatalf("CIDR %q: %v, %v; kube-proxy reads %v, %v", value, prefix, err, block, failed)
		}
		if err == nil && !prefix.Addr().Is4In6() && prefix != netip.MustParsePrefix(block.String()) {
			t.Errorf("CIDR %q: %v; kube-proxy reads %v", value, prefix, block)
		}
	})
}
