package kerneltest

import (
	"context"
	"sync"

	"kube-ipvs-proxy/internal/dataplane"
)

// broadcaster gives every subscriber every event, in order, without ever making the sender wait.
type broadcaster struct {
	mu     sync.Mutex
	queues map[*queue]bool
}

// queue is the unbounded buffer of one subscriber.
type queue struct {
	mu     sync.Mutex
	events []dataplane.Event
	wake   chan struct{} // holds one token while there may be events
}

func (b *broadcaster) subscribe(ctx context.Context) <-chan dataplane.Event {
	q := &queue{wake: make(chan struct{}, 1)}
	b.mu.Lock()
	if b.queues == nil {
		b.queues = map[*queue]bool{}
	}
	b.queues[q] = true
	b.mu.Unlock()
	out := make(chan dataplane.Event, 1<<10)
	go func() {
		defer close(out)
		defer b.remove(q)
		q.deliver(ctx, out)
	}()
	return out
}

func (b *broadcaster) remove(q *queue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.queues, q)
}

func (b *broadcaster) send(event dataplane.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for q := range b.queues {
		q.mu.Lock()
		q.events = append(q.events, event)
		q.mu.Unlock()
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// deliver hands events over until the context ends.
func (q *queue) deliver(ctx context.Context, out chan<- dataplane.Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		q.mu.Lock()
		events := q.events
		q.events = nil
		q.mu.Unlock()
		for _, event := range events {
			select {
			case <-ctx.Done():
				return
			case out <- event:
			}
		}
	}
}
