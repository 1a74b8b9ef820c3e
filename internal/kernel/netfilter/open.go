package netfilter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// The variants of iptables. Plain is whatever the bare names lead to.
const (
	Legacy = "legacy"
	NFT    = "nft"
	Plain  = "plain"
)

// The chains that the kubelet puts into table mangle. The hint exists for exactly this purpose (KEP-3178); the canary is
// older and may be left over from before a host changed its variant.
const (
	hintChain   = "KUBE-IPTABLES-HINT"
	canaryChain = "KUBE-KUBELET-CANARY"
)

const noIptables = "install the package iptables, which has iptables-save and iptables-restore"

// Options say how the iptables programs are found and run. The zero value is right for production.
type Options struct {
	Runner   Runner        // nil: Host
	Variant  string        // Legacy, NFT or Plain; empty: the one that the host uses
	LockFile string        // empty: /run/xtables.lock, which must be the host's
	LockWait time.Duration // how long to wait for the lock, whole seconds; 0: 5 s
	Timeout  time.Duration // for each execution; 0: 30 s
	ProcSys  string        // empty: /proc/sys; read to learn whether IPv6 is enabled
	ProcNet  string        // empty: /proc/thread-self/net; read to learn whether iptables-legacy has tables
}

// tools are the programs of one family.
type tools struct{ save, restore string }

// Driver writes rules with one variant of the iptables programs. It is not for concurrent use, except Executions.
type Driver struct {
	options Options
	variant string
	tools   map[dataplane.Family]tools
	missing map[dataplane.Family]error
	runs    atomic.Uint64
}

// Open finds the variant that the host uses and the families that it can serve. The kubelet tells the variant by a chain
// of its own in table mangle; without one, the variant with more Kubernetes chains, then with more rules, is taken, then
// the plain programs. It executes iptables-save at most once per variant and family, and not at all for a variant that
// nobody has used. The error wraps
// dataplane.ErrUnavailable when no family can be served.
func Open(ctx context.Context, options Options) (*Driver, error) {
	d := &Driver{options: options.withDefaults()}
	candidates, err := d.candidates()
	if err != nil {
		return nil, err
	}
	chosen := candidates[0]
	if len(candidates) > 1 {
		chosen = d.detect(ctx, candidates)
	}
	d.adopt(chosen)
	if len(d.tools) == 0 {
		return nil, fmt.Errorf("no family can be served: %w", errors.Join(d.missing[dataplane.IPv4], d.missing[dataplane.IPv6]))
	}
	return d, nil
}

// Variant returns Legacy, NFT or Plain.
func (d *Driver) Variant() string { return d.variant }

// Families returns the families that can be served, IPv4 first.
func (d *Driver) Families() []dataplane.Family {
	var families []dataplane.Family
	for _, f := range dataplane.Families() {
		if d.Available(f) == nil {
			families = append(families, f)
		}
	}
	return families
}

// Available returns nil for a family that can be served, or why not, wrapping dataplane.ErrUnavailable.
func (d *Driver) Available(family dataplane.Family) error {
	if _, ok := d.tools[family]; ok {
		return nil
	}
	if err := d.missing[family]; err != nil {
		return err
	}
	return fmt.Errorf("%v: %w", family, dataplane.ErrUnavailable)
}

// Executions counts the programs started so far.
func (d *Driver) Executions() uint64 { return d.runs.Load() }

