package probe

import (
	"context"
	"sync"
	"time"

	"kube-ipvs-proxy/e2e/topology"
)

// Load asks in the background until it is stopped.
type Load struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex // guards tally
	tally Tally
}

// StartLoad asks target from a namespace every interval, each time on a
// connection of its own, until Stop or the end of ctx. A question that takes longer
// delays the next one, so interval 0 asks as fast as answers come. If the target has a
// local port, the first question is asked from it, the second from the next one, and so on.
func StartLoad(ctx context.Context, from *topology.Netns, target Target, interval time.Duration) *Load {
	return startLoad(ctx, interval, func(ctx context.Context) (Answer, error) {
		asked := target
		if target.LocalPort != 0 {
			target.LocalPort++
		}
		return Ask(ctx, from, asked)
	})
}

// StartLoad asks on the one session every interval, as StartLoad of the package
// does on many. It does not close the session.
func (s *Session) StartLoad(ctx context.Context, interval time.Duration) *Load {
	return startLoad(ctx, interval, s.Ask)
}

func startLoad(ctx context.Context, interval time.Duration, ask func(context.Context) (Answer, error)) *Load {
	ctx, cancel := context.WithCancel(ctx)
	load := &Load{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(load.done)
		for ctx.Err() == nil {
			next := time.After(interval)
			// Stopping lets the present question end by itself: cutting it off would
			// count as a failure.
			load.count(ask(context.WithoutCancel(ctx)))
			select {
			case <-ctx.Done():
			case <-next:
			}
		}
	}()
	return load
}

func (l *Load) count(answer Answer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.add(answer, err)
}

// Tally is what has come of the load so far.
func (l *Load) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally.clone()
}

// Stop ends the load after its present question and returns what came of it.
// Stopping twice is fine.
func (l *Load) Stop() Tally {
	l.cancel()
	<-l.done
	return l.Tally()
}
