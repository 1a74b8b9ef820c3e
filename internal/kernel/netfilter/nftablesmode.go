package netfilter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// nftablesTable is the table, one of family ip and one of ip6, that holds all that kube-proxy's mode nftables makes
// (kubeProxyTable in pkg/proxy/nftables/proxier.go).
const nftablesTable = "kube-proxy"

// NFTablesMode is what kube-proxy's mode nftables has left in the calling thread's network namespace.
type NFTablesMode struct{}

// Present reports whether it has left something in a family. A kernel without nf_tables has nothing of it.
func (NFTablesMode) Present(ctx context.Context, family dataplane.Family) (bool, error) {
	names, err := tableNames(ctx, family)
	if nlbatch.RefusedWith(err) != 0 {
		return false, nil
	}
	return slices.Contains(names, nftablesTable), err
}

// Remove takes all of it away, in one transaction for a family. What is not there counts as removed.
func (NFTablesMode) Remove(_ context.Context, family dataplane.Family) error {
	err := transact(request(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE, protocolFamily(family), 0, func(b []byte) []byte {
		return nlbatch.String(b, unix.NFTA_TABLE_NAME, nftablesTable)
	}))
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("%v: remove table %s of kube-proxy's mode nftables: %w; connections still go where it says, so remove it with nft delete table",
		family, nftablesTable, err)
}

// tableNames lists the tables that nf_tables has in a family, whoever made them.
func tableNames(ctx context.Context, family dataplane.Family) ([]string, error) {
	conn := nlbatch.New(nlbatch.Dialer(unix.NETLINK_NETFILTER))
	defer func() { _ = conn.Close() }() // nothing was written to it
	names, err := nlbatch.Query(ctx, conn, func(b []byte) []byte {
		b = nlbatch.Begin(b, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP)
		return append(b, protocolFamily(family), unix.NFNETLINK_V0, 0, 0) // struct nfgenmsg
	}, decodeTableName)
	if err != nil {
		return nil, fmt.Errorf("list the tables of nf_tables: %w", err)
	}
	return names, nil
}

func decodeTableName(m nlbatch.Message) (string, error) {
	const header = 4 // struct nfgenmsg
	if len(m.Payload) < header {
		return "", fmt.Errorf("%w: a table of %d bytes", nlbatch.ErrMalformed, len(m.Payload))
	}
	name, _, err := nlbatch.FindAttribute(m.Payload[header:], unix.NFTA_TABLE_NAME)
	return strings.TrimRight(string(name), "\x00"), err
}

func protocolFamily(family dataplane.Family) byte {
	if family == dataplane.IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// request encodes a message of nfnetlink.
func request(kind uint16, family byte, resource uint16, attributes func([]byte) []byte) []byte {
	return nlbatch.Marshal(func(b []byte) []byte {
		b = append(nlbatch.Begin(b, kind, 0), family, unix.NFNETLINK_V0)
		return attributes(binary.BigEndian.AppendUint16(b, resource)) // struct nfgenmsg
	})
}

// transact carries out one message as a transaction of nf_tables, which takes changes in no other way. The kernel has answered
// when the send returns.
func transact(message []byte) error {
	wire, _, err := nlbatch.Dialer(unix.NETLINK_NETFILTER)()
	if err != nil {
		return err
	}
	defer func() { _ = wire.Close() }() // the answer is what counts
	none := func(b []byte) []byte { return b }
	batch := slices.Concat(request(unix.NFNL_MSG_BATCH_BEGIN, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, none),
		message, request(unix.NFNL_MSG_BATCH_END, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, none))
	if err := wire.Send(batch); err != nil {
		return fmt.Errorf("send to the kernel: %w", err)
	}
	return answers(wire)
}

// answers reads what the kernel has to say about a transaction: the first refusal, or nil after at least one acknowledgement.
func answers(wire nlbatch.Wire) error {
	buffer, some := make([]byte, 1<<16), false
	for {
		n, err := wire.Receive(buffer)
		if err == unix.EAGAIN && some {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the kernel's answer: %w", err)
		}
		for rest := buffer[:n]; len(rest) > 0; {
			var m nlbatch.Message
			if m, rest, err = nlbatch.Next(rest); err != nil {
				return err
			}
			if m.Type != unix.NLMSG_ERROR || len(m.Payload) < 4 {
				continue
			}
			some = true
			if errno := -int32(binary.NativeEndian.Uint32(m.Payload)); errno > 0 {
				return unix.Errno(errno)
			}
		}
	}
}
