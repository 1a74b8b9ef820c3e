package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report writes what is in the store: RESULTS.md and the charts.
func report(o output) error {
	all, err := store{o.State}.all()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("nothing was measured yet into %s; run bench without -report", o.State)
	}
	files, err := results(all).draw(o.Into)
	text := markdown(all)
	for _, file := range files {
		text += fmt.Sprintf("\n![%s](%s)\n", strings.TrimSuffix(file, filepath.Ext(file)), file)
	}
	return errors.Join(err, os.WriteFile(filepath.Join(o.Into, "RESULTS.md"), []byte(text), 0o644))
}

// markdown shows everything that was measured as text.
func markdown(all results) string {
	var out strings.Builder
	out.WriteString(all.preface() + all.goalTable() + all.growthTable() + all.memoryTable())
	for _, s := range all.sizes() {
		out.WriteString(all.sizeTable(s) + "\n")
	}
	for _, s := range all.counts() {
		out.WriteString(all.pathTable(s) + "\n")
	}
	return out.String() + all.failures() + all.examples()
}

// preface says of the results where, when and how they came about.
func (all results) preface() string {
	facts := map[string]map[string]bool{}
	note := func(what, value string) {
		if facts[what] == nil {
			facts[what] = map[string]bool{}
		}
		facts[what][value] = true
	}
	for _, r := range all {
		note("Machine", r.Origin.Machine)
		note("Kernel measured on", r.Origin.Kernel)
		note("Day", r.Origin.Begun.Format(time.DateOnly))
		note("Options", "`"+r.Origin.Options+"`")
		for program, version := range r.Origin.Programs {
			note("Program "+program, version)
		}
	}
	var out strings.Builder
	out.WriteString("# What `make bench` measured\n\nWritten by `bench -report` from one record per contestant, size and round.\n\n")
	for _, what := range slices.Sorted(maps.Keys(facts)) {
		fmt.Fprintf(&out, "- %s: %s\n", what, strings.Join(slices.Sorted(maps.Keys(facts[what])), "; "))
	}
	return out.String() + method
}

const method = `
Where the lab (` + "`e2e/lab`" + `) had to emulate a machine, only ratios mean anything. Starts and changes: each contestant is measured in a
kernel of its own, by turns, against one real API server, and starts its tools from memory. CPU time is user and system time of a proxy
and of the programs that it starts. A cold start of kube-proxy in ipvs mode is counted up to its sets, before its last rules. Heap is
what the program says under /metrics; system calls and netlink messages are what strace sees of further changes.

Packets: all contestants have a node each in one kernel, the proxies have ended after installing their Services, and runs alternate.
"smallest" is the smallest rule set that could do the job (one look-up of the destination, connection tracking, one comparison of a
mark), "smallest-ipvs" the same with IPVS.

`

// failures lists what could not be measured.
func (all results) failures() string {
	var out strings.Builder
	for _, r := range all {
		if r.Result == nil {
			continue
		}
		for _, failure := range r.Result.Failed {
			fmt.Fprintf(&out, "- %s: %s\n", r.name(), failure)
		}
	}
	if out.Len() == 0 {
		return ""
	}
	return "## What could not be measured\n\n" + out.String() + "\n"
}

// examples shows what of the daemon's should not be: messages of a restart that write, processes and dumps in changes.
func (all results) examples() string {
	var out strings.Builder
	for _, r := range all {
		if r.Result == nil || r.Contestant != self {
			continue
		}
		for _, kind := range slices.Sorted(maps.Keys(r.Result.Traced.Restart.Written)) {
			fmt.Fprintf(&out, "    %s: %d × %s in a restart\n", r.name(), r.Result.Traced.Restart.Written[kind], kind)
		}
		for _, call := range slices.Concat(r.Result.Traced.Added.Examples, r.Result.Traced.Removed.Examples) {
			fmt.Fprintf(&out, "    %s: %s\n", r.name(), call)
		}
	}
	if out.Len() == 0 {
		return ""
	}
	return "## What the daemon should not do, seen by strace\n\n" + out.String() + "\n"
}
