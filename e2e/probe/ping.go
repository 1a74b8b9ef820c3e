package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"kube-ipvs-proxy/e2e/topology"
)

// The types of echo messages (RFC 792 and RFC 4443).
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

// Ping sends one ICMP echo request with size bytes of data from a namespace and
// waits for its reply, no longer than timeout. It fails like Ask.
func Ping(ctx context.Context, from *topology.Netns, to netip.Addr, size int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	network, request, reply := "ip6:ipv6-icmp", byte(echoRequest6), byte(echoReply6)
	if topology.FamilyOf(to) == topology.IPv4 {
		network, request, reply = "ip4:icmp", echoRequest4, echoReply4
	}
	var connection *net.IPConn
	err := from.Do(func() (err error) {
		connection, err = net.DialIP(network, nil, &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()})
		return err
	})
	if err != nil {
		return fmt.Errorf("ping %v from %s: %w", to, from.Name, classify(err))
	}
	defer connection.Close()
	if err := echo(ctx, connection, request, reply, size); err != nil {
		return fmt.Errorf("ping %v from %s: %w", to, from.Name, classify(err))
	}
	return nil
}

// echo sends a request and waits for the reply with the same identifier and data.
func echo(ctx context.Context, connection *net.IPConn, request, reply byte, size int) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return err
		}
	}
	message := make([]byte, 8+size)
	binary.BigEndian.PutUint16(message[4:], uint16(os.Getpid()))
	message[0] = request
	if request == echoRequest4 { // the kernel fills in the checksum of ICMPv6
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	if _, err := connection.Write(message); err != nil {
		return err
	}
	buffer := make([]byte, maxDatagram)
	for {
		// Unlike Read, this takes the IPv4 header off.
		n, _, err := connection.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if n == len(message) && buffer[0] == reply && bytes.Equal(buffer[4:n], message[4:]) {
			return nil
		}
	}
}

// checksum is the Internet checksum (RFC 1071).
func checksum(message []byte) uint16 {
	var sum uint32
	for i, b := range message {
		sum += uint32(b) << (8 * uint(1-i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
