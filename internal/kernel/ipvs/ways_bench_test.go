package ipvs

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// BenchmarkKernelReadingWays compares the ways to read the table. Netlink carries one dump at a time for each socket (a
// second request in the same send is refused with EBUSY), so that dumps cannot be packed into batches; a smaller receive
// buffer has the kernel allocate smaller answers. GET_DEST is a dump only. /proc/net/ip_vs lacks the flags of the
// schedulers, timeout and netmask of virtual servers that are not persistent, and the family of a firewall mark; the kernel
// walks its table from the beginning for every page, and one that comes or goes in between makes another be missing or come
// twice. The older interface knows IPv4 only; each of its calls sees one moment.
//
// CPU time on 2026-11-23, Linux 6.12 in QEMU (TCG) on an AMD EPYC host with others at work, for x10 real servers:
//
//	                                             1,000        5,000
//	GET_SERVICE dump, decoded                    30 ms       274 ms
//	a GET_DEST dump for each, decoded           959 ms     3,800 ms
//	the same, not decoded                       264 ms     1,173 ms
//	the same, with a receive buffer of 8 KiB    220 ms       927 ms
//	/proc/net/ip_vs, not decoded                 85 ms       430 ms
//	IP_VS_SO_GET_SERVICES                         3 ms        12 ms
//	IP_VS_SO_GET_DESTS for each                  21 ms        99 ms
func BenchmarkKernelReadingWays(b *testing.B) {
	kerneltest.NeedLab(b)
	for _, n := range []int{1000, 5000, 10000} {
		d := crowded(b, n)
		services, err := d.options.virtualServers()
		if err != nil || len(services) != n {
			b.Fatalf("%d virtual servers, %v", len(services), err)
		}
		ctx := context.Background()
		for _, way := range []struct {
			name string
			read func() error
		}{
			{"services-dump", func() error { _, err := d.conn.services(ctx); return err }},
			{"dest-dumps", func() error {
				for _, s := range services {
					if _, _, err := d.conn.realServers(ctx, s.Key); err != nil {
						return err
					}
				}
				return nil
			}},
			{"dest-dumps-raw-64KiB", func() error { return rawDumps(d.conn.family, services, 64<<10) }},
			{"dest-dumps-raw-8KiB", func() error { return rawDumps(d.conn.family, services, 8<<10) }},
			{"proc-raw", readProc(fmt.Sprintf("/proc/self/task/%d/net/ip_vs", unix.Gettid()))},
			{"option-services", func() error { _, err := d.options.virtualServers(); return err }},
			{"option-dests", func() error {
				var into []destination
				for _, s := range services {
					if into, _, err = d.options.realServers(s.Key, into[:0]); err != nil {
						return err
					}
				}
				return nil
			}},
			{"pools", func() error { _, _, err := d.Pools(ctx); return err }},
			{"usage", func() error {
				return d.Usage(ctx, keysOf(services), func(dataplane.VirtualServerKey, dataplane.Usage) {})
			}},
		} {
			b.Run(fmt.Sprintf("%s/%dx10", way.name, n), func(b *testing.B) { ofCPU(b, way.read) })
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// ofCPU reports the CPU time of a reading.
func ofCPU(b *testing.B, read func() error) {
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		if err := read(); err != nil {
			b.Fatal(err)
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(spent)/float64(b.N)/1e6, "cpu-ms/op")
}

// crowded returns a driver of a namespace with so many virtual servers of ten real servers each.
func crowded(b *testing.B, n int) *Driver {
	kerneltest.Netns(b)
	d, err := Open()
	if err != nil {
		b.Fatal(err)
	}
	var ops []dataplane.Operation
	for i := range n {
		key := dataplane.KeyOf(dataplane.TCP, netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80)
		ops = append(ops, op(dataplane.Add, vs(key)))
		for j := i * 10; j < i*10+10; j++ {
			addr := netip.AddrFrom4([4]byte{10, byte(128 + j>>16), byte(j >> 8), byte(j)})
			ops = append(ops, op(dataplane.Add, rs(key, netip.AddrPortFrom(addr, 8080).String(), 1)))
		}
	}
	for i, err := range d.Apply(context.Background(), ops) {
		if err != nil {
			b.Fatalf("%s: %v", ops[i], err)
		}
	}
	return d
}

func keysOf(services []countedServer) []dataplane.VirtualServerKey {
	keys := make([]dataplane.VirtualServerKey, len(services))
	for i, s := range services {
		keys[i] = s.Key
	}
	return keys
}

// rawDumps dumps the real servers of each virtual server and only looks for the end of each dump.
func rawDumps(family uint16, services []countedServer, buffer int) error {
	wire, _, err := nlbatch.Dialer(unix.NETLINK_GENERIC)()
	if err != nil {
		return err
	}
	in, out := make([]byte, buffer), make([]byte, 0, 256)
	for _, s := range services {
		out = appendService(begin(out[:0], family, getDest, unix.NLM_F_DUMP), s.Key)
		binary.NativeEndian.PutUint32(out, uint32(len(out)))
		if err := wire.Send(out); err != nil {
			return err
		}
		for done := false; !done; {
			n, err := wire.Receive(in)
			if err != nil {
				return err
			}
			for rest := in[:n]; len(rest) > 0; {
				var m nlbatch.Message
				if m, rest, err = nlbatch.Next(rest); err != nil {
					return err
				}
				done = m.Type == unix.NLMSG_DONE
			}
		}
	}
	return wire.Close()
}

// readProc reads a file to its end.
func readProc(path string) func() error {
	return func() error {
		_, err := os.ReadFile(path)
		return err
	}
}
