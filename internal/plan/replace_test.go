package plan_test

import (
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// P33: when every endpoint of a Service is another one, the virtual server stays, the new real servers come before the old
// ones go, and nothing is deleted only to be added again: after a mass delete the kernel adds slowly for minutes.
func TestP33EveryEndpointReplacedIsNoFlush(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1, 2, 3))
	b.run()
	b.want(web(dataplane.TCP, 4, 5))
	b.expect(`
		ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.4:8080 -m -w 1
		ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.5:8080 -m -w 1
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 0
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 0
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.3:8080 -m -w 0
	`, b.run())
	b.want(web(dataplane.TCP, 1, 2, 3))
	b.expect(`
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.3:8080 -m -w 1
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.4:8080 -m -w 0
		ipvsadm -e -t 10.96.0.1:80 -r 10.1.0.5:8080 -m -w 0
	`, b.run())
}

// P33: the same for UDP, whose real servers do not drain: each operation is about one that comes or goes, never about the
// virtual server.
func TestP33UDPReplacedIsNoFlush(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.UDP, 1, 2, 3))
	b.run()
	b.want(web(dataplane.UDP, 3, 4))
	got := b.run()
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "ipvsadm -A") || strings.HasPrefix(line, "ipvsadm -D") || strings.Contains(line, "10.1.0.3:") {
			t.Errorf("%sis about what stays; all operations:\n%s", line, got)
		}
	}
	if strings.Count(got, "ipvsadm -a ") != 1 || strings.Count(got, "ipvsadm -d ") != 2 {
		t.Errorf("want one real server added and two deleted:\n%s", got)
	}
}
