package admin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/probe"
	"kube-ipvs-proxy/e2e/topology"
)

// shown is what status -o json says, in part.
type shown struct {
	Daemon         bool
	Summary        struct{ VirtualServers, RealServers, Draining, Missing, Stray, Active int }
	VirtualServers []struct {
		Protocol    string
		Address     netip.AddrPort
		Connections int
		Owner       struct{ Namespace, Name, Port string }
		RealServers []struct {
			Address          netip.AddrPort
			Node, State      string
			Weight           int
			Active, Inactive int
		}
	}
}

func showStatus(t *testing.T, in *topology.Netns, binary string, arguments ...string) shown {
	t.Helper()
	status, printed, complaints := ask(t, in, binary, append([]string{"status", "-o", "json"}, arguments...)...)
	var said shown
	if err := json.Unmarshal([]byte(printed), &said); status != 0 || err != nil {
		t.Fatalf("status %d, %v\n%s%s", status, err, printed, complaints)
	}
	return said
}

// A connection shows where it is; when its endpoint ends it shows that it drains, until the connection is closed.
func TestStatusShowsConnectionsAndDrains(t *testing.T) {
	t.Parallel()
	binary := cluster.Binary(t)
	c := cluster.New(t, topology.Options{})
	asker, here, there := c.Node.AddPod(t, "asker"), c.AddServer(t, c.Node, "here"), c.AddServer(t, c.Node2, "there")
	c.StartDaemon(t)
	web := c.AddService(t, "web")
	web.SetEndpoints(t, c.Endpoint(here))
	c.Settle(t)
	target := web.Target(cluster.Way{Kind: cluster.ClusterIP, Protocol: topology.TCP, Family: topology.IPv4})
	session, err := probe.Open(t.Context(), asker.Netns, target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Abort() }() // it may be closed
	if _, err := session.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := web.Namespace + "/" + web.Name
	awaitShown := func(want string) {
		t.Helper()
		cluster.Await(t, want, func() error {
			said := showStatus(t, c.Node.Netns, binary, name)
			got := fmt.Sprintf("%d draining,", said.Summary.Draining)
			for _, server := range said.VirtualServers {
				if server.Owner.Namespace+"/"+server.Owner.Name != name {
					t.Fatalf("it shows %+v", server)
				}
				for _, real := range server.RealServers {
					if server.Address == target.AddrPort && server.Protocol == "TCP" {
						got += fmt.Sprintf(" %s on %s %s, weight %d, %d active", real.Address, real.Node, real.State, real.Weight, real.Active)
					}
				}
			}
			if got != want || !said.Daemon {
				return fmt.Errorf("it shows %s, of all %+v", got, said)
			}
			return nil
		})
	}
	one, two := netip.AddrPortFrom(here.IPv4, cluster.TargetPort), netip.AddrPortFrom(there.IPv4, cluster.TargetPort)
	first, second := c.NodeName(c.Node), c.NodeName(c.Node2)
	awaitShown(fmt.Sprintf("0 draining, %s on %s serving, weight 1, 1 active", one, first))
	web.SetEndpoints(t, c.Endpoint(here).Terminating(), c.Endpoint(there))
	awaitShown(fmt.Sprintf("1 draining, %s on %s serving, weight 1, 0 active %s on %s draining, weight 0, 1 active", two, second, one, first))
	status, printed, complaints := ask(t, c.Node.Netns, binary, "status", name)
	for _, part := range []string{name, "1 draining", "1 active", "weight 0", "TCP " + target.AddrPort.String() + "  (tcp)", second} {
		if status != 0 || !strings.Contains(printed, part) {
			t.Errorf("status %d; it lacks %q:\n%s%s", status, part, printed, complaints)
		}
	}
	if err := session.Abort(); err != nil {
		t.Fatal(err)
	}
	awaitShown(fmt.Sprintf("0 draining, %s on %s serving, weight 1, 0 active", two, second))
}

// What somebody has taken from the kernel is missing, of all Services those that are named are shown, and one that there is
// not cannot be.
func TestStatusShowsDrift(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.start(t).serves(t)
	all := showStatus(t, n.Netns, n.binary)
	if all.Summary.Missing != 0 || all.Summary.Stray != 0 || all.Summary.VirtualServers < 10 || len(all.VirtualServers) <= all.Summary.VirtualServers {
		t.Errorf("at first the summary is %+v of %d virtual servers", all.Summary, len(all.VirtualServers))
	}
	cluster.Run(t, n.Netns, "sh", "-ec", "ipvsadm -d -t 10.96.0.80:443 -r 10.244.1.2:8443; ipvsadm -a -t 10.96.0.80:443 -r 10.9.9.9:1 -m -w 3; ipvsadm -D -u 10.96.0.80:80")
	some := showStatus(t, n.Netns, n.binary, "default/web", "default/idle")
	if s := some.Summary; s.Missing != 1+1+6 || s.Stray != 1 {
		t.Errorf("then it is %+v", s)
	}
	status, printed, _ := ask(t, n.Netns, n.binary, "status", "default/web")
	for _, part := range []string{"8 missing", "1 not wanted", "UDP 10.96.0.80:80  (c)  rr  missing", "stray"} {
		if status != 0 || !strings.Contains(printed, part) || strings.Contains(printed, "default/local") {
			t.Errorf("status %d; it lacks %q:\n%s", status, part, printed)
		}
	}
	if status, _, complaints := ask(t, n.Netns, n.binary, "status", "default/nobody"); status != unknown || !strings.Contains(complaints, "no Service default/nobody") {
		t.Errorf("status %d, %s", status, complaints)
	}
}

// It is shown again and again until it is interrupted, and that is a good end.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.start(t).serves(t)
	var out topology.Output
	watch := n.Command(t.Context(), n.binary, "status", "--watch", "--interval=100ms", "default/idle")
	watch.Stdout, watch.Stderr = &out, &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	cluster.Await(t, "three looks", func() error {
		if looks := strings.Count(out.String(), "no endpoints"); looks < 3 {
			return fmt.Errorf("%d looks: %s", looks, out.String())
		}
		return nil
	})
	if err := watch.Process.Signal(os.Signal(syscall.SIGINT)); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil || strings.Contains(out.String(), "\x1b") {
		t.Errorf("it ended with %v after %q", err, out.Tail())
	}
}
