package ipvs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// Timeouts are the idle times after which IPVS forgets a connection, in whole seconds; for the whole network namespace.
type Timeouts struct {
	TCP    time.Duration // of an established TCP connection
	TCPFin time.Duration // after a FIN
	UDP    time.Duration
}

// seconds encodes a timeout. Less than a second becomes one, because to the kernel zero means "as it is".
func seconds(name string, d time.Duration) (uint32, error) {
	s := (d + time.Second - 1) / time.Second
	if d < 0 || s > math.MaxInt32 {
		return 0, fmt.Errorf("%w: %s timeout %s", dataplane.ErrInvalid, name, d)
	}
	return uint32(s), nil
}

func (c *conn) setTimeouts(ctx context.Context, t Timeouts) error {
	tcp, tcpErr := seconds("TCP", t.TCP)
	fin, finErr := seconds("TCP FIN", t.TCPFin)
	udp, udpErr := seconds("UDP", t.UDP)
	err := errors.Join(tcpErr, finErr, udpErr)
	if err == nil {
		_, err = query(ctx, c, setConfig, 0, func(b []byte) []byte {
			return appendTimeouts(b, tcp, fin, udp)
		}, decodeTimeouts)
	}
	if err != nil {
		return fmt.Errorf("set the IPVS timeouts: %w", err)
	}
	return nil
}

func (c *conn) timeouts(ctx context.Context) (Timeouts, error) {
	answers, err := query(ctx, c, getConfig, 0, nothing, decodeTimeouts)
	if err == nil && len(answers) != 1 {
		err = fmt.Errorf("%w: %d answers", nlbatch.ErrMalformed, len(answers))
	}
	if err != nil {
		return Timeouts{}, fmt.Errorf("read the IPVS timeouts: %w", err)
	}
	s := answers[0]
	return Timeouts{
		TCP:    time.Duration(s[0]) * time.Second,
		TCPFin: time.Duration(s[1]) * time.Second,
		UDP:    time.Duration(s[2]) * time.Second,
	}, nil
}

// checkScheduler asks for an IPv6 virtual server with a prefix length of 0. The kernel looks for the scheduler first
// (ENOENT), which loads its module, and then refuses the prefix length (EINVAL); nothing is created either way.
func (c *conn) checkScheduler(ctx context.Context, name string) error {
	probe := dataplane.VirtualServer{
		// The discard prefix of RFC 6666, so that nothing real is there already.
		Key:       dataplane.KeyOf(dataplane.TCP, netip.MustParseAddr("100::1"), 9),
		Scheduler: name,
	}
	err := validate(probe)
	if err == nil {
		err = c.submit(ctx, []request{{command: newService, object: probe}})[0]
	}
	switch nlbatch.RefusedWith(err) {
	case unix.EINVAL:
		return nil
	case unix.ENOENT:
		return noScheduler(name)
	case unix.EAFNOSUPPORT:
		return fmt.Errorf("look for IPVS scheduler %q: %w: IPVS without IPv6 (%w)", name, dataplane.ErrUnavailable, err)
	}
	if err == nil {
		return fmt.Errorf("look for IPVS scheduler %q: %w: the kernel accepted a probe that it should refuse: %s",
			name, dataplane.ErrConflict, probe)
	}
	return fmt.Errorf("look for IPVS scheduler %q: %w", name, requestError(err))
}
