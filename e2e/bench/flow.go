package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/e2e/topology"
)

// Both ends are system calls on threads of their own: what Go's poller would add to each connection would be the same for all,
// and hide the differences.

const (
	backlog     = 4096
	look        = time.Second            // between two looks at whether the server is to end
	mostWait    = time.Second            // for a connection; a SYN that was lost is sent again after that
	packetWait  = 100 * time.Millisecond // for an answer, before those under way count as lost
	window      = 16                     // datagrams under way
	packetBytes = 64
)

// serve accepts connections and closes them, and sends datagrams back, at the target port of a namespace.
func serve(ctx context.Context, in *topology.Netns) error {
	address := &unix.SockaddrInet4{Port: targetPort, Addr: in.IPv4.As4()}
	accepting, err := listen(in, unix.SOCK_STREAM, address)
	if err != nil {
		return err
	}
	echoing, err := listen(in, unix.SOCK_DGRAM, address)
	if err != nil {
		_ = unix.Close(accepting)
		return err
	}
	go loop(ctx, accepting, func() {
		if connection, _, err := unix.Accept4(accepting, unix.SOCK_CLOEXEC); err == nil {
			_ = unix.Close(connection)
		}
	})
	packet := make([]byte, packetBytes)
	go loop(ctx, echoing, func() {
		if n, from, err := unix.Recvfrom(echoing, packet, 0); err == nil {
			_ = unix.Sendto(echoing, packet[:n], 0, from)
		}
	})
	return nil
}

// loop serves a socket whose calls return after a while, on a thread of its own.
func loop(ctx context.Context, socket int, serve func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() { _ = unix.Close(socket) }()
	for ctx.Err() == nil {
		serve()
	}
}

func listen(in *topology.Netns, kind int, address unix.Sockaddr) (socket int, err error) {
	err = in.Do(func() error {
		if socket, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err = errors.Join(setTimeout(socket, unix.SO_RCVTIMEO, look), unix.Bind(socket, address))
		if err == nil && kind == unix.SOCK_STREAM {
			err = unix.Listen(socket, backlog)
		}
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("listen in %s: %w", in.Name, err)
	}
	return socket, nil
}

func setTimeout(socket, which int, timeout time.Duration) error {
	value := unix.NsecToTimeval(timeout.Nanoseconds())
	return unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, which, &value)
}

// connect makes connections one after the other, so many or for so long, and fills in how that went.
func (f *flow) connect(to netip.AddrPort, most int, within time.Duration) error {
	address := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	var took []time.Duration
	begun := time.Now()
	for len(took)+f.Failed < most && time.Since(begun) < within {
		lasted, err := connectOnce(address)
		switch {
		case err == nil:
			took = append(took, lasted)
		case errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.ETIMEDOUT) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EINTR):
			f.Failed++
		default:
			return fmt.Errorf("connect to %v: %w", to, err)
		}
	}
	f.Connects, f.PerSecond = len(took), float64(len(took))/time.Since(begun).Seconds()
	slices.Sort(took)
	f.Median, f.P99 = quantile(took, 0.5), quantile(took, 0.99)
	return nil
}

// connectOnce returns how long a connection took to come about. It is reset right away, so that neither the ports nor the
// tables of connections fill up.
func connectOnce(to unix.Sockaddr) (time.Duration, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(socket) }()
	err = errors.Join(setTimeout(socket, unix.SO_SNDTIMEO, mostWait),
		unix.SetsockoptLinger(socket, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	err = unix.Connect(socket, to)
	return time.Since(begun), err
}

// stream has datagrams echoed for a while, always the same number under way, and fills in how many packets went by.
func (f *flow) stream(to netip.AddrPort, lasting time.Duration) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	err = errors.Join(setTimeout(socket, unix.SO_RCVTIMEO, packetWait),
		unix.Connect(socket, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}))
	if err != nil {
		return err
	}
	packet, echoes, missing := make([]byte, packetBytes), 0, window
	begun := time.Now()
	for time.Since(begun) < lasting {
		for ; missing > 0; missing-- {
			if _, err := unix.Write(socket, packet); err != nil {
				return fmt.Errorf("send to %v: %w", to, err)
			}
		}
		switch _, err := unix.Read(socket, packet); {
		case err == nil:
			echoes, missing = echoes+1, 1
		case errors.Is(err, unix.EAGAIN):
			missing = window
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("receive from %v: %w", to, err)
		}
	}
	f.Packets = 2 * float64(echoes) / time.Since(begun).Seconds()
	return nil
}