func (o Options) withDefaults() Options {
	if o.Runner == nil {
		o.Runner = Host{}
	}
	if o.LockFile == "" {
		o.LockFile = "/run/xtables.lock"
	}
	if o.LockWait == 0 {
		o.LockWait = 5 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.ProcSys == "" {
		o.ProcSys = "/proc/sys"
	}
	if o.ProcNet == "" {
		o.ProcNet = "/proc/thread-self/net"
	}
	return o
}

// candidate is one variant with the programs found, and what the host has in it.
type candidate struct {
	variant      string
	tools        map[dataplane.Family]tools
	hint, canary bool
	kube, rules  int
}

// candidates returns the variants that are installed and allowed, the preferred first when nothing else decides.
func (d *Driver) candidates() ([]candidate, error) {
	variants := []string{Plain, NFT, Legacy}
	if d.options.Variant != "" {
		variants = []string{d.options.Variant}
	}
	var found []candidate
	for _, v := range variants {
		if c := d.find(v); len(c.tools) > 0 {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return nil, lacking(fmt.Sprintf("no iptables programs (variants %s) in PATH, /usr/sbin or /sbin; %s", strings.Join(variants, ", "), noIptables))
	}
	return found, nil
}

func (d *Driver) find(variant string) candidate {
	c := candidate{variant: variant, tools: map[dataplane.Family]tools{}}
	for _, f := range dataplane.Families() {
		save, errSave := d.options.Runner.Find(program(f, variant, "save"))
		restore, errRestore := d.options.Runner.Find(program(f, variant, "restore"))
		if errSave == nil && errRestore == nil {
			c.tools[f] = tools{save: save, restore: restore}
		}
	}
	return c
}

// program returns the name of a program, such as ip6tables-nft-save.
func program(family dataplane.Family, variant, verb string) string {
	name := "iptables-"
	if family == dataplane.IPv6 {
		name = "ip6tables-"
	}
	if variant != Plain {
		name += variant + "-"
	}
	return name + verb
}

// detect looks what the host has in each variant and returns the one it uses. A variant that cannot be read is one that
// the kernel does not have, so it has nothing in it.
func (d *Driver) detect(ctx context.Context, candidates []candidate) candidate {
	best := candidates[0]
	for i, c := range candidates {
		if c.variant == Plain {
			continue // the same as one of the others
		}
		d.look(ctx, &c)
		if i == 0 || c.better(best) {
			best = c
		}
	}
	return best
}

// look reads everything rather than table mangle alone: asking iptables-legacy for a table by name would create it.
func (d *Driver) look(ctx context.Context, c *candidate) {
	for _, f := range dataplane.Families() {
		t, ok := c.tools[f]
		if !ok || c.variant == Legacy && d.legacyUnused(f) {
			continue
		}
		text, err := d.execute(ctx, Command{Path: t.save})
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(text, "\n") {
			c.count(line)
		}
	}
}

// legacyUnused reports whether iptables-legacy has no tables, so that its programs would print nothing. The kernel lists
// the tables in a file that exists while the module of the family is loaded (xt_proto_init in net/netfilter/x_tables.c).
func (d *Driver) legacyUnused(family dataplane.Family) bool {
	name := "ip_tables_names"
	if family == dataplane.IPv6 {
		name = "ip6_tables_names"
	}
	names, err := os.ReadFile(filepath.Join(d.options.ProcNet, name))
	return errors.Is(err, os.ErrNotExist) || err == nil && len(names) == 0
}

func (c *candidate) count(line string) {
	name, _, _ := strings.Cut(strings.TrimPrefix(line, ":"), " ")
	switch {
	case strings.HasPrefix(line, "-A "):
		c.rules++
	case !strings.HasPrefix(line, ":KUBE-"):
	case name == hintChain:
		c.hint = true
	case name == canaryChain:
		c.canary = true
	default:
		c.kube++
	}
}

func (c candidate) better(than candidate) bool {
	switch {
	case c.hint != than.hint:
		return c.hint
	case c.canary != than.canary:
		return c.canary
	case c.kube != than.kube:
		return c.kube > than.kube
	}
	return c.rules > than.rules
}

// adopt settles for one variant and notes why a family cannot be served.
func (d *Driver) adopt(c candidate) {
	d.variant, d.tools, d.missing = c.variant, c.tools, map[dataplane.Family]error{}
	for _, f := range dataplane.Families() {
		if _, ok := d.tools[f]; !ok {
			d.missing[f] = lacking(fmt.Sprintf("no %s in PATH, /usr/sbin or /sbin; %s", program(f, c.variant, "save"), noIptables))
		}
	}
	if reason := d.ipv6Disabled(); reason != "" {
		delete(d.tools, dataplane.IPv6)
		d.missing[dataplane.IPv6] = lacking("IPv6 " + reason)
	}
}

func (d *Driver) ipv6Disabled() string {
	value, err := os.ReadFile(filepath.Join(d.options.ProcSys, "net/ipv6/conf/all/disable_ipv6"))
	if errors.Is(err, os.ErrNotExist) {
		return "is not in this kernel, or switched off at boot (ipv6.disable=1); boot without that to have it"
	}
	if err == nil && strings.TrimSpace(string(value)) == "1" {
		return "is switched off (sysctl net.ipv6.conf.all.disable_ipv6=1); set it to 0 and start again to have it"
	}
	return ""
}
