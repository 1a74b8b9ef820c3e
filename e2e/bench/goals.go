package main

import (
	"fmt"
	"strings"
)

// goal is something that a figure of this project's should not exceed, mostly in relation to another.
type goal struct {
	what  string
	most  float64
	value func(all results) (float64, bool)
}

// goals are the ratios that the project wants to reach.
func goals() []goal {
	var out []goal
	add := func(what string, most float64, value func(results) (float64, bool)) {
		out = append(out, goal{what, most, value})
	}
	thousand, five, ten := size{1000, 10}, size{5000, 10}, size{10000, 10}
	for _, s := range []size{thousand, five} {
		add(fmt.Sprintf("cold start at %s : kube-proxy's in ipvs mode", s), 1./50, toRival(s, kubeIPVS, coldTime))
		add(fmt.Sprintf("cold start at %s : kube-proxy's in nftables mode", s), 1./5, toRival(s, kubeNFT, coldTime))
	}
	for _, s := range []size{thousand, five, ten, {1000, 100}} {
		add(fmt.Sprintf("kernel part of a cold start at %s : the floor's", s), 1.3, toRival(s, floor, kernelPart))
	}
	add("time of a change at 10,000 Services : at 100", 1.2, toSize(ten, size{100, 10}, changeMedian))
	add("CPU of a change at 10,000 Services : at 100", 1.2, toSize(ten, size{100, 10}, changeCPU))
	add("CPU of a change at 5000x10 : kube-proxy's in ipvs mode", 1./500, toRival(five, kubeIPVS, changeCPU))
	add("CPU of a change at 5000x10 : kube-proxy's in nftables mode", 1./50, toRival(five, kubeNFT, changeCPU))
	for _, s := range []size{thousand, five, ten} {
		add(fmt.Sprintf("API write → kernel of a change at %s, p99, ms", s), 50, own(s, changeP99, 1000))
	}
	add("messages of a restart at 10000x10 that write, or try to", 0, own(ten, writes, 1))
	add("restart at 10000x10 : listing the objects and reading the kernel once", 2, toRival(ten, floor, warmTime))
	add("memory at 5000x10 : kube-proxy's in ipvs mode", 0.5, toRival(five, kubeIPVS, residentMiB))
	add("memory at 5000x10 : kube-proxy's in nftables mode", 0.5, toRival(five, kubeNFT, residentMiB))
	add("memory at 10000x10 : kube-proxy's in nftables mode", 0.5, toRival(ten, kubeNFT, residentMiB))
	add("CPU with nothing to do at 10000x10, % of a processor", 1, own(ten, idleCPU, 100./60))
	for _, services := range []int{10, 1000, 10000} {
		s := size{services, 1}
		add(fmt.Sprintf("connect to no Service, with %d : the smallest rule set", services), 1.1, ofPath(s, smallest, direct))
		if services >= 1000 {
			add(fmt.Sprintf("connect through a VIP of %d : kube-proxy's in ipvs mode", services), 0.8, ofPath(s, kubeIPVS, throughVIP))
			add(fmt.Sprintf("connect through a VIP of %d : kube-proxy's in nftables mode", services), 1.1, ofPath(s, kubeNFT, throughVIP))
		}
	}
	return out
}

// own is this project's figure, in another unit.
func own(s size, f figure, factor float64) func(results) (float64, bool) {
	return func(all results) (float64, bool) {
		values := all.of(s, self, f)
		return values.median() * factor, len(values) > 0
	}
}

// toRival relates this project's figure to another contestant's.
func toRival(s size, name string, f figure) func(results) (float64, bool) {
	return func(all results) (float64, bool) { return quotient(all.of(s, self, f), all.of(s, name, f)) }
}

// toSize relates this project's figure at a size to that at another.
func toSize(s, other size, f figure) func(results) (float64, bool) {
	return func(all results) (float64, bool) { return quotient(all.of(s, self, f), all.of(other, self, f)) }
}

// ofPath relates the median times of connects, run by run.
func ofPath(s size, name string, way kinds) func(results) (float64, bool) {
	return func(all results) (float64, bool) {
		ratios := all.against(s, self, name, way, connectMedian)
		return ratios.median(), len(ratios) > 0
	}
}

func quotient(a, b sample) (float64, bool) {
	if len(a) == 0 || len(b) == 0 || b.median() <= 0 {
		return 0, false
	}
	return a.median() / b.median(), true
}

// goalTable shows those goals that something was measured for.
func (all results) goalTable() string {
	var out strings.Builder
	for _, g := range goals() {
		value, measured := g.value(all)
		if !measured {
			continue
		}
		verdict := "yes"
		if value > g.most {
			verdict = "**no**"
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", g.what, ratio(g.most), ratio(value), verdict)
	}
	if out.Len() == 0 {
		return ""
	}
	return "## What was to be reached\n\n" + head([]string{"at most", "measured", "reached"}) + out.String() + "\n"
}
