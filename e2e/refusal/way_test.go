package refusal

import (
	"fmt"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

// holds waits until a script's output contains a text.
func (g ground) holds(t *testing.T, script, text string) {
	t.Helper()
	cluster.Await(t, script, func() error {
		if output := g.sh(t, script); !strings.Contains(output, text) {
			return fmt.Errorf("no %q in\n%s", text, output)
		}
		return nil
	})
}

// A set of another type or family is replaced (P22); one that a foreign rule uses is told, and replaced once that rule is gone.
func TestSetInTheWay(t *testing.T) {
	const right = "Type: hash:ip,port\nRevision: 5\nHeader: family inet "
	const refusing = `KUBE-IPVS-IPS dst -m comment --comment "not a service port" -j REJECT`
	for name, script := range map[string]string{
		"another type":   "ipset create KUBE-CLUSTER-IP hash:net\nipset add KUBE-CLUSTER-IP 203.0.113.0/24",
		"another family": "ipset create KUBE-CLUSTER-IP hash:ip,port family inet6\nipset create KUBE-6-CLUSTER-IP hash:ip,port",
	} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t)
			t.Parallel()
			g.sh(t, script)
			d := g.start(t)
			d.says(t, served)
			g.holds(t, "ipset list KUBE-CLUSTER-IP", right)
			g.holds(t, "ipset list KUBE-CLUSTER-IP", "10.96.0.80,tcp:80")
			g.holds(t, "ipset list KUBE-6-CLUSTER-IP", "fd00:96::80,tcp:80")
			d.stop(t)
		})
	}
	t.Run("foreign rule", func(t *testing.T) {
		g := newGround(t)
		t.Parallel()
		g.sh(t, "ipset create KUBE-CLUSTER-IP hash:net\niptables -A FORWARD -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT")
		d := g.start(t)
		d.says(t, "KUBE-CLUSTER-IP exists as hash:net", "-A FORWARD -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT", "delete that rule")
		d.says(t, "until there is a set KUBE-CLUSTER-IP of the right type, the packet filter lacks the rules")
		d.serves(t, good4+good6) // which does not depend on sets
		g.holds(t, "iptables-save -t nat", "KUBE-EXTERNAL-IP dst,dst")
		g.holds(t, "iptables-save -t filter", "KUBE-NO-ENDPOINTS dst,dst")
		if rules := g.sh(t, "iptables-save"); strings.Contains(rules, "KUBE-CLUSTER-IP dst,dst") || strings.Contains(rules, refusing) {
			t.Errorf("there are rules for the set in the way, or such as refuse what it would have spared:\n%s", rules)
		}
		g.sh(t, "iptables -D FORWARD -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT")
		d.says(t, "step works again")
		g.holds(t, "ipset list KUBE-CLUSTER-IP", right)
		g.holds(t, "ipset list KUBE-CLUSTER-IP", "10.96.0.80,tcp:80")
		g.holds(t, "iptables-save -t nat", "KUBE-CLUSTER-IP dst,dst")
		g.holds(t, "iptables-save -t filter", refusing)
		d.stop(t)
	})
}

// An interface of another kind by the device's name is told and left alone; the rest is served, and the addresses follow
// when it is gone.
func TestDeviceInTheWay(t *testing.T) {
	for kind, options := range map[string]string{"bridge": "type bridge", "veth": "type veth peer name other"} {
		t.Run(kind, func(t *testing.T) {
			g := newGround(t)
			t.Parallel()
			g.sh(t, "ip link add kube-ipvs0 "+options)
			d := g.start(t)
			d.says(t, "kube-ipvs0 is an interface of kind", "ip link delete kube-ipvs0")
			d.serves(t, good4+good6)
			g.holds(t, "iptables-save", "KUBE-SERVICES")
			g.holds(t, "ip -d link show kube-ipvs0", kind)
			g.sh(t, "ip link delete kube-ipvs0")
			g.holds(t, "ip -d addr show kube-ipvs0 2>&1 || true", "dummy")
			g.holds(t, "ip addr show kube-ipvs0", "10.96.0.80/32")
			g.holds(t, "ip addr show kube-ipvs0", "fd00:96::80/128")
			d.says(t, "step works again")
			d.stop(t)
		})
	}
}

