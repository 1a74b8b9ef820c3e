package kube

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"kube-ipvs-proxy/internal/service"
)

// repeatAfter is how long the same failure is not reported again.
const repeatAfter = 30 * time.Second

// The ways in which a resource can be out of reach, apart from each other since one can fail while another works.
const (
	listing  = "list"
	watching = "watch"
	inStream = "watch (stream)" // a watch that began well
)

// access knows how the API server answers for one resource, and reports what it refuses. client-go retries these
// failures by itself and tells the log only.
type access struct {
	resource string
	sink     service.Sink
	now      func() time.Time

	mutex    sync.Mutex
	failing  map[string]failure // by way
	reported time.Time
}

// failure is why a request failed.
type failure struct{ reason, text string }

// observe returns how the resource is listed and watched, with an eye on the answers.
func (a *access) observe(r resource) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := r.list(ctx, o)
			a.note(ctx, listing, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := r.watch(ctx, o)
			if err != nil {
				// A server that does not know streamed lists says so, and is asked for a plain one.
				if o.SendInitialEvents == nil || !apierrors.IsInvalid(err) {
					a.note(ctx, watching, err)
				}
				return nil, err
			}
			a.note(ctx, watching, nil)
			return watch.Filter(w, func(event watch.Event) (watch.Event, bool) {
				var err error
				if event.Type == watch.Error {
					err = apierrors.FromObject(event.Object)
				}
				a.note(ctx, inStream, err)
				return event, true
			}), nil
		},
	}
}

// note remembers how a request went, and reports it when that changed or has been so for long.
func (a *access) note(ctx context.Context, way string, err error) {
	if ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return // stopping; or an old resource version, which a new list mends
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	before, failed := a.failing[way]
	if err == nil {
		if failed {
			delete(a.failing, way)
			a.report()
		}
		return
	}
	now := failure{reason: a.remedy(way, err), text: err.Error()}
	a.failing[way] = now
	if !failed || before.reason != now.reason || a.now().Sub(a.reported) >= repeatAfter {
		a.report()
	}
}

// report tells the sink all that fails at present. The lock is held, so that reports arrive in their order.
func (a *access) report() {
	a.reported = a.now()
	object := "Kubernetes API " + a.resource
	var problems []service.Problem
	for _, way := range slices.Sorted(maps.Keys(a.failing)) {
		f := a.failing[way]
		problems = append(problems, service.Problem{Object: object, Field: way, Value: f.text, Reason: f.reason})
	}
	a.sink.Report(object, problems)
}

// remedy says what a failure means and what to do about it. It depends on the kind of failure only.
func (a *access) remedy(way string, err error) string {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		expired   x509.CertificateInvalidError
	)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("not allowed; grant the verbs list and watch on %s to this daemon's account, with a ClusterRole and a ClusterRoleBinding", a.resource)
	case apierrors.IsUnauthorized(err):
		return "the API server does not accept the credentials; renew the token or certificate of the kubeconfig or ServiceAccount"
	case apierrors.IsTooManyRequests(err):
		return "the API server is busy and asks to come back later; retried by itself"
	case errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &expired):
		return "the API server's certificate cannot be trusted; check address and certificate authority in the kubeconfig"
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown:
		return fmt.Sprintf("no answer from the API server about %s; what is programmed stays, and it is retried by itself; check that the server's address can be reached from this node", a.resource)
	}
	return fmt.Sprintf("the API server could not %s %s; what is programmed stays, and it is retried by itself; look into the server's log if it lasts", way, a.resource)
}
