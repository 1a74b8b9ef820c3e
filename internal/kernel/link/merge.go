package link

import (
	"context"
	"sync"

	"kube-ipvs-proxy/internal/dataplane"
)

// pendingLimit is how many events may wait for a slow reader before they are given up for one Overrun.
const pendingLimit = 1 << 16

// merger holds events between the socket, which must be read at once, and the reader of the channel.
type merger struct {
	mu      sync.Mutex
	pending []dataplane.Event
	wake    chan struct{} // holds one token while there may be events
}

func newMerger() *merger { return &merger{wake: make(chan struct{}, 1)} }

// put adds an event. After a waiting Overrun nothing else matters, and a change of node addresses needs saying once.
func (m *merger) put(event dataplane.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pending) >= pendingLimit {
		event = dataplane.Event{Kind: dataplane.Overrun}
	}
	switch n := len(m.pending); {
	case n > 0 && m.pending[0].Kind == dataplane.Overrun:
		return
	case event.Kind == dataplane.Overrun:
		m.pending = append(m.pending[:0], event)
	case n > 0 && m.pending[n-1] == event:
		return
	default:
		m.pending = append(m.pending, event)
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// deliver hands events over until the context ends, then closes the channel.
func (m *merger) deliver(ctx context.Context, out chan<- dataplane.Event) {
	defer close(out)
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		m.mu.Lock()
		events := m.pending
		m.pending = nil
		m.mu.Unlock()
		for _, event := range events {
			select {
			case <-ctx.Done():
				return
			case out <- event:
			}
		}
	}
}