// A listener's address that is taken is told, and tried again unless --bind-address-hard-fail asks for the opposite.
func TestAddressTaken(t *testing.T) {
	for name, port := range map[string]string{"health": "10256", "metrics": "10249"} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t)
			t.Parallel()
			taken := g.listen(t, "127.0.0.1:"+port)
			flag := "--" + strings.Replace(name, "health", "healthz", 1) + "-bind-address=127.0.0.1:" + port
			g.start(t, flag, "--bind-address-hard-fail").isRefused(t, statusListen, "serve "+name+" on 127.0.0.1:"+port, "address already in use", "free the port")
			d := g.start(t, flag)
			d.says(t, "serve "+name+" on 127.0.0.1:"+port, "free the port or set another address", served)
			d.serves(t, good4+good6)
			if err := taken.Close(); err != nil {
				t.Fatal(err)
			}
			cluster.Await(t, name, func() error {
				response, err := g.node.HTTPClient(cluster.Patience).Get("http://127.0.0.1:" + port + "/healthz")
				if err != nil {
					return err
				}
				return response.Body.Close()
			})
			d.stop(t)
		})
	}
}

// P23: what others have in IPVS, ipset and iptables, even under names that look like ours, survives start, run, stop
// and --cleanup.
func TestForeignStays(t *testing.T) {
	g := newGround(t)
	t.Parallel()
	g.sh(t, `
ipvsadm -A -t 198.51.100.1:80 -s rr; ipvsadm -a -t 198.51.100.1:80 -r 10.0.0.1 -g
ipvsadm -A -u 198.51.100.2:53 -s rr; ipvsadm -a -u 198.51.100.2:53 -r 10.0.0.2 -i
ipvsadm -A -f 7 -s rr; ipvsadm -a -f 7 -r 10.0.0.3 -m
ipvsadm -A -t [2001:db8::1]:80 -s rr; ipvsadm -a -t [2001:db8::1]:80 -r [2001:db8::2]:80 -g
ipset create KUBE-FOO hash:ip; ipset add KUBE-FOO 192.0.2.1
for family in iptables ip6tables; do
	$family -N KUBE-FOO; $family -A KUBE-FOO -j ACCEPT; $family -A FORWARD -j KUBE-FOO
	$family -t nat -N KUBE-BAR; $family -t nat -A POSTROUTING -j KUBE-BAR
	$family -t mangle -N KUBE-BAZ; $family -t mangle -A INPUT -j KUBE-BAZ
done`)
	const look = "ipvsadm -Sn; ipset list KUBE-FOO | grep -v Size; iptables-save | grep -v '^[#:]'; ip6tables-save | grep -v '^[#:]'"
	before := g.sh(t, look)
	foreign := cluster.TableOf(g.sh(t, "ipvsadm -Sn"))
	if strings.Count(before, "KUBE-FOO") < 5 || strings.Count(foreign, "\n") != 8 {
		t.Fatalf("the test's own things are not there:\n%s", before)
	}
	d := g.start(t)
	d.says(t, served)
	d.serves(t, foreign+good4+good6)
	g.contains(t, look, before)
	d.stop(t)
	d.serves(t, foreign+good4+good6)
	g.contains(t, look, before)
	g.startIn(t, "true", "--cleanup").ends(t)
	if after := g.sh(t, look); after != before {
		t.Errorf("after --cleanup there is\n%swant\n%s", after, before)
	}
}

// contains checks that the output of a script has every line of before.
func (g ground) contains(t *testing.T, script, before string) {
	t.Helper()
	now := g.sh(t, script)
	for line := range strings.Lines(before) {
		if !strings.HasPrefix(line, "References:") && !strings.Contains(now, line) {
			t.Errorf("%q is gone from\n%s", line, now)
		}
	}
}
