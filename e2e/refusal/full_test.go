package refusal

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// What a rule of somebody else holds on to is the place (KUBE-TMP-…) where a larger KUBE-CLUSTER-IP would be made.
const (
	standIn = "KUBE-TMP-f9c48589ec4b3997"
	holder  = "FORWARD -m set --match-set " + standIn + " dst,dst -j ACCEPT"
	// shrink swaps a set of three entries in while the daemon runs. The daemon may be checking the sets at the time: it
	// destroys stand-ins that it finds, and no set is swapped that it reads.
	shrink = `
until ipset -exist create ` + standIn + ` hash:ip,port && iptables -w -A ` + holder + `; do sleep 0.1; done
ipset create small hash:ip,port maxelem 3
ipset add small 10.96.0.80,tcp:80
until ipset swap small KUBE-CLUSTER-IP; do sleep 0.1; done`
)

// crowd is a file of so many Services with one endpoint, 10.96.1.1 and so on, and what ipvsadm -Sn says of them.
func crowd(services int, endpoint string) (manifests, table string) {
	var text, lines strings.Builder
	for i := range services {
		name := fmt.Sprint("crowd-", i+1)
		text.WriteString(service(name, fmt.Sprintf("clusterIP: 10.96.1.%d, ports: [{port: 80}]", i+1)) + "---\n" +
			slice(name, name, "addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: ["+endpoint+"]}]") + "---\n")
		fmt.Fprintf(&lines, "-A -t 10.96.1.%d:80 -s rr\n-a -t 10.96.1.%d:80 -r %s:8080 -m -w 1\n", i+1, i+1, endpoint)
	}
	return text.String(), lines.String()
}

// listed returns which of the crowd's entries are in a set.
func (g ground) listed(t *testing.T, services int, set string) (numbers []int) {
	t.Helper()
	list := g.sh(t, "ipset list "+set)
	for i := range services {
		if strings.Contains(list, fmt.Sprintf("\n10.96.1.%d,tcp:80", i+1)) {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

// A set that is full and cannot be made larger is told, with the entry, the set and what to do. What has its entries works,
// and when there is room the others follow, without a restart.
func TestSetIsFull(t *testing.T) {
	const services = 6
	g := newGround(t)
	server, client := g.node.AddPod(t, "server"), g.node.AddPod(t, "asker")
	backend.StartAll(t, server.Netns, cluster.TargetPort, topology.TCP)
	t.Parallel()
	d := g.start(t, "--ipvs-sync-period=5s")
	d.says(t, served)
	g.holds(t, "ipset list KUBE-CLUSTER-IP", "10.96.0.80,tcp:80")
	g.sh(t, shrink)
	manifests, table := crowd(services, server.Address(topology.IPv4).String())
	g.write(t, "crowd.yaml", manifests)

	d.serves(t, good4+good6+table) // which does not depend on sets
	d.says(t, "operation failed and will be tried again", `"operation": "ipset add KUBE-CLUSTER-IP 10.96.1.`, "the set is full",
		standIn+": the set is in use by a rule or another set: remove that reference")
	landed := g.listed(t, services, "KUBE-CLUSTER-IP")
	if len(landed) != 2 {
		t.Errorf("entries of %v are in a set that has room for two more", landed)
	}
	g.answers(t, client, landed)
	g.holds(t, "ip addr show kube-ipvs0", fmt.Sprintf("10.96.1.%d/32", services))

	g.sh(t, "iptables -w -D "+holder)
	d.says(t, "every operation that had failed has succeeded since")
	all := make([]int, services)
	for i := range all {
		all[i] = i + 1
	}
	if landed := g.listed(t, services, "KUBE-CLUSTER-IP"); !slices.Equal(landed, all) {
		t.Errorf("only the entries of %v are in the set", landed)
	}
	g.answers(t, client, all)
	d.stop(t)
}

// answers waits until a pod gets answers from Services of the crowd.
func (g ground) answers(t *testing.T, client *topology.Pod, numbers []int) {
	t.Helper()
	for _, number := range numbers {
		target := probe.To(topology.TCP, netip.AddrFrom4([4]byte{10, 96, 1, byte(number)}), 80)
		cluster.Await(t, target.String(), func() error {
			answer, err := probe.Ask(t.Context(), client.Netns, target)
			if err == nil && answer.Backend != "server" {
				err = fmt.Errorf("%s answers", answer.Backend)
			}
			return err
		})
	}
}

// A set that was made too small before the daemon started, and that a rule uses, is replaced in its place.
func TestSetTooSmallFromTheStart(t *testing.T) {
	const services = 6
	g := newGround(t)
	t.Parallel()
	g.sh(t, "ipset create KUBE-CLUSTER-IP hash:ip,port maxelem 3\niptables -A FORWARD -m set --match-set KUBE-CLUSTER-IP dst,dst")
	manifests, table := crowd(services, "10.244.1.9")
	g.write(t, "crowd.yaml", manifests)
	d := g.start(t, "-v=2")
	d.says(t, "replaced set KUBE-CLUSTER-IP (its maxelem is 3)", served)
	d.serves(t, good4+good6+table)
	g.holds(t, "ipset list KUBE-CLUSTER-IP", "maxelem 65536")
	if landed := g.listed(t, services, "KUBE-CLUSTER-IP"); len(landed) != services {
		t.Errorf("only the entries of %v are in the set", landed)
	}
	if strings.Contains(d.output.String(), "operation failed") {
		t.Error("something failed")
	}
	d.stop(t)
}
