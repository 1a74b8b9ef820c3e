package netfilter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// readAgain is how many times in a row the rules are taken for as they were, by the number of their generation, before they
// are read nevertheless: that number starts anew with the module nf_tables.
const readAgain = 10

// verdict is what the last Ensure found, if everything was in order: with these rules wanted and in this generation of
// nf_tables, there is nothing to do. Every change of any rule, by whomever, makes a new generation.
type verdict struct {
	generation uint32 // 0: none
	rulesets   []dataplane.Ruleset
	trusted    int  // times in a row
	elsewhere  bool // some iptables-save since showed rules that are not in nf_tables
}

// generation returns the number of nf_tables' present generation, 0 when it is not to be had.
func (d *Driver) generation(ctx context.Context) uint32 {
	if d.options.Generation == nil {
		return 0
	}
	number, err := d.options.Generation(ctx)
	if err != nil {
		return 0 // then the rules are read, which tells what is wrong
	}
	return number
}

// holds reports whether there is nothing to do in this generation.
func (v *verdict) holds(generation uint32, rulesets []dataplane.Ruleset) bool {
	if generation == 0 || v.generation != generation || v.trusted >= readAgain || !reflect.DeepEqual(v.rulesets, rulesets) {
		*v = verdict{}
		return false
	}
	v.trusted++
	return true
}

// settle takes down that in a generation, known since before the rules were read, everything was in order.
func (v *verdict) settle(generation uint32, rulesets []dataplane.Ruleset, repaired []string, err error) {
	if err == nil && len(repaired) == 0 && !v.elsewhere {
		v.generation, v.rulesets = generation, rulesets
	}
}

// look takes note of whether what iptables-save printed is in nf_tables: it says so in its first line.
func (v *verdict) look(text string) {
	first, _, _ := strings.Cut(text, "\n")
	v.elsewhere = v.elsewhere || !strings.Contains(first, "(nf_tables)")
}

// Generation returns the number of the present generation of nf_tables in the calling thread's network namespace, which
// every transaction on its tables, chains and rules changes.
func Generation(ctx context.Context) (uint32, error) {
	conn := nlbatch.New(nlbatch.Dialer(unix.NETLINK_NETFILTER))
	defer func() { _ = conn.Close() }() // nothing was written to it
	numbers, err := nlbatch.Query(ctx, conn, func(b []byte) []byte {
		b = nlbatch.Begin(b, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
		return append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0) // struct nfgenmsg
	}, decodeGeneration)
	if err == nil && len(numbers) != 1 {
		err = fmt.Errorf("%w: %d answers", nlbatch.ErrMalformed, len(numbers))
	}
	if err != nil {
		return 0, fmt.Errorf("read the generation of nf_tables: %w", err)
	}
	return numbers[0], nil
}

// errShort: an answer without a generation.
var errShort = errors.New("no generation in the answer")

func decodeGeneration(m nlbatch.Message) (uint32, error) {
	const header = 4 // struct nfgenmsg
	if len(m.Payload) < header {
		return 0, fmt.Errorf("%w: %w", nlbatch.ErrMalformed, errShort)
	}
	value, found, err := nlbatch.FindAttribute(m.Payload[header:], unix.NFTA_GEN_ID)
	if err != nil {
		return 0, err
	}
	if !found || len(value) != 4 {
		return 0, fmt.Errorf("%w: %w", nlbatch.ErrMalformed, errShort)
	}
	return binary.BigEndian.Uint32(value), nil
}
