package main

import (
	"fmt"
	"strings"
)

// growthTable shows what one change costs at each number of Services, and how that grows.
func (all results) growthTable() string {
	sizes := all.growing()
	if len(sizes) < 2 {
		return ""
	}
	var columns []string
	for _, s := range sizes {
		columns = append(columns, fmt.Sprint(s.Services))
	}
	var out strings.Builder
	fmt.Fprintf(&out, "## One change and the number of Services (%d endpoints each)\n\n%s", sizes[0].Endpoints,
		head(append(columns, "last measured : first")))
	for _, name := range namesTaking(scaling) {
		for _, r := range []row{{"time, median", changeMedian, duration}, {"CPU", changeCPU, duration}} {
			if line := all.growthLine(name, r, sizes); line != "" {
				fmt.Fprintf(&out, "| %s: %s | %s |\n", name, r.what, line)
			}
		}
	}
	return out.String() + "\n"
}

// growthLine is the cells of a line, or empty if nothing was measured.
func (all results) growthLine(name string, r row, sizes []size) string {
	var cells []string
	var measured []float64
	for _, s := range sizes {
		values := all.of(s, name, r.figure)
		cells = append(cells, r.cell(values, nil, true))
		if len(values) > 0 {
			measured = append(measured, values.median())
		}
	}
	if len(measured) == 0 {
		return ""
	}
	return strings.Join(append(cells, ratio(measured[len(measured)-1]/measured[0])), " | ")
}

// memoryTable derives from the resident memory at different sizes what a Service and an endpoint take.
func (all results) memoryTable() string {
	var out strings.Builder
	for _, name := range namesTaking(scaling) {
		perEndpoint, endpointsFrom := all.memoryPer(name, func(a, b size) bool { return a.Services == b.Services })
		perService, servicesFrom := all.memoryPer(name, func(a, b size) bool { return a.Endpoints == b.Endpoints })
		if endpointsFrom != "" {
			fmt.Fprintf(&out, "| %s | an endpoint | %.2f | %s |\n", name, perEndpoint, endpointsFrom)
		}
		if servicesFrom != "" {
			fmt.Fprintf(&out, "| %s | a Service with its endpoints | %.1f | %s |\n", name, perService, servicesFrom)
		}
	}
	if out.Len() == 0 {
		return ""
	}
	return "## Resident memory\n\n" + head([]string{"of", "KiB", "from"}) + out.String() + "\n"
}

// memoryPer divides the difference in memory between two comparable sizes, the furthest apart, by what they differ in: Services
// if there are as many endpoints of each, else endpoints.
func (all results) memoryPer(name string, comparable func(a, b size) bool) (kib float64, from string) {
	furthest := 0
	for _, a := range all.sizes() {
		for _, b := range all.sizes() {
			less, more := all.of(a, name, residentMiB), all.of(b, name, residentMiB)
			units := b.Services*b.Endpoints - a.Services*a.Endpoints
			if a.Endpoints == b.Endpoints {
				units = b.Services - a.Services
			}
			if !comparable(a, b) || units <= furthest || len(less) == 0 || len(more) == 0 {
				continue
			}
			furthest = units
			kib, from = (more.median()-less.median())*1024/float64(units), fmt.Sprintf("%s and %s", a, b)
		}
	}
	return kib, from
}

func namesTaking(in kinds) []string {
	var names []string
	for _, c := range taking(contestants(), in) {
		names = append(names, c.name)
	}
	return names
}
