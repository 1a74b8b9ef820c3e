package ipvs_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipvs"
)

// patience is how long the kernel may take to bring its counters up to date: it does so every two seconds.
const patience = time.Minute

// What clients did is what the driver tells, by both interfaces, and what ipvsadm prints; after a virtual server was made
// anew it counts from 0.
func TestKernelUsage(t *testing.T) {
	d, byNetlink := openFresh(t), open(t)
	if err := byNetlink.ByNetlink(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ip", "addr", "add", "fd00::2/128", "dev", "lo", "nodad").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var keys []dataplane.VirtualServerKey
	servers := map[dataplane.VirtualServerKey]netip.AddrPort{}
	for virtual, real := range map[string]string{"127.0.0.2:8080": "127.0.0.1:0", "[fd00::2]:8080": "[::1]:0"} {
		k := key(virtual)
		keys, servers[k] = append(keys, k), echo(t, real)
		mustApply(t, d, add(vs(k, "rr"), rs(k, servers[k].String(), 5))...)
	}
	for _, k := range keys {
		for range 2 {
			visit(t, k).Close()
		}
		defer visit(t, k).Close()
		for name, driver := range map[string]*ipvs.Driver{"both": d, "netlink": byNetlink} {
			await(t, func() error { return used(driver, k, servers[k], 3) }, "%s by %s", k, name)
		}
		mustApply(t, d, op(dataplane.Delete, vs(k, "rr")))
		mustApply(t, d, add(vs(k, "rr"), rs(k, servers[k].String(), 5))...)
		if now, err := usage(d, k); err != nil || now.Traffic != (dataplane.Traffic{}) {
			t.Errorf("%s made anew: %+v, %v", k, now, err)
		}
	}
}

// echo returns the address of a server that sends back what it gets.
func echo(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// visit connects to a virtual server and has one answer.
func visit(t *testing.T, k dataplane.VirtualServerKey) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(k.Addr, k.Port).String(), 10*time.Second)
	if err == nil {
		_, err = c.Write([]byte("hello"))
	}
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 5))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// usage reads that of one virtual server.
func usage(d *ipvs.Driver, k dataplane.VirtualServerKey) (found dataplane.Usage, err error) {
	err = d.Usage(context.Background(), []dataplane.VirtualServerKey{k}, func(_ dataplane.VirtualServerKey, u dataplane.Usage) {
		found = u
		found.Servers = append([]dataplane.Load(nil), u.Servers...)
	})
	return found, err
}

// used checks the usage of a virtual server with one real server: so many connections, of which one goes on, and the numbers
// that ipvsadm prints.
func used(d *ipvs.Driver, k dataplane.VirtualServerKey, server netip.AddrPort, connections uint64) error {
	u, err := usage(d, k)
	if err != nil {
		return err
	}
	got := fmt.Sprint(u.Connections, u.InPackets, u.OutPackets, u.InBytes, u.OutBytes)
	out, err := exec.Command("ipvsadm", "-Ln", "--stats", "--exact", "-t", netip.AddrPortFrom(k.Addr, k.Port).String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ipvsadm: %w: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 7 && fields[0] == "TCP" && strings.Join(fields[2:], " ") != got {
			return fmt.Errorf("counted %s, and ipvsadm prints %s", got, line)
		}
	}
	want := dataplane.Load{RealServer: dataplane.RealServer{Addr: server, Weight: 5}, Active: 1, Inactive: uint32(connections - 1)}
	if u.Connections != connections || u.InPackets < 4*connections || u.OutBytes < 5*connections || len(u.Servers) != 1 || u.Servers[0] != want {
		return fmt.Errorf("used %+v, want %d connections and %+v", u, connections, want)
	}
	return nil
}

func await(t *testing.T, try func() error, what string, arguments ...any) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf(what+": %v", append(arguments, err)...)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
