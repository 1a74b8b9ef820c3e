package reconcile_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// Of all pools those that are chosen are told, in that order and with the names of their ports, and named Services likewise.
func TestPoolsThatAreChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := startViewed(t, newFake(t))
		v.source.SetService(web("web", "10.96.0.1", 30080))
		v.source.SetService(web("other", "10.96.0.2", 0))
		other := service.Name{Namespace: "default", Name: "other"}
		if early := v.reconciler.Named([]service.Name{other}); len(early) > 0 {
			t.Errorf("before the source is complete: %+v", early)
		}
		v.complete()
		view, err := v.reconciler.Pools(t.Context(), func(pools []dataplane.Pool, owners []reconcile.Owner) (chosen []int) {
			if len(pools) != 3 || len(owners) != 3 {
				t.Errorf("pools %+v of %+v", pools, owners)
			}
			for i, owner := range owners {
				if owner.Service == other {
					chosen = append(chosen, i)
				}
			}
			return chosen
		})
		if err != nil || len(view.Objects.Pools) != 1 || view.Objects.Pools[0].Key.Addr.String() != "10.96.0.2" ||
			view.Owners.Pools[0] != (reconcile.Owner{Source: "api", Service: other, Port: "http"}) {
			t.Errorf("%v: %+v of %+v", err, view.Objects.Pools, view.Owners.Pools)
		}
		named := v.reconciler.Named([]service.Name{{Namespace: "default", Name: "nobody"}, other})
		if len(named) != 1 || named[0].Name != other || named[0].Source != "api" {
			t.Errorf("named: %+v", named)
		}
	})
}

func TestPoolsWithoutRun(t *testing.T) {
	r := reconcile.New(newFake(t), options(), &recorder{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := r.Pools(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
