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
	// Tables tells whether nf_tables has any table of a family, like HasTables; nil: the programs are asked.
	Tables func(context.Context, dataplane.Family) (bool, error)
	// Generation returns the number of nf_tables' generation, like the function of this name; nil: the rules are read every time.
	Generation func(context.Context) (uint32, error)
	Now        func() time.Time // nil: time.Now
}

// tools are the programs of one family.
type tools struct{ save, restore string }

// Driver writes rules with one variant of the iptables programs. It is not for concurrent use, except Executions.
type Driver struct {
	options  Options
	variant  string
	tools    map[dataplane.Family]tools
	missing  map[dataplane.Family]error
	runs     atomic.Uint64
	choice   func() candidate // nil, or what waits until the variant is known
	readings map[dataplane.Family]reading
	last     verdict
}

// Open finds the variant that the host uses and the families that it can serve. The kubelet tells the variant by a chain
// of its own in table mangle; without one, the variant with more Kubernetes chains, then with more rules, is taken, then
// the plain programs. It executes iptables-save at most once per variant and family, and not at all for a variant that
// nobody has used. It does not wait for these programs, unless the variants serve different families; what they print
// saves the first Ensure a reading if it follows soon. The error wraps dataplane.ErrUnavailable when no family can be
// served.
func Open(ctx context.Context, options Options) (*Driver, error) {
	d := &Driver{options: options.withDefaults()}
	candidates, err := d.candidates()
	if err != nil {
		return nil, err
	}
	d.adopt(candidates[0])
	if len(candidates) > 1 {
		d.choice = d.detect(ctx, candidates)
	}
	if !alike(candidates) {
		d.settle()
	}
	if len(d.tools) == 0 {
		return nil, fmt.Errorf("no family can be served: %w", errors.Join(d.missing[dataplane.IPv4], d.missing[dataplane.IPv6]))
	}
	return d, nil
}

// Variant returns Legacy, NFT or Plain.
func (d *Driver) Variant() string {
	d.settle()
	return d.variant
}

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
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
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
