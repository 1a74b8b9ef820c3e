package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The smallest rule set that could do the job is what any way of serving Services in the kernel cannot do without:
//
//   - connection tracking, which translates the answers back; having a rule in table nat turns it on;
//   - one look-up of the destination among all Services, at the one place that packets from everywhere pass. Whether it is
//     in a set, a map or IPVS's own table: without it nobody knows which packets concern a Service;
//   - one comparison at the end that tells the packets to masquerade from all others.
//
// Packets to no Service meet nothing else, not even IPVS's hooks: "smallest" is a bound that a daemon which uses IPVS cannot
// quite reach. "smallest-ipvs" is the same with all virtual servers in IPVS, and so can also carry packets to a Service.
const smallestRules = `*nat
:SMALLEST - [0:0]
-A PREROUTING -m set --match-set ` + clusterIPSet + ` dst,dst -j SMALLEST
-A SMALLEST ! -s ` + podRange + ` -j MARK --set-xmark 0x4000/0x4000
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
COMMIT
`

// installSmallest makes the set, with every Service in it, and the rules.
func (g *guest) installSmallest() error {
	if err := g.tool("", "ipset", "create", clusterIPSet, "hash:ip,port", "family", "inet", "hashsize", "1024", "maxelem", "65536"); err != nil {
		return err
	}
	if err := g.entryBatches().send(); err != nil {
		return err
	}
	return g.tool(smallestRules, "iptables-restore", "--noflush")
}

// installSmallestIPVS makes what the floor does, the Service that packets go to, and the rules.
func (g *guest) installSmallestIPVS() error {
	if _, err := g.installFloor(); err != nil {
		return err
	}
	backend := fmt.Sprintf("%v:%d", backendAddr(), targetPort)
	virtual := fmt.Sprintf("%v:%d", g.target, servicePort)
	for _, protocol := range []string{"-t", "-u"} {
		err := errors.Join(g.tool("", "ipvsadm", "-A", protocol, virtual, "-s", "rr"),
			g.tool("", "ipvsadm", "-a", protocol, virtual, "-r", backend, "-m"))
		if err != nil {
			return err
		}
	}
	entries := &batches{protocol: unix.NETLINK_NETFILTER}
	for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		entries.add(entryRequest(g.target, protocol))
	}
	return errors.Join(entries.send(),
		g.tool("", "ip", "address", "add", g.target.String()+"/32", "dev", "kube-ipvs0"),
		g.tool(smallestRules, "iptables-restore", "--noflush"))
}

// tool runs an installed tool in the calling thread's network namespace.
func (g *guest) tool(input, name string, arguments ...string) error {
	command := exec.Command(filepath.Join(g.Programs, name), arguments...)
	command.Env, command.Stdin = g.environment, strings.NewReader(input)
	if printed, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, bytes.TrimSpace(printed))
	}
	return nil
}
