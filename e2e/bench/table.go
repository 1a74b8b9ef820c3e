package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table shows the medians of all rounds, and of what should never be more than zero the most.
func table(o options, rounds []measurement) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d Services with %d endpoints each, medians of %d rounds\n", o.Services, o.Endpoints, len(rounds))
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(what, format string, values ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{what}, values...)...)
	}
	row("cold start until all is in the kernel", "%s (%s)", medianOf(rounds, coldTook), each(rounds, coldTook))
	row("CPU of the cold start", "%s", medianOf(rounds, func(m measurement) time.Duration { return m.Cold.CPU }))
	row("warm start until the kernel is compared", "%s (%s)", medianOf(rounds, warmTook), each(rounds, warmTook))
	row("operations of the warm start", "%d", mostOf(rounds, func(m measurement) int { return m.Warm.Operations }))
	var changes []time.Duration
	for _, m := range rounds {
		changes = append(changes, m.Changes...)
	}
	slices.Sort(changes)
	row("endpoint change, API write to kernel", "median %s, p99 %s, max %s", rounded(quantile(changes, 0.5)),
		rounded(quantile(changes, 0.99)), rounded(quantile(changes, 1)))
	row("CPU of one change", "%s", medianOf(rounds, func(m measurement) time.Duration { return m.ChangeCPU }))
	row("resident memory, most", "%d MiB", mostOf(rounds, func(m measurement) int { return m.Resident })>>10)
	addTrace(row, "an endpoint added", o, rounds, func(m measurement) trace { return m.Added })
	addTrace(row, "an endpoint removed", o, rounds, func(m measurement) trace { return m.Removed })
	_ = w.Flush() // a strings.Builder does not fail
	return out.String()
}

func addTrace(row func(string, string, ...any), what string, o options, rounds []measurement, of func(measurement) trace) {
	traced := float64(max(1, min(o.Traced, o.Services)))
	per := func(value func(trace) int) float64 {
		return float64(medianOf(rounds, func(m measurement) int { return value(of(m)) })) / traced
	}
	row(what+", system calls", "%.1f, of these %.1f netlink sends, %.1f reads of one virtual server", per(func(t trace) int { return t.Calls }),
		per(func(t trace) int { return t.Sends }), per(func(t trace) int { return t.Reads }))
	row(what+", processes and dumps", "%d and %d in %.0f changes", mostOf(rounds, func(m measurement) int { return of(m).Processes }),
		mostOf(rounds, func(m measurement) int { return of(m).Dumps }), traced)
	for _, m := range rounds[:min(1, len(rounds))] {
		for _, call := range of(m).Examples {
			row("", "%s", call)
		}
	}
}

func coldTook(m measurement) time.Duration { return rounded(m.Cold.Took) }
func warmTook(m measurement) time.Duration { return rounded(m.Warm.Took) }

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// each lists a value of all rounds.
func each(rounds []measurement, value func(measurement) time.Duration) string {
	var all []string
	for _, m := range rounds {
		all = append(all, value(m).String())
	}
	return strings.Join(all, ", ")
}

// medianOf returns the middle value of the rounds, the lower one of two.
func medianOf[T cmp.Ordered](rounds []measurement, value func(measurement) T) T {
	values := make([]T, 0, len(rounds))
	for _, m := range rounds {
		values = append(values, value(m))
	}
	slices.Sort(values)
	return quantile(values, 0.5)
}

func mostOf(rounds []measurement, value func(measurement) int) int {
	most := 0
	for _, m := range rounds {
		most = max(most, value(m))
	}
	return most
}

// quantile returns the smallest of the sorted values that at least the given share of them does not exceed, and zero of none.
func quantile[T any](sorted []T, share float64) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}
	at := int(share*float64(len(sorted))+0.999999) - 1
	return sorted[max(0, min(at, len(sorted)-1))]
}
