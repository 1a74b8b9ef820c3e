package admin

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs-proxy/e2e/topology"
)

// Of two daemons the second is refused, with the first's name, and so is --cleanup, for what it removes would come back. When
// the first one is killed, the way is free.
func TestTwoDaemons(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	first := n.start(t)
	first.serves(t)
	for _, more := range []string{"-v=0", "--cleanup"} {
		status, words := n.start(t, more).ends(t)
		name := fmt.Sprintf("PID %d", first.process.Process.Pid)
		if status != taken || !strings.Contains(words, name) || !strings.Contains(words, "end it first") {
			t.Errorf("with %s the second daemon ended with status %d and %q, want %d and %q", more, status, words, taken, name)
		}
	}
	n.verifies(t, "after the second")
	first.kill(t)
	third := n.start(t)
	third.serves(t)
	third.stop(t)
}

// Where kube-proxy answers, the daemon does not start, unless it is told to.
func TestKubeProxyRuns(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.answersAsKubeProxy(t, "iptables")
	status, words := n.start(t).ends(t)
	if status != rival || !strings.Contains(words, "iptables") || !strings.Contains(words, "delete daemonset kube-proxy") {
		t.Errorf("the daemon ended with status %d and %q", status, words)
	}
	d := n.start(t, "--ignore-kube-proxy")
	d.serves(t)
	d.stop(t)
}

// answersAsKubeProxy has something answer on the node as kube-proxy does in a mode, until the test ends.
func (n node) answersAsKubeProxy(t *testing.T, mode string) {
	t.Helper()
	listener, err := n.Listen(topology.TCP, netip.MustParseAddrPort("127.0.0.1:10249"))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(mode)) // who asked may have gone
	})}
	go func() { _ = web.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = web.Close() })
}
