package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// preface says of results where, when and how they came about.
func preface() string {
	var out strings.Builder
	out.WriteString("# What `make bench` measured\n\n")
	fmt.Fprintf(&out, "On %s, with %s of a machine with %d processors (%s).", time.Now().UTC().Format(time.DateOnly), runtime.GOARCH, runtime.NumCPU(), processor())
	out.WriteString(" Where the lab (`e2e/lab`) had to emulate a machine, only ratios mean anything.\n\n")
	fmt.Fprintf(&out, "    .cache/bin/controlplane .cache/bin/bench %s\n\n", strings.Join(quoted(os.Args[1:]), " "))
	out.WriteString("Each contestant is measured in a kernel of its own, by turns, against one real API server, and starts its tools from memory. " +
		"Figures of a proxy's CPU time include the programs it starts. " +
		"A cold start of kube-proxy in ipvs mode is counted up to its sets, before its last rules.\n\n")
	return out.String()
}

// processor names the machine's.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(string(text), "model name")
	name, _, _ := strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
	return name
}

// quoted makes arguments fit for a shell where they have spaces.
func quoted(arguments []string) []string {
	out := make([]string, len(arguments))
	for i, argument := range arguments {
		if out[i] = argument; strings.Contains(argument, " ") {
			out[i] = "'" + argument + "'"
		}
	}
	return out
}
