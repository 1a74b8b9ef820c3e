package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// table is the kernel's IPVS table: the weights of the real servers behind each virtual server, both by ADDRESS:PORT.
type table map[string]map[string]int

// parseTable reads the output of ipvsadm -Ln:
//
//	TCP  10.96.0.10:80 rr
//	  -> 10.244.1.2:8080              Masq    1      0          0
func parseTable(output string) (table, error) {
	parsed := table{}
	var servers map[string]int
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 3 && fields[0] == "TCP":
			servers = map[string]int{}
			parsed[fields[1]] = servers
		case len(fields) == 6 && fields[0] == "->" && servers != nil:
			weight, err := strconv.Atoi(fields[3])
			if err != nil {
				return nil, fmt.Errorf("ipvsadm printed %q, want a weight as the fourth word: %w", line, err)
			}
			servers[fields[1]] = weight
		}
	}
	return parsed, nil
}

// check compares the real servers of each virtual server with the wanted ones.
func (t table) check(weights map[string]int, virtuals ...string) error {
	for _, virtual := range virtuals {
		if !maps.Equal(t[virtual], weights) {
			return fmt.Errorf("the real servers of %s and their weights are %v, want %v", virtual, t[virtual], weights)
		}
	}
	return nil
}
