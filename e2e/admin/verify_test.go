package admin

import (
	"encoding/json"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

// drift is something that somebody does to a node by hand, and what verify has to say of it.
type drift struct {
	does    string // a script
	command string // that verify prints; of several lines the first
	stopped bool   // the daemon would repair it at once: only while it does not run
}

func drifts() map[string]drift {
	return map[string]drift{
		"kernel parameter":       {does: "sysctl -qw net.ipv4.vs.expire_nodest_conn=0", command: "sysctl -w net.ipv4.vs.expire_nodest_conn=1  # kernel parameter is 0"},
		"virtual server deleted": {does: "ipvsadm -D -t 10.96.0.80:443", command: "ipvsadm -A -t 10.96.0.80:443 -s rr"},
		"virtual server changed": {does: "ipvsadm -E -t 10.96.0.80:443 -s wlc", command: "ipvsadm -E -t 10.96.0.80:443 -s rr"},
		"virtual server added":   {does: "ipvsadm -A -t 10.96.0.99:1 -s rr", command: "ipvsadm -D -t 10.96.0.99:1"},
		"real server deleted":    {does: "ipvsadm -d -t 10.96.0.80:443 -r 10.244.1.2:8443", command: "ipvsadm -a -t 10.96.0.80:443 -r 10.244.1.2:8443 -m -w 1"},
		"real server changed":    {does: "ipvsadm -e -t 10.96.0.80:443 -r 10.244.1.2:8443 -m -w 7", command: "ipvsadm -e -t 10.96.0.80:443 -r 10.244.1.2:8443 -m -w 1"},
		"real server added":      {does: "ipvsadm -a -t 10.96.0.80:443 -r 10.244.1.9:1 -m -w 3", command: "ipvsadm -e -t 10.96.0.80:443 -r 10.244.1.9:1 -m -w 0"},
		"UDP real server added":  {does: "ipvsadm -a -u [fd00:96::80]:80 -r [fd00::9]:1 -m", command: "ipvsadm -d -u [fd00:96::80]:80 -r [fd00::9]:1"},
		"entry deleted":          {does: "ipset del KUBE-CLUSTER-IP 10.96.0.80,tcp:443", command: "ipset add KUBE-CLUSTER-IP 10.96.0.80,tcp:443"},
		"entry added":            {does: "ipset add KUBE-6-CLUSTER-IP fd00:96::99,tcp:1", command: "ipset del KUBE-6-CLUSTER-IP fd00:96::99,tcp:1"},
		"chain emptied":          {does: "iptables -t nat -F KUBE-SERVICES", command: "restore --noflush <<'EOF'"},
		"rule added":             {does: "ip6tables -t filter -A KUBE-FORWARD -j DROP", command: "restore --noflush <<'EOF'"},
		"jump deleted":           {does: "iptables -t nat -D PREROUTING $(iptables -t nat -S PREROUTING | grep -n KUBE-SERVICES | head -1 | cut -d: -f1 | awk '{print $1-1}')", command: "restore --noflush <<'EOF'"},
		"address deleted":        {does: "ip addr del 10.96.0.80/32 dev kube-ipvs0", command: "ip addr add 10.96.0.80/32 dev kube-ipvs0", stopped: true},
		"address added":          {does: "ip addr add fd00:96::99/128 dev kube-ipvs0", command: "ip addr del fd00:96::99/128 dev kube-ipvs0", stopped: true},
		"device deleted":         {does: "ip link del kube-ipvs0", command: "ip link add kube-ipvs0 type dummy", stopped: true},
		"device up":              {does: "ip link set kube-ipvs0 up", command: "ip link set kube-ipvs0 down", stopped: true},
		"everything cleared":     {does: "ipvsadm -C", command: "ipvsadm -A -t 10.96.0.80:443 -s rr"},
	}
}

// Each difference that somebody makes is found, and what verify prints repairs it, whether a daemon says what is wanted or
// the flags do.
func TestVerifyPrintsWhatRepairs(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(map[bool]string{true: "daemon", false: "flags"}[running], func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			d := n.start(t)
			d.serves(t)
			n.verifies(t, "at first")
			if !running {
				d.stop(t)
				n.verifies(t, "without a daemon")
			}
			for name, drift := range drifts() {
				if drift.stopped && running {
					continue
				}
				n.drifts(t, name, drift)
			}
		})
	}
}

