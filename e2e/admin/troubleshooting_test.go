package admin

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// trouble is how a row's trouble comes about.
type trouble struct {
	flags  []string // of the daemon, beside those it always has
	status int      // of the row's command, then
	// begins brings it about. Without it, what the row has is there on every node.
	begins func(*testing.T, *patient)
}

// full has a set that nothing can be added to: one entry is all it holds, and a rule holds on to the name (KUBE-TMP-…) under which
// a larger one would be made. The daemon may be checking the sets at the time: it destroys stand-ins that it finds, and no set
// is swapped that it reads.
const full = `
until ipset -exist create KUBE-TMP-f9c48589ec4b3997 hash:ip,port &&
  iptables -w -A FORWARD -m set --match-set KUBE-TMP-f9c48589ec4b3997 dst,dst -j ACCEPT; do sleep 0.1; done
ipset create small hash:ip,port maxelem 1
ipset add small 10.96.0.80,tcp:80
until ipset swap small KUBE-CLUSTER-IP; do sleep 0.1; done`

// troubles are those of the README's table, by what one sees.
func troubles() map[string]trouble {
	const elsewhere, ingress = "nodeName: node-2", "{ingress: [{ip: 198.51.100.7}]}"
	return map[string]trouble{
		"an address of a Service is refused or times out":         {begins: says("endpoints: [{addresses: [10.244.1.2], nodeName: node-1}]", "endpoints: []"), status: 1},
		"refused at once, from everywhere":                        {begins: says("nodeName: node-1", "nodeName: node-1, conditions: {ready: false}")},
		"some clients are served and others are not":              {begins: says("nodeName: node-1", elsewhere)},
		"times out from outside, on some nodes only":              {begins: says("nodeName: node-1", elsewhere)},
		"a NodePort is not answered at one address of the node":   {begins: starts("--nodeport-addresses=192.0.2.0/24")},
		"Pods do not see the client's address":                    {begins: says("externalTrafficPolicy: Local, healthCheckNodePort: 32080,", "")},
		"a load balancer leaves the node out":                     {begins: says("nodeName: node-1", elsewhere)},
		"a Pod does not reach itself by its Service":              {begins: says("nodeName: node-1", elsewhere)},
		"connections stay with old Pods after a rollout":          {begins: lastingConnection},
		"a Pod that is gone still has connections":                {begins: lastingConnection},
		"an address that MetalLB has assigned is not answered":    {begins: says(ingress, "{}")},
		"neighbours find an address of MetalLB at the wrong node": {begins: does("sysctl -qw net.ipv4.conf.all.arp_ignore=0"), flags: []string{"--ipvs-strict-arp"}},
		"it worked, and does not any more":                        {begins: does("ipvsadm -C"), status: different},
		"Services beyond some number do not work":                 {begins: oneMoreThanFits},
		"new connections fail now and then, of everything":        {},
		"the Pod restarts with exit status 7":                     {begins: besideKubeProxy},
		"it restarts with status 3, a module is missing":          {begins: starts("--ipvs-scheduler=nonsense")},
		"it restarts with status 3, a kernel parameter is wrong":  {begins: readOnlyParameters},
		"nothing new is served on any node":                       {begins: withoutRole},
	}
}

// Each command of the README's table is run on a node that has the trouble, and prints what the table says; on one that has not
// it does not.
func TestTroubleshooting(t *testing.T) {
	cluster.Binary(t)
	left := troubles()
	for _, row := range symptoms(t) {
		trouble, known := left[row.sees]
		if !known {
			t.Errorf("nothing brings about %q", row.sees)
			continue
		}
		delete(left, row.sees)
		t.Run(row.sees, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t, trouble.flags...)
			if _, printed := p.look(t, row.command); trouble.begins != nil {
				if row.in(printed) == nil {
					t.Errorf("nothing is wrong, and %s prints the same:\n%s", row.command, printed)
				}
				trouble.begins(t, p)
			}
			cluster.Await(t, row.sees, func() error {
				status, printed := p.look(t, row.command)
				if err := row.in(printed); err != nil {
					return err
				}
				if status != trouble.status {
					return fmt.Errorf("%s ends with status %d, want %d:\n%s", row.command, status, trouble.status, printed)
				}
				return nil
			})
		})
	}
	for sees := range left {
		t.Errorf("the README's table has no row %q", sees)
	}
}

// lastingConnection opens a connection whose endpoint goes.
func lastingConnection(t *testing.T, p *patient) {
	t.Helper()
	session, err := probe.Open(t.Context(), p.client.Netns, probe.To(topology.TCP, netip.MustParseAddr("10.96.0.80"), 80))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() }) // what it was for is over
	says("10.244.1.2", "10.244.1.9")(t, p)
}

// oneMoreThanFits adds a Service to a full set.
func oneMoreThanFits(t *testing.T, p *patient) {
	t.Helper()
	does(full)(t, p)
	p.write(t, ward+`---
{kind: Service, apiVersion: v1, metadata: {name: more}, spec: {clusterIPs: [10.96.0.81], ports: [{port: 80}]}}
`)
}

// besideKubeProxy starts the daemon where kube-proxy runs.
func besideKubeProxy(t *testing.T, p *patient) {
	t.Helper()
	p.daemon.stop(t)
	p.answersAsKubeProxy(t, "ipvs")
	p.daemon = p.start(t)
	if status, _ := p.daemon.ends(t); status != rival {
		t.Errorf("the daemon ended with status %d, want %d", status, rival)
	}
}

// readOnlyParameters starts the daemon where a kernel parameter is not as it should be, and cannot be set.
func readOnlyParameters(t *testing.T, p *patient) {
	t.Helper()
	p.daemon.stop(t)
	does("sysctl -qw net.ipv4.vs.conntrack=0")(t, p)
	p.binary = p.script(t, "confined", `exec unshare -m sh -ec 'mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
exec "$@"' sh `+p.binary+` "$@"`)
	p.daemon = p.start(t)
	if status, words := p.daemon.ends(t); status != 3 {
		t.Errorf("the daemon ended with status %d, want 3: %s", status, words)
	}
}

// withoutRole starts the daemon with an account that may do nothing.
func withoutRole(t *testing.T, p *patient) {
	t.Helper()
	p.restart(t, "--kubeconfig="+p.anonymous(t))
}

// Every metric that a daemon exports is in the reference, with its type.
func TestReferenceHasWhatIsExported(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, topology.Options{})
	d := c.StartDaemon(t)
	c.Settle(t) // what counts rounds is there after the first ones
	text, err := os.ReadFile("../../manifests/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	scraped, err := d.Get("10249", "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^# TYPE (kube\w+|rest_client\w+) (\w+)$`).FindAllStringSubmatch(scraped, -1)
	if len(names) < 20 {
		t.Fatalf("only %q are exported", names)
	}
	if !strings.Contains(scraped, `rest_client_requests_total{code="200"`) {
		t.Error("requests to the API server are not counted")
	}
	for _, name := range names {
		if line := fmt.Sprintf("| `%s` | %s |", name[1], name[2]); !strings.Contains(string(text), line) {
			t.Errorf("manifests/reference.md lacks %s", line)
		}
	}
}
