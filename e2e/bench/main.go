package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// guestCommand is the first argument of the process that runs inside the lab.
const guestCommand = "guest"

// options are the flags. They are the same inside the lab, but for one size and one contestant or one number of Services.
type options struct {
	size
	Sizes       string
	Paths       string
	Contestants string
	Rounds      int
	phases
	programs
	output
}

// phases say how much of each measurement there is; 0 leaves it out.
type phases struct {
	Changes    int           // of endpoints, measured one by one
	ChangesFor time.Duration // at most
	Burst      int           // Services that lose endpoints at once
	Stream     int           // changes each second
	StreamFor  time.Duration // of a stream
	Steady     time.Duration // with nothing to do
	Traced     int           // changes under strace
	Runs       int           // of the data path, in one kernel
	Connects   int           // in a run, one way
	FlowFor    time.Duration // of the connects and of the packets of a run, one way, at most
}

// programs are where what runs is, and how it is to run.
type programs struct {
	Programs string // directory
	Flags    string // more flags for the daemon
	Lab      string // path
	LabFlags string // for the lab
}

// output is where results go.
type output struct {
	State  string // directory of the records
	Into   string // directory of the report
	Report bool   // instead of measuring
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	inside := len(arguments) > 0 && arguments[0] == guestCommand
	if inside {
		arguments = arguments[1:]
	}
	var o options
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	defineFlags(set, &o)
	definePhases(set, &o.phases)
	if err := set.Parse(arguments); err != nil {
		return err
	}
	sizes, err := parseSizes(o.Sizes)
	if err != nil {
		return err
	}
	counts, err := parseCounts(o.Paths)
	if err != nil {
		return err
	}
	if o.Report {
		return report(o.output)
	}
	client, err := newClient()
	switch {
	case err != nil:
		return err
	case inside:
		return runGuest(ctx, o, sizes, counts, client)
	}
	return runHost(ctx, o, sizes, counts, client)
}

func defineFlags(set *flag.FlagSet, o *options) {
	set.StringVar(&o.Sizes, "sizes", "100x10,1000x10,5000x10,10000x10,1000x100", "Services x endpoints of each to start and change, separated by commas")
	set.StringVar(&o.Paths, "paths", "10,1000,10000", "numbers of Services, of one endpoint each, at which to measure the data path, separated by commas")
	set.StringVar(&o.Contestants, "contestants", namesOf(contestants()), "who is measured, separated by commas")
	set.IntVar(&o.Rounds, "rounds", 3, "times to measure each, from a fresh kernel; of the data path, kernels")
	set.StringVar(&o.Programs, "programs", ".cache/bin", "`directory` of the contestants' programs")
	set.StringVar(&o.Flags, "daemon-flags", "", "more flags for the daemon, separated by spaces")
	set.StringVar(&o.Lab, "lab", ".cache/bin/lab", "`path` of the lab")
	set.StringVar(&o.LabFlags, "lab-flags", "", "flags for the lab, separated by spaces; -preload loads the kernel modules beforehand,\n"+
		"of which each takes a few tenths of a second in an emulated machine")
	set.StringVar(&o.State, "state", ".cache/bench", "`directory` of what was measured; what is there is not measured again")
	set.StringVar(&o.Into, "into", "e2e/bench", "`directory` to write the report to")
	set.BoolVar(&o.Report, "report", false, "measure nothing: write RESULTS.md and the plots of what was measured")
}

func definePhases(set *flag.FlagSet, p *phases) {
	set.IntVar(&p.Changes, "changes", 200, "changes of endpoints to measure one by one, at most one per Service")
	set.DurationVar(&p.ChangesFor, "changes-for", 3*time.Minute, "time after which no more of these changes are made, but for the first few")
	set.IntVar(&p.Burst, "burst", 200, "Services of which five endpoints go at once")
	set.IntVar(&p.Stream, "stream", 100, "changes each second in a stream of changes")
	set.DurationVar(&p.StreamFor, "stream-for", time.Minute, "length of the stream")
	set.DurationVar(&p.Steady, "steady", 2*time.Minute, "length of the measurement without changes")
	set.IntVar(&p.Traced, "traced", 20, "changes of endpoints under strace, at most one per Service; others than the daemon make one")
	set.IntVar(&p.Runs, "runs", 7, "runs of the data path in one kernel")
	set.IntVar(&p.Connects, "connects", 2000, "connections in a run of the data path, one way")
	set.DurationVar(&p.FlowFor, "flow-for", 2*time.Second, "time after which a run of the data path ends, one way, and length of its stream of packets")
}

func newClient() (kubernetes.Interface, error) {
	config, err := clientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst, config.WarningHandler = 5000, 5000, rest.NoWarnings{}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = config.ContentType + ",application/json"
	return kubernetes.NewForConfig(config)
}

func clientConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, fmt.Errorf("read KUBECONFIG: %w; run this command with .cache/bin/controlplane", err)
	}
	return config, nil
}
