package reconcile_test

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// The virtual servers of a port are told together with it: at the ClusterIP, and at every address of the node.
func TestServersAreThoseOfServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := startViewed(t, newFake(t))
		v.source.SetService(web("web", "10.96.0.1", 30080))
		v.source.SetService(web("other", "10.96.0.2", 0))
		v.complete()
		servers, err := v.reconciler.Servers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(servers, func(a, b reconcile.Server) int {
			return cmp.Or(cmp.Compare(a.Owner.Service.Name, b.Owner.Service.Name), a.Key.Compare(b.Key))
		})
		owner := func(name string) reconcile.Owner {
			return reconcile.Owner{Source: "api", Service: service.Name{Namespace: "default", Name: name}, Port: "http"}
		}
		cluster := func(addr string) dataplane.VirtualServerKey {
			return dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr(addr), 80)
		}
		if len(servers) != 3 || servers[0] != (reconcile.Server{Key: cluster("10.96.0.2"), Owner: owner("other")}) ||
			servers[1].Owner != owner("web") || servers[2].Owner != owner("web") {
			t.Fatalf("servers %+v", servers)
		}
		if keys := []dataplane.VirtualServerKey{servers[1].Key, servers[2].Key}; !slices.Contains(keys, cluster("10.96.0.1")) ||
			!slices.ContainsFunc(keys, func(k dataplane.VirtualServerKey) bool { return k.Port == 30080 }) {
			t.Errorf("of web %v", keys)
		}
	})
}

// The number of one port can be the NodePort of another: at the node's addresses it is the NodePort that counts.
func TestServersOfNumbersUsedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := startViewed(t, newFake(t))
		twice := web("web", "10.96.0.1", 30080)
		twice.Ports = append(twice.Ports, service.Port{Name: "other", Protocol: dataplane.TCP, Port: 30080, NodePort: 30081})
		v.source.SetService(twice)
		v.complete()
		servers, err := v.reconciler.Servers(t.Context())
		if err != nil || len(servers) != 4 {
			t.Fatalf("%v: servers %+v", err, servers)
		}
		for _, server := range servers {
			atClusterIP := server.Key.Addr == netip.MustParseAddr("10.96.0.1")
			want := map[bool]map[uint16]string{true: {80: "http", 30080: "other"}, false: {30080: "http", 30081: "other"}}[atClusterIP][server.Key.Port]
			if server.Owner.Port != want {
				t.Errorf("%s is for port %q, want %q", server.Key, server.Owner.Port, want)
			}
		}
	})
}

// Nobody there to answer is an error when the caller's patience ends.
func TestServersWithoutRun(t *testing.T) {
	r := reconcile.New(newFake(t), options(), &recorder{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := r.Servers(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
