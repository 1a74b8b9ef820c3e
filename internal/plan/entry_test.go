package plan_test

import (
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/plan"
)

// newPolicyBench is a bench with a planner that knows what the sets LOCAL (exceptions of LB) and NOBODY are for.
func newPolicyBench(t *testing.T) *bench {
	b := newBench(t)
	b.planner = plan.New(plan.Options{DrainTimeout: 15 * time.Minute, Ours: func(dataplane.VirtualServerKey) bool { return true },
		Exceptions: dataplane.Exceptions{"LOCAL": "LB"}, Refusals: map[string]struct{}{"NOBODY": {}}})
	return b
}

// in adds entries for web's address and port to the objects.
func in(objects dataplane.Objects, sets ...string) dataplane.Objects {
	for _, set := range sets {
		entry := dataplane.Entry{Set: set, Addr: vip, Protocol: dataplane.TCP, Port: 80}
		if set == "MARK" {
			entry.Mark = 0x1234
		}
		objects.Entries = append(objects.Entries, entry)
	}
	return objects
}

// B33: while a policy changes, no new connection is sent to an endpoint elsewhere with the client's address as it is, none
// meets a marked virtual server without servers that take any, and none is refused that is to be served.
func TestB33PolicyChangesLoseNoConnection(t *testing.T) {
	b := newPolicyBench(t)
	local := in(exposed(dataplane.TCP, 1, 2), "LB", "LOCAL", "MARK")
	b.want(local)
	if up := b.run(); strings.Index(up, "LOCAL") > strings.Index(up, "ip addr add") {
		t.Errorf("without anything in force, clients get through before the exception:\n%s", up)
	}
	b.want(in(web(dataplane.TCP, 1, 2), "LB"))
	b.expect("ipset del LOCAL 10.96.0.1,tcp:80\nipvsadm -a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1\nipset del MARK 10.96.0.1,tcp:80\n"+
		"ipvsadm -e -f 4660 -r 10.1.0.1:8080 -m -w 0\nipvsadm -e -f 4660 -r 10.1.0.2:8080 -m -w 0\n", b.run())
	b.want(local)
	b.expect("ipvsadm -e -f 4660 -r 10.1.0.1:8080 -m -w 1\nipvsadm -e -f 4660 -r 10.1.0.2:8080 -m -w 1\nipset add MARK 10.96.0.1,tcp:80 skbmark 0x1234\n"+
		"ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 0\nipset add LOCAL 10.96.0.1,tcp:80\n", b.run())
	b.want(in(exposed(dataplane.TCP, 1, 2), "LB", "LOCAL", "MARK", "NOBODY"))
	b.planner.Adopt(in(web(dataplane.TCP, 1), "LB"))
	b.changed = b.ledger.All()
	if up := b.run(); !(strings.Index(up, "-a -f 4660") < strings.Index(up, "add MARK") && strings.Index(up, "add MARK") < strings.Index(up, "add NOBODY")) {
		t.Errorf("marked before there are servers, or refused before those that are exempt are marked:\n%s", up)
	}
	b.want(dataplane.Objects{})
	if down := b.run(); strings.Index(down, "LOCAL") < strings.Index(down, "ip addr del") {
		t.Errorf("the exception goes before the address:\n%s", down)
	}
}

// P27: what refuses new connections goes once there are servers, even while nothing may be taken away; but it is not taken
// for superfluous because nobody has asked for it yet.
func TestP27RefusalGoesWhenThereAreServers(t *testing.T) {
	addOnly := func(r *plan.Request) { r.AddOnly = true }
	b := newPolicyBench(t)
	b.want(in(web(dataplane.TCP), "NOBODY"))
	b.run(addOnly)
	b.want(web(dataplane.TCP, 1))
	b.expect("ipvsadm -A -t 10.96.0.1:80 -s rr\nipvsadm -a -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1\n"+
		"ipset del NOBODY 10.96.0.1,tcp:80\n", b.run(addOnly))
	b.planner.Adopt(in(dataplane.Objects{}, "NOBODY", "LB", "LOCAL"))
	b.want(dataplane.Objects{})
	b.changed = b.planner.Keys()
	b.expect("", b.run(addOnly))
}
