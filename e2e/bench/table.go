package main

import (
	"fmt"
	"strings"
)

// legend says how to read the cells of the tables.
const legend = "A cell is the median of rounds, × the figure of " + self + " (the number of rounds).\n"

// sizeTable shows the medians of all rounds at a size in Markdown: for other contestants also how many times this project's
// figure they are.
func (all results) sizeTable(s size) string {
	var out strings.Builder
	names := all.present(s)
	fmt.Fprintf(&out, "## %d Services × %d endpoints\n\n%s", s.Services, s.Endpoints, head(names))
	for _, r := range rows() {
		cells := make([]string, len(names))
		base := all.of(s, self, r.figure)
		for i, name := range names {
			cells[i] = r.cell(all.of(s, name, r.figure), base, name == self)
		}
		if strings.Trim(strings.Join(cells, ""), "–") != "" {
			fmt.Fprintf(&out, "| %s | %s |\n", r.what, strings.Join(cells, " | "))
		}
	}
	out.WriteString("\n" + legend)
	for _, c := range taking(contestants(), scaling) {
		if c.rounds(s, 1) == 0 {
			fmt.Fprintf(&out, "%s is left out: it would take an hour to start.\n", c.name)
		}
	}
	return out.String()
}

// present returns the contestants that were measured at a size, in the order of contestants.
func (all results) present(s size) []string {
	var names []string
	for _, c := range taking(contestants(), scaling) {
		measured := func(*measurement) (float64, bool) { return 0, true }
		if len(all.of(s, c.name, measured)) > 0 {
			names = append(names, c.name)
		}
	}
	return names
}

// head begins a table with an empty first column.
func head(columns []string) string {
	return fmt.Sprintf("| | %s |\n| --- |%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
}

// cell is the median of a sample, its ratio to the base's, and how many rounds it is of.
func (r row) cell(values, base sample, isBase bool) string {
	switch {
	case len(values) == 0:
		return "–"
	case isBase || len(base) == 0 || base.median() <= 0:
		return fmt.Sprintf("%s (%d)", r.format(values.median()), len(values))
	}
	return fmt.Sprintf("%s ×%s (%d)", r.format(values.median()), ratio(values.median()/base.median()), len(values))
}
