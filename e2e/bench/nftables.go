package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// nftablesView observes kube-proxy's nftables mode: its IPv4 table has a map of all Services, and for each a chain with one
// rule that chooses among the endpoints by number.
type nftablesView struct {
	mu     sync.Mutex // the socket carries one request at a time
	conn   *nftables.Conn
	chains map[string]*nftables.Chain // by name of the Service
}

// servicesMap is kube-proxy's map of addresses and ports to Services, with one element for each.
const servicesMap = "service-ips"

// fullInterval is how often the map is read while kube-proxy starts: seldom, because it is read as a whole. The transaction that
// fills it fills the chains as well.
const fullInterval = 100 * time.Millisecond

func watchNFTables([]target) (view, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &nftablesView{conn: conn}, nil
}

func (v *nftablesView) close() { _ = v.conn.CloseLasting() }

func kubeProxyTable() *nftables.Table {
	return &nftables.Table{Name: "kube-proxy", Family: nftables.TableFamilyIPv4}
}

// awaitAll implements view. That the chains have their endpoints is checked for the last Service.
func (v *nftablesView) awaitAll(ctx context.Context, o options) (time.Time, error) {
	for {
		elements, err := v.services()
		if err != nil {
			return time.Time{}, err
		}
		done := time.Now()
		if elements >= o.Services {
			if err := v.readChains(); err != nil {
				return done, err
			}
			return done, v.awaitEndpoints(ctx, target{name: serviceName(o.Services - 1)}, o.Endpoints)
		}
		select {
		case <-ctx.Done():
			return done, fmt.Errorf("%d of %d Services are in %s: %w", elements, o.Services, servicesMap, ctx.Err())
		case <-time.After(fullInterval):
		}
	}
}

// services counts the Services of the benchmark's size and those that the API server itself has; 0 before there is a table.
func (v *nftablesView) services() (int, error) {
	table := kubeProxyTable()
	if tables, err := v.conn.ListTablesOfFamily(table.Family); err != nil || len(tables) == 0 {
		return 0, err
	}
	set, err := v.conn.GetSetByName(table, servicesMap)
	if err != nil {
		return 0, nil // not yet: the library has no error of its own for it
	}
	elements, err := v.conn.GetSetElements(set)
	return len(elements), err
}

// readChains finds the chain of each Service: "service-HASH-NAMESPACE/NAME/PROTOCOL/PORT".
func (v *nftablesView) readChains() error {
	chains, err := v.conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	v.chains = make(map[string]*nftables.Chain)
	for _, chain := range chains {
		parts := strings.Split(chain.Name, "/")
		if strings.HasPrefix(chain.Name, "service-") && strings.HasSuffix(parts[0], "-"+namespace) && len(parts) > 1 {
			v.chains[parts[1]] = chain
		}
	}
	return nil
}

// awaitEndpoints implements view.
func (v *nftablesView) awaitEndpoints(ctx context.Context, s target, want int) error {
	chain, found := v.chains[s.name]
	if !found {
		return fmt.Errorf("%s has no chain", s.name)
	}
	for {
		rules, err := v.rules(chain)
		if err != nil {
			return fmt.Errorf("read chain %s: %w", chain.Name, err)
		}
		if chosenAmong(rules) == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("chain %s chooses among %d endpoints, want %d: %w", chain.Name, chosenAmong(rules), want, ctx.Err())
		case <-time.After(changeInterval):
		}
	}
}

func (v *nftablesView) rules(chain *nftables.Chain) ([]*nftables.Rule, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.conn.GetRules(kubeProxyTable(), chain)
}

// chosenAmong returns the number of endpoints among which the rules choose at random, 1 if they send everything to one, else 0.
func chosenAmong(rules []*nftables.Rule) int {
	among := 0
	for _, rule := range rules {
		for _, expression := range rule.Exprs {
			switch e := expression.(type) {
			case *expr.Numgen:
				return int(e.Modulus)
			case *expr.NAT:
				among = 1
			}
		}
	}
	return among
}
