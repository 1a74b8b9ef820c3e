package probe

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"kube-ipvs-proxy/e2e/backend"
	"kube-ipvs-proxy/e2e/topology"
)

// DefaultTimeout is how long a question may take unless its Target says otherwise. A
// lost TCP SYN is sent again after one second, so one loss does not fail a question, and
// emulated machines stand still for seconds now and then.
const DefaultTimeout = 10 * time.Second

// Answer is a backend's answer.
type Answer = backend.Reply

// Target says whom to ask, and how.
type Target struct {
	Protocol topology.Protocol
	// AddrPort is where the question goes: a Service's or a backend's own address.
	AddrPort netip.AddrPort
	// LocalAddr is the source address; if it is not valid, the kernel's routes decide.
	LocalAddr netip.Addr
	// LocalPort is the source port; 0 stands for one that no question from the namespace has had lately.
	LocalPort uint16
	// Request says how large the question and its answer are.
	Request backend.Request
	// Timeout bounds one question, and for a connection its establishment; 0 stands for DefaultTimeout.
	Timeout time.Duration
}

// To is the usual Target: an address, a port, and defaults for the rest.
func To(protocol topology.Protocol, address netip.Addr, port uint16) Target {
	return Target{Protocol: protocol, AddrPort: netip.AddrPortFrom(address, port)}
}

// String tells the target in messages.
func (t Target) String() string { return fmt.Sprintf("%s %s", t.Protocol, t.AddrPort) }

// timeout is the bound of one question.
func (t Target) timeout() time.Duration {
	if t.Timeout > 0 {
		return t.Timeout
	}
	return DefaultTimeout
}

// Ask asks target once, from a namespace, on a connection of its own. Establishment
// and answer together take no longer than the target's timeout. The error wraps
// one of this package's if it means one.
func Ask(ctx context.Context, from *topology.Netns, target Target) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, target.timeout())
	defer cancel()
	session, err := Open(ctx, from, target)
	if err != nil {
		return Answer{}, err
	}
	answer, err := session.Ask(ctx)
	if closeErr := session.Close(); err == nil && closeErr != nil {
		return Answer{}, closeErr
	}
	return answer, err
}

// MaxAsks bounds AskN.
const MaxAsks = 10000

// AskN asks target n times, one after the other, each on a connection of its
// own, and goes on after failures. The error is the tally's. n is at most MaxAsks.
func AskN(ctx context.Context, from *topology.Netns, target Target, n int) (Tally, error) {
	var tally Tally
	if n < 1 || n > MaxAsks {
		return tally, fmt.Errorf("ask %v from %s: %d times, want 1 to %d", target, from.Name, n, MaxAsks)
	}
	for range n {
		tally.add(Ask(ctx, from, target))
		if ctx.Err() != nil {
			break
		}
	}
	return tally, tally.Err()
}

// awaitInterval is the pause between two questions of Await.
const awaitInterval = 20 * time.Millisecond

// Await asks target until want accepts what comes back, which may be an error,
// and returns the accepted answer. When ctx ends first, the error tells the last
// outcome; ctx should have a deadline.
func Await(ctx context.Context, from *topology.Netns, target Target, want func(Answer, error) bool) (Answer, error) {
	for {
		answer, err := Ask(ctx, from, target)
		if ctx.Err() == nil && want(answer, err) {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return Answer{}, fmt.Errorf("%v from %s did not come to the wanted answer, the last was %+v, %w", target, from.Name, answer, lastError(ctx, err))
		case <-time.After(awaitInterval):
		}
	}
}

// lastError is err, or why the waiting ended.
func lastError(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return context.Cause(ctx)
}

// Answered accepts any answer of a backend with this name.
func Answered(name string) func(Answer, error) bool {
	return func(answer Answer, err error) bool { return err == nil && answer.Backend == name }
}
