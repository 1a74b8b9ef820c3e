package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// batchSize is how many requests travel in one send. A refusal takes under 1.3 KiB of the receive buffer, whose default
// of 208 KiB then holds the refusals of a whole send.
const batchSize = 128

// exchange sends the operations in one datagram and fills in the answers. The kernel works them off inside the send;
// only the last is acknowledged, the others speak up when refused. An error means that answers were lost.
func (c *conn) exchange(index int, ops []dataplane.Operation, answers []error) error {
	clear(answers)
	last := atomic.AddUint32(&c.socket.Seq, uint32(len(ops)))
	first := last - uint32(len(ops)) + 1
	var datagram []byte
	for i, op := range ops {
		flags := uint16(0)
		if i == len(ops)-1 {
			flags = unix.NLM_F_ACK
		}
		addr := op.Object.(dataplane.Address).Addr
		datagram = appendAddressRequest(datagram, op.Verb, flags, first+uint32(i), index, addr)
	}
	socket := c.socket.Socket
	if err := unix.Sendto(socket.GetFd(), datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send address changes: %w", err)
	}
	for {
		messages, from, err := socket.Receive()
		if err != nil {
			return fmt.Errorf("receive the results of address changes: %w", err)
		}
		if from.Pid != 0 {
			continue // another process's
		}
		for _, message := range messages {
			at := message.Header.Seq - first // wraps around for an older answer
			if message.Header.Type != unix.NLMSG_ERROR || at >= uint32(len(ops)) || len(message.Data) < 4 {
				continue
			}
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(message.Data)))
			answers[at] = answer(ops[at].Verb, errno)
			if message.Header.Seq == last {
				return nil
			}
		}
	}
}

// answer judges the kernel's answer to one request.
func answer(verb dataplane.Verb, errno unix.Errno) error {
	switch {
	case errno == 0:
		return nil
	case verb == dataplane.Add && errno == unix.EEXIST:
		return nil
	case verb == dataplane.Delete && (errno == unix.EADDRNOTAVAIL || errors.Is(typed(errno), dataplane.ErrNotExist)):
		return nil
	}
	return typed(errno)
}
