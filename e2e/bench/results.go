package main

import (
	"cmp"
	"slices"
)

// results are all records that a report is about.
type results []record

// sizes returns those at which contestants were started, the smallest first.
func (all results) sizes() []size {
	return all.sizesOf(func(r record) bool { return r.Result != nil })
}

// counts returns the sizes at which the data path was measured, the smallest first.
func (all results) counts() []size {
	return all.sizesOf(func(r record) bool { return r.Path != nil })
}

func (all results) sizesOf(wanted func(record) bool) []size {
	var sizes []size
	for _, r := range all {
		if wanted(r) && !slices.Contains(sizes, r.size) {
			sizes = append(sizes, r.size)
		}
	}
	slices.SortFunc(sizes, func(a, b size) int {
		return cmp.Or(cmp.Compare(a.Endpoints, b.Endpoints), cmp.Compare(a.Services, b.Services))
	})
	return sizes
}

// of returns a figure of all rounds of a contestant at a size, as far as it was measured.
func (all results) of(s size, name string, f figure) sample {
	var values sample
	for _, r := range all {
		if r.Result == nil || r.size != s || r.Contestant != name {
			continue
		}
		if value, ok := f(r.Result); ok {
			values = append(values, value)
		}
	}
	return values
}

// growing returns the sizes that differ in the number of Services only: of the number of endpoints that occurs most often.
func (all results) growing() []size {
	byEndpoints := map[int][]size{}
	var longest []size
	for _, s := range all.sizes() {
		byEndpoints[s.Endpoints] = append(byEndpoints[s.Endpoints], s)
		if same := byEndpoints[s.Endpoints]; len(same) > len(longest) {
			longest = same
		}
	}
	return longest
}

// flows returns the runs of a contestant, one way, at a number of Services, by kernel and run.
func (all results) flows(s size, name string, way kinds) map[[2]int]flow {
	runs := map[[2]int]flow{}
	for _, r := range all {
		if r.Path == nil || r.size != s {
			continue
		}
		for _, f := range r.Path.Flows {
			if f.Contestant == name && f.Way == way {
				runs[[2]int{r.Round, f.Run}] = f
			}
		}
	}
	return runs
}

// flowFigure is a number taken from a run.
type flowFigure func(f flow) float64

// ofFlows returns a figure of the runs of a contestant.
func (all results) ofFlows(s size, name string, way kinds, figure flowFigure) sample {
	var values sample
	for _, f := range all.flows(s, name, way) {
		values = append(values, figure(f))
	}
	return values
}

// against returns, for each run of a contestant, its figure in relation to that of the base's run next to it. So what changes
// in the machine over time drops out.
func (all results) against(s size, name, base string, way kinds, figure flowFigure) sample {
	bases := all.flows(s, base, way)
	var ratios sample
	for at, f := range all.flows(s, name, way) {
		if b, ok := bases[at]; ok && figure(b) > 0 {
			ratios = append(ratios, figure(f)/figure(b))
		}
	}
	return ratios
}
