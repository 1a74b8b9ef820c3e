package kerneltest

import (
	"net/netip"

	"kube-ipvs-proxy/internal/dataplane"
)

// besideChanges ensures the foundation and reads the kernel again and again while another goroutine adds and deletes
// objects. All of that succeeds, and what is not changed is in every snapshot, once and as it is.
func (s *suite) besideChanges() {
	s.found(testFoundation())
	stable, passing := crowd(10), crowd(11)
	for _, object := range stable {
		s.run(step{dataplane.Add, object, nil})
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	defer func() {
		close(stop)
		<-stopped
	}()
	go func() {
		defer close(stopped)
		s.comeAndGo(passing, stop)
	}()
	for range 10 {
		if repaired := s.found(testFoundation()); len(repaired) > 0 {
			s.Errorf("the foundation needed repairs: %q", repaired)
		}
		got := s.present()
		for _, object := range stable {
			if n := got[object.String()]; n != 1 {
				s.Fatalf("%s is in a snapshot %d times", object, n)
			}
		}
	}
}

// comeAndGo adds and deletes objects until it is told to stop.
func (s *suite) comeAndGo(objects []dataplane.Object, stop <-chan struct{}) {
	for {
		for _, verb := range []dataplane.Verb{dataplane.Add, dataplane.Delete} {
			var ops []dataplane.Operation
			for _, object := range objects {
				ops = append(ops, dataplane.Operation{Verb: verb, Object: object})
			}
			for i, err := range s.kernel.Apply(s.ctx, ops) {
				if err != nil {
					s.Errorf("%s: %v", ops[i], err)
				}
			}
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

// crowd returns many objects of every kind, different ones for different numbers; the entries are more than their set is
// made for.
func crowd(number byte) []dataplane.Object {
	var objects []dataplane.Object
	for i := range byte(60) {
		vip, real := netip.AddrFrom4([4]byte{10, 96, number, i + 1}), netip.AddrFrom4([4]byte{10, 1, number, i + 1})
		server := serverAt(dataplane.TCP, netip.AddrPortFrom(vip, 80).String())
		objects = append(objects, dataplane.Entry{Set: setSmall, Addr: vip}, server,
			dataplane.Member{VirtualServer: server.Key, RealServer: dataplane.RealServer{Addr: netip.AddrPortFrom(real, 8080), Weight: 1}},
			dataplane.Address{Addr: vip})
	}
	return objects
}

// present returns how often each object is in a snapshot.
func (s *suite) present() map[string]int {
	s.Helper()
	snapshot, err := s.kernel.Snapshot(s.ctx)
	if err != nil {
		s.Fatalf("snapshot: %v", err)
	}
	times := map[string]int{}
	for _, pool := range snapshot.Pools {
		times[pool.VirtualServer.String()]++
		for _, real := range pool.RealServers {
			times[dataplane.Member{VirtualServer: pool.Key, RealServer: real}.String()]++
		}
	}
	for _, addr := range snapshot.Addresses {
		times[dataplane.Address{Addr: addr}.String()]++
	}
	for _, entry := range snapshot.Entries {
		times[entry.String()]++
	}
	return times
}
