package app

import (
	"net/http"
	"time"

	"k8s.io/utils/clock"

	"kube-ipvs-proxy/internal/admin/page"
	"kube-ipvs-proxy/internal/health"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/reconcile"
)

// statusPage returns the status page by its pattern. It is not at "/", where kube-proxy has nothing.
func statusPage(node string, reconciler *reconcile.Reconciler, kernel *host.Host, sources []runner, history *page.History,
	state *health.State) (map[string]http.Handler, error) {
	handler, err := page.New(page.Source{Node: node, Version: version(), Started: time.Now(), Clock: clock.RealClock{},
		Pools: reconciler.Pools, Services: reconciler.Named, Usage: kernel.UsageOfFew,
		Ages: agesOf(sources), Healthy: state.Healthy, History: history})
	return map[string]http.Handler{"GET /status": handler}, err
}

// aging is a source that knows how long ago it last heard anything.
type aging interface {
	Ages() map[string]time.Duration
}

// agesOf returns the function that tells how long ago all those sources that know last heard anything.
func agesOf(sources []runner) func() map[string]time.Duration {
	return func() map[string]time.Duration {
		all := make(map[string]time.Duration)
		for _, source := range sources {
			if one, is := source.(aging); is {
				for name, age := range one.Ages() {
					all[name] = age
				}
			}
		}
		return all
	}
}
