package reconcile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/kernel/kerneltest"
	"kube-ipvs-proxy/internal/service"
)

// walk is a random history of objects, and of what somebody does to the kernel behind the proxy's back.
type walk struct {
	random   *rand.Rand
	services map[string]service.Service
	slices   map[string]service.Slice
	lonely   bool // nobody else touches the kernel
}

func (w *walk) step(f *fixture) {
	name := fmt.Sprint("svc", w.random.IntN(5))
	switch w.random.IntN(8) {
	case 0:
		f.source.DeleteService(service.Name{Namespace: "default", Name: name})
		delete(w.services, name)
	case 1:
		f.source.DeleteSlice(service.Name{Namespace: "default", Name: name + "-1"})
		delete(w.slices, name)
	case 2, 3:
		svc := w.service(name)
		f.source.SetService(svc)
		w.services[name] = svc
	case 4, 5, 6:
		s := w.slice(name)
		f.source.SetSlice(s)
		w.slices[name] = s
	case 7:
		if !w.lonely {
			w.meddle(f)
		}
	}
	f.settle(time.Duration(w.random.IntN(3000)) * time.Millisecond)
}

func (w *walk) service(name string) service.Service {
	number := name[len(name)-1] - '0'
	svc := web(name, netip.AddrFrom4([4]byte{10, 96, 0, number + 1}).String(), uint16(w.random.IntN(2))*(30000+uint16(number)))
	if w.random.IntN(3) == 0 {
		svc.VIPs.External = []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, 1})} // shared by several Services: a conflict
	}
	svc.Created = time.Date(2026, 1, 1, int(number), 0, 0, 0, time.UTC)
	svc.Ports[0].Protocol = []dataplane.Protocol{dataplane.TCP, dataplane.UDP, dataplane.SCTP}[w.random.IntN(3)]
	if w.random.IntN(3) == 0 {
		svc.Policy.AffinityTimeout = time.Hour
	}
	svc.Policy.ExternalLocal = w.random.IntN(4) == 0
	return svc
}

func (w *walk) slice(name string) service.Slice {
	s := slice(name)
	s.Ports = nil
	for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP, dataplane.SCTP} {
		s.Ports = append(s.Ports, service.SlicePort{Name: "http", Protocol: protocol, Port: 8080})
	}
	for i := range byte(6) {
		if w.random.IntN(2) == 0 {
			continue
		}
		ready := w.random.IntN(4) > 0
		s.Endpoints = append(s.Endpoints, service.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 1, 0, i + 1}),
			Node: fmt.Sprint("node-", w.random.IntN(2)+1), Ready: ready, Serving: ready || w.random.IntN(2) == 0,
			Terminating: !ready && w.random.IntN(2) == 0})
	}
	return s
}

// meddle undoes something that the proxy did, or does something it did not. What cannot be meddled with at the moment is
// left alone.
func (w *walk) meddle(f *fixture) {
	objects := f.kernel.Objects()
	switch w.random.IntN(4) {
	case 0:
		if n := len(objects.Pools); n > 0 {
			_ = f.kernel.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: objects.Pools[w.random.IntN(n)].VirtualServer})
		}
	case 1:
		if n := len(objects.Addresses); n > 0 {
			_ = f.kernel.DropAddress(objects.Addresses[w.random.IntN(n)])
		}
	case 2:
		if n := len(objects.Entries); n > 0 {
			_ = f.kernel.ByHand(dataplane.Operation{Verb: dataplane.Delete, Object: objects.Entries[w.random.IntN(n)]})
		}
	case 3:
		stray := dataplane.VirtualServer{Key: dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("10.96.9.9"), 99), Scheduler: "rr", MaskBits: 32}
		_ = f.kernel.ByHand(dataplane.Operation{Verb: dataplane.Add, Object: stray})
	}
}

// final returns the state of a kernel that was told only the end of the history.
func (w *walk) final(t *testing.T) string {
	f := start(t, newFake(t), nil)
	for _, svc := range w.services {
		f.source.SetService(svc)
	}
	for _, s := range w.slices {
		f.source.SetSlice(s)
	}
	f.complete()
	f.settle(5 * time.Second)
	return f.kernel.Dump()
}

// Whatever the history, and however often operations, snapshots and reads fail on the way, the kernel ends up in the
// state that a new kernel reaches from the final objects alone (invariants 2, 3 and 6).
func TestRandomWalkWithFaultsConverges(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var faulty *kerneltest.Faulty
				f := start(t, newFake(t), func(k kernel.Kernel) kernel.Kernel {
					faulty = kerneltest.NewFaulty(k, seed, kerneltest.Faults{Operations: 0.2, TakesEffect: 0.5, Snapshot: 0.3,
						NodeAddresses: 0.3, Foundation: 0.3, Connections: 0.3})
					return faulty
				})
				w := &walk{random: rand.New(rand.NewPCG(seed, 1)), services: map[string]service.Service{}, slices: map[string]service.Slice{}}
				for range 10 {
					w.step(f)
				}
				f.complete()
				for range 60 {
					w.step(f)
				}
				faulty.SetFaults(kerneltest.Faults{})
				f.settle(20 * time.Minute) // longer than the backoff, an audit and the drain deadline
				if diff := cmp.Diff(unmarked(w.final(t)), unmarked(f.kernel.Dump())); diff != "" {
					t.Errorf("after %d faults (-fresh kernel +this one):\n%s", faulty.Injected(), diff)
				}
			})
		})
	}
}

// unmarked names packet marks after the addresses that have them: which number each gets depends on which were free at
// the time.
func unmarked(dump string) string {
	const masquerade = service.DefaultMark
	names := map[uint64][]string{}
	marked := regexp.MustCompile(`add KUBE-INTERNAL-MARK (\S+) skbmark (0x[0-9a-f]+)`)
	for _, entry := range marked.FindAllStringSubmatch(dump, -1) {
		mark, _ := strconv.ParseUint(entry[2], 0, 32)
		names[mark&^masquerade] = append(names[mark&^masquerade], entry[1])
	}
	numbers := regexp.MustCompile(`(-f |skbmark )(0x[0-9a-f]+|[0-9]+)`)
	lines := strings.Split(numbers.ReplaceAllStringFunc(dump, func(text string) string {
		parts := numbers.FindStringSubmatch(text)
		mark, _ := strconv.ParseUint(parts[2], 0, 32)
		return fmt.Sprint(parts[1], names[mark&^masquerade], mark&masquerade)
	}), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
