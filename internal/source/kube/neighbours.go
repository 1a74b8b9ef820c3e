package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/pager"

	"kube-ipvs-proxy/internal/service"
)

// How often the addresses of the other Nodes are read. Thousands of proxies do it, so they are not watched (every
// heartbeat of every Node would reach every proxy), and the hours of different proxies do not meet.
const (
	neighboursEvery  = time.Hour
	neighboursJitter = 0.5 // of the above, on top
	neighboursRetry  = 30 * time.Second
	neighboursMost   = 15 * time.Second // for one reading
)

// neighbours is the sink of Services: it passes everything on, and sees to it that the addresses of the other Nodes are
// known before the first Service that could name one of them as an address of its own (P18).
type neighbours struct {
	service.Sink
	access *access
	client API
	own    string // name of this node

	mutex sync.Mutex
	ctx   context.Context // of Run; nil before
	asked bool            // a reading was tried
	next  chan struct{}   // closed by the first reading
}

func newNeighbours(client API, own string, sink service.Sink, now func() time.Time) *neighbours {
	return &neighbours{
		Sink:   sink,
		access: &access{resource: nodesPlural, sink: sink, now: now, failing: map[string]failure{}},
		client: client,
		own:    own,
		next:   make(chan struct{}),
	}
}

// SetService implements service.Sink. The first Service with an address from outside waits for the other Nodes'
// addresses, as long as one reading may take: bound even for a moment, a Node's address is cut off here.
func (n *neighbours) SetService(s service.Service) {
	if len(s.VIPs.External)+len(s.VIPs.LoadBalancer) > 0 {
		n.once()
	}
	n.Sink.SetService(s)
}

func (n *neighbours) once() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.asked || n.ctx == nil {
		return
	}
	n.asked = true
	close(n.next)
	_ = n.read(n.ctx) // reported, and tried again by run
}

// run reads again and again, from the first reading on, until the context ends.
func (n *neighbours) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-n.next:
	}
	pause := neighboursRetry // soon, in case the first reading failed
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = wait.Jitter(neighboursEvery, neighboursJitter)
		if err := n.read(ctx); err != nil {
			pause = neighboursRetry
		}
	}
}

func (n *neighbours) begin(ctx context.Context) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.ctx = ctx
}

// read lists the Nodes in pages and delivers their addresses. What was delivered before stays when it fails.
func (n *neighbours) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, neighboursMost)
	defer cancel()
	var found []netip.Addr
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return n.client.List(ctx, nodesPlural, o)
	})
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		node, ok := obj.(*corev1.Node)
		if !ok {
			return fmt.Errorf("%w: %T in the list of nodes", errUnexpected, obj)
		}
		if node.Name != n.own {
			compact, _ := service.FromNode(node) // what is wrong with another Node is its own proxy's to report
			found = append(found, compact.Addresses...)
		}
		return nil
	})
	n.access.note(ctx, listing, err)
	if err != nil {
		return err
	}
	slices.SortFunc(found, netip.Addr.Compare)
	n.SetOtherNodes(slices.Compact(found))
	return nil
}
