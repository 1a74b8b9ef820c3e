package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pathRow is one line of a table of the data path.
type pathRow struct {
	what   string
	figure flowFigure
	format func(value float64) string
}

func pathRows() []pathRow {
	return []pathRow{
		{"connect: median", connectMedian, duration},
		{"connect: p99", func(f flow) float64 { return f.P99.Seconds() }, duration},
		{"new connections per second", func(f flow) float64 { return f.PerSecond }, plain},
		{"packets per second", func(f flow) float64 { return f.Packets }, plain},
	}
}

func connectMedian(f flow) float64 { return f.Median.Seconds() }

// pathTable shows what packets saw at a number of Services.
func (all results) pathTable(s size) string {
	var out strings.Builder
	fmt.Fprintf(&out, "## Packets, with %d Services of one endpoint\n\n", s.Services)
	for _, part := range []struct {
		way         kinds
		title, base string
	}{
		{direct, "From a pod to a pod, no Service concerned", smallest},
		{throughVIP, "From a pod through a Service's address to a pod", self},
	} {
		names := namesTaking(part.way)
		fmt.Fprintf(&out, "%s; × the figure of %s:\n\n%s", part.title, part.base, head(names))
		for _, r := range pathRows() {
			fmt.Fprintf(&out, "| %s |", r.what)
			for _, name := range names {
				fmt.Fprintf(&out, " %s |", all.pathCell(s, name, part.base, part.way, r))
			}
			out.WriteString("\n")
		}
		out.WriteString("\n")
	}
	return out.String() + all.pathNotes(s)
}

// pathCell is the median of the runs with their spread, and the median of the ratios of runs next to each other.
func (all results) pathCell(s size, name, base string, way kinds, r pathRow) string {
	values := all.ofFlows(s, name, way, r.figure)
	if len(values) == 0 {
		return "–"
	}
	least, most := values.spread()
	cell := fmt.Sprintf("%s [%s–%s]", r.format(values.median()), r.format(least), r.format(most))
	if ratios := all.against(s, name, base, way, r.figure); name != base && len(ratios) > 0 {
		least, most := ratios.spread()
		cell += fmt.Sprintf(" ×%s [%s–%s]", ratio(ratios.median()), ratio(least), ratio(most))
	}
	return fmt.Sprintf("%s (%d)", cell, len(values))
}

// pathNotes says who was left out, and how many connections failed.
func (all results) pathNotes(s size) string {
	var out strings.Builder
	failed := map[string]int{}
	for _, r := range all {
		if r.Path == nil || r.size != s {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(r.Path.LeftOut)) {
			fmt.Fprintf(&out, "Round %d without %s: %s.\n", r.Round, name, r.Path.LeftOut[name])
		}
		for _, f := range r.Path.Flows {
			failed[f.Contestant] += f.Failed
		}
	}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		if failed[name] > 0 {
			fmt.Fprintf(&out, "Connections of %s that failed: %d.\n", name, failed[name])
		}
	}
	return out.String() +
		"A cell is the median of runs [the least–the most] × the median of the ratios to the base's runs next to them [the least–the most] (the\nnumber of runs).\n"
}
