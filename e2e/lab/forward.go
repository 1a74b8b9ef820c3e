package main

import (
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/vishvananda/netlink"
)

// dialer opens a connection to a port of the host's loopback.
type dialer func(port int) (net.Conn, error)

// listenLoopback opens the listening sockets of -forward in the calling thread's network namespace.
func listenLoopback(ports []int) (map[int]net.Listener, error) {
	listeners := map[int]net.Listener{}
	for _, port := range ports {
		listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("-forward %d: %w", port, err)
		}
		listeners[port] = listener
	}
	return listeners, nil
}

// forward serves the listeners until the process ends.
func forward(listeners map[int]net.Listener, dial dialer) {
	for port, listener := range listeners {
		go func() {
			for {
				inside, err := listener.Accept()
				if err != nil {
					return
				}
				go relay(inside, port, dial)
			}
		}()
	}
}

// relay joins one accepted connection with the host. If nobody listens there, the connection is closed, which
// is all that a TCP client can be told.
func relay(inside net.Conn, port int, dial dialer) {
	defer inside.Close()
	outside, err := dial(port)
	if err != nil {
		return
	}
	defer outside.Close()
	done := make(chan struct{})
	go func() {
		copyHalf(outside, inside)
		close(done)
	}()
	copyHalf(inside, outside)
	<-done
}

// copyHalf copies one direction and passes the end of the stream on. Errors end both directions, because
// the other side sees its peer close.
func copyHalf(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite() // fails only when the peer has gone, and then nobody waits
		return
	}
	_ = to.Close()
}

// dialHost reaches the host's loopback from the host itself.
func dialHost(port int) (net.Conn, error) {
	return net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// loopbackUp sets lo up in the calling thread's network namespace.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
