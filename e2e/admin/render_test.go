package admin

import (
	"os"
	"slices"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// What render prints is what the tools print, order included where the tool sorts.
func TestRenderEqualsTheTools(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	d := n.start(t)
	d.serves(t)
	n.rendersTheKernel(t)
	d.stop(t)
	n.rendersTheKernel(t)
}

func (n node) rendersTheKernel(t *testing.T) {
	t.Helper()
	table := cluster.Run(t, n.Netns, "ipvsadm", "-Sn")
	if got := n.render(t, "ipvs"); trimmed(got) != trimmed(table) {
		t.Errorf("render ipvs prints\n%sand ipvsadm -Sn\n%s", got, table)
	}
	for what, script := range map[string]string{
		"ipset":     "ipset save | grep '^add KUBE-'",
		"addresses": "ip -o addr show dev kube-ipvs0 | awk '{print \"ip addr add\", $4, \"dev kube-ipvs0\"}'",
	} {
		want, got := sorted(cluster.Run(t, n.Netns, "sh", "-ec", script)), sorted(n.render(t, what))
		got = slices.DeleteFunc(got, func(line string) bool { return strings.HasPrefix(line, "create ") })
		if !slices.Equal(want, got) || len(got) < 5 {
			t.Errorf("render %s prints\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, what := range []string{"iptables", "ip6tables"} {
		there := cluster.Run(t, n.Netns, what+"-save")
		rendered := sorted(n.render(t, what))
		for _, line := range rendered {
			if strings.HasPrefix(line, "-A ") && !strings.Contains(there, line+"\n") {
				t.Errorf("render %s prints %q, which is not in\n%s", what, line, there)
			}
		}
		if len(rendered) < 20 {
			t.Errorf("render %s prints %q", what, rendered)
		}
	}
}

func (n node) render(t *testing.T, what string) string {
	t.Helper()
	status, printed, errors := ask(t, n.Netns, n.binary, append([]string{"render", what}, n.flags()...)...)
	if status != 0 || errors != "" {
		t.Errorf("render %s: status %d, %s", what, status, errors)
	}
	return printed
}

// trimmed drops the blanks with which ipvsadm ends some lines.
func trimmed(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

func sorted(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return lines
}

// From an API server the same is worked out without a daemon as with one. Nobody else may write there meanwhile: other tests
// that do are parallel, and begin when this one has ended.
func TestVerifyAgainstTheAPIServer(t *testing.T) {
	binary := cluster.Binary(t)
	c := cluster.New(t, topology.Options{})
	c.AddServer(t, c.Node, "one")
	web := c.AddService(t, "web")
	d := c.StartDaemon(t)
	c.Settle(t)
	flags := []string{"--kubeconfig=" + os.Getenv("KUBECONFIG"), "--hostname-override=" + c.NodeName(c.Node), "--conntrack-max-per-core=0"}
	verified := func(when string) {
		t.Helper()
		if status, printed, errors := ask(t, c.Node.Netns, binary, append([]string{"verify"}, flags...)...); status != equal {
			t.Errorf("%s: status %d\n%s%s", when, status, printed, errors)
		}
	}
	verified("with the daemon")
	d.Stop(t)
	verified("without the daemon")
	cluster.Run(t, c.Node.Netns, "ip", "addr", "del", web.Address(cluster.ClusterIP, topology.IPv4).String()+"/32", "dev", "kube-ipvs0")
	status, printed, _ := ask(t, c.Node.Netns, binary, append([]string{"verify"}, flags...)...)
	if status != different || !strings.HasPrefix(printed, "ip addr add "+web.Address(cluster.ClusterIP, topology.IPv4).String()) || !strings.Contains(printed, "/"+web.Name) {
		t.Errorf("status %d, %q", status, printed)
	}
}