// drifts breaks something and has what verify prints repair it.
func (n node) drifts(t *testing.T, name string, drift drift) {
	t.Helper()
	cluster.Run(t, n.Netns, "sh", "-ec", drift.does)
	status, printed, _ := n.verify(t)
	if status != different || !strings.Contains(printed, drift.command) {
		t.Errorf("%s: status %d, want %d and %q in\n%s", name, status, different, drift.command, printed)
	}
	// A device that goes down loses its IPv6 addresses, which only a further look finds.
	for look := 0; status == different && look < 2; look++ {
		cluster.Run(t, n.Netns, "sh", "-ec", printed)
		status, printed, _ = n.verify(t)
	}
	if status != equal {
		t.Errorf("%s: after what it printed, verify ends with status %d and prints\n%s", name, status, printed)
	}
	// A real server that is not wanted is left to drain.
	cluster.Run(t, n.Netns, "sh", "-c", "ipvsadm -d -t 10.96.0.80:443 -r 10.244.1.9:1 2>/dev/null || true")
}

// On a node that has nothing verify prints everything: run as it is, that is all a node needs. What belongs to others is
// left alone.
func TestDryRunIsComplete(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	cluster.Run(t, n.Netns, "sh", "-ec", `
ipvsadm -A -t 198.51.100.1:80 -s rr; ipvsadm -a -t 198.51.100.1:80 -r 10.0.0.1 -g
ipvsadm -A -f 7 -s rr; ipvsadm -a -f 7 -r 10.0.0.3 -m
ipset create KUBE-FOO hash:ip; ipset add KUBE-FOO 192.0.2.1
iptables -N KUBE-FOO; iptables -A FORWARD -j KUBE-FOO`)
	const look = "ipvsadm -Sn; ipset save; iptables-save | grep -v '^[#:]'; ip -o addr"
	before := cluster.Run(t, n.Netns, "sh", "-ec", look)
	status, printed, errors := n.verify(t)
	if status != different || !strings.Contains(printed, "ipset create KUBE-CLUSTER-IP") {
		t.Fatalf("status %d\n%s%s", status, printed, errors)
	}
	if after := cluster.Run(t, n.Netns, "sh", "-ec", look); after != before {
		t.Errorf("verify changed\n%sto\n%s", before, after)
	}
	for _, foreign := range []string{"198.51.100.1:80", "-f 7 ", "KUBE-FOO"} {
		if strings.Contains(printed, foreign) {
			t.Errorf("verify touches %s of others:\n%s", foreign, printed)
		}
	}
	cluster.Run(t, n.Netns, "sh", "-ec", printed)
	n.verifies(t, "after what it printed")
	d := n.start(t, "-v=2")
	d.serves(t)
	for _, doing := range []string{"round done", "put right"} {
		if strings.Contains(d.output.String(), doing) {
			t.Errorf("the daemon found something to do: %s", d.output.String())
		}
	}
	n.verifies(t, "with a daemon")
}

// As JSON the same is said, and by whom.
func TestVerifyAsJSON(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.start(t).serves(t)
	cluster.Run(t, n.Netns, "sh", "-ec", "ipvsadm -D -u 10.96.0.80:80; sysctl -qw net.ipv4.vs.conntrack=0")
	status, printed, errors := n.verify(t, "-o", "json")
	var said struct {
		Equal, Daemon bool
		Differences   []struct {
			What, Command string
			Owner         struct{ Namespace, Name, Port string }
		}
	}
	if err := json.Unmarshal([]byte(printed), &said); err != nil {
		t.Fatalf("status %d, %v:\n%s%s", status, err, printed, errors)
	}
	if status != different || said.Equal || !said.Daemon || len(said.Differences) != 8 {
		t.Errorf("status %d, %+v", status, said)
	}
	if parameter := said.Differences[0]; parameter.Command != "sysctl -w net.ipv4.vs.conntrack=1" || parameter.Owner.Name != "" {
		t.Errorf("the difference of a kernel parameter is %+v", parameter)
	}
	first := said.Differences[1]
	if first.Command != "ipvsadm -A -u 10.96.0.80:80 -s rr" || first.Owner.Namespace+"/"+first.Owner.Name+":"+first.Owner.Port != "default/web:c" {
		t.Errorf("the first difference is %+v", first)
	}
}

// What cannot be known is a status of its own, and says why.
func TestVerifyCannotTell(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, c := range []struct {
		says      string
		arguments []string
	}{
		{"--output", []string{"-o", "yaml"}},
		{"unexpected argument", []string{"everything"}},
		{"no such file", []string{"--manifests=/does/not/exist"}},
	} {
		if status, printed, errors := n.verify(t, c.arguments...); status != unknown || printed != "" || !strings.Contains(errors, c.says) {
			t.Errorf("%q: status %d, printed %q, said %q, want %q", c.arguments, status, printed, errors, c.says)
		}
	}
}
