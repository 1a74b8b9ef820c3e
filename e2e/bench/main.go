package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// guestCommand is the first argument of the process that runs inside the lab.
const guestCommand = "guest"

// options are the flags. They are the same inside the lab, but for one size and one contestant.
type options struct {
	size
	Sizes       string
	Contestants string
	Rounds      int
	phases
	Programs string // directory
	Flags    string // more flags for the daemon
	Lab      string // path
	LabFlags string // for the lab
	Results  string // path
}

// phases say how much of each measurement there is; 0 leaves it out.
type phases struct {
	Changes   int           // of endpoints, measured one by one
	Burst     int           // Services that lose endpoints at once
	Stream    int           // changes each second
	StreamFor time.Duration // of a stream
	Steady    time.Duration // with nothing to do
	Traced    int           // changes under strace
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
	set.StringVar(&o.Sizes, "sizes", "1000x10", "Services x endpoints of each, separated by commas")
	set.StringVar(&o.Contestants, "contestants", namesOf(contestants()), "who is measured, separated by commas")
	set.IntVar(&o.Rounds, "rounds", 3, "times to measure each, from a fresh kernel")
	set.IntVar(&o.Changes, "changes", 200, "changes of endpoints to measure one by one, at most one per Service")
	set.IntVar(&o.Burst, "burst", 200, "Services of which five endpoints go at once")
	set.IntVar(&o.Stream, "stream", 100, "changes each second in a stream of changes")
	set.DurationVar(&o.StreamFor, "stream-for", time.Minute, "length of the stream")
	set.DurationVar(&o.Steady, "steady", 2*time.Minute, "length of the measurement without changes")
	set.IntVar(&o.Traced, "traced", 20, "changes of endpoints under strace, at most one per Service")
	set.StringVar(&o.Programs, "programs", ".cache/bin", "`directory` of the contestants' programs")
	set.StringVar(&o.Flags, "daemon-flags", "", "more flags for the daemon, separated by spaces")
	set.StringVar(&o.Lab, "lab", ".cache/bin/lab", "`path` of the lab")
	set.StringVar(&o.LabFlags, "lab-flags", "", "flags for the lab, separated by spaces; -preload loads the kernel modules beforehand,\n"+
		"of which each takes a few tenths of a second in an emulated machine")
	set.StringVar(&o.Results, "results", "", "`file` to write the tables to as well")
	if err := set.Parse(arguments); err != nil {
		return err
	}
	client, err := newClient()
	if err != nil {
		return err
	}
	sizes, err := parseSizes(o.Sizes)
	if err != nil {
		return err
	}
	if inside {
		o.size = sizes[0]
		return runGuest(ctx, o, client)
	}
	return runHost(ctx, o, sizes, client)
}

func newClient() (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, fmt.Errorf("read KUBECONFIG: %w; run this command with .cache/bin/controlplane", err)
	}
	config.QPS, config.Burst, config.WarningHandler = 5000, 5000, rest.NoWarnings{}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = config.ContentType + ",application/json"
	return kubernetes.NewForConfig(config)
}

// runHost measures every size and prints the tables.
func runHost(ctx context.Context, o options, sizes []size, client kubernetes.Interface) error {
	all, err := chosen(o.Contestants)
	if err != nil {
		return err
	}
	var report strings.Builder
	for _, size := range sizes {
		o.size = size
		measured, err := runSize(ctx, o, all, client)
		if err != nil {
			return err
		}
		text := table(o, all, measured)
		fmt.Println(text)
		report.WriteString(text + "\n")
	}
	if o.Results == "" {
		return nil
	}
	return os.WriteFile(o.Results, []byte(preface()+report.String()), 0o644)
}

// runSize measures the contestants by turns, each in a kernel of its own.
func runSize(ctx context.Context, o options, all []contestant, client kubernetes.Interface) ([]measurement, error) {
	var measured []measurement
	for round := range o.Rounds {
		for _, c := range all {
			if round >= c.rounds(o.size, o.Rounds) {
				continue
			}
			if err := populate(ctx, client, o); err != nil {
				return nil, fmt.Errorf("fill the API server: %w", err)
			}
			fmt.Fprintf(os.Stderr, "bench: %s, round %d of %d: %s\n", o.size, round+1, o.Rounds, c.name)
			m, err := runInLab(ctx, o, c)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d, %s: %w", o.size, round+1, c.name, err)
			}
			measured = append(measured, m)
		}
	}
	return measured, nil
}

// runInLab runs one contestant in the lab and returns what was measured.
func runInLab(ctx context.Context, o options, c contestant) (measurement, error) {
	self, err := os.Executable()
	if err != nil {
		return measurement{}, err
	}
	var printed bytes.Buffer
	arguments := slices.Concat(strings.Fields(o.LabFlags), []string{self, guestCommand}, os.Args[1:],
		[]string{"-contestants=" + c.name, "-sizes=" + o.size.String()}) // the last ones hold
	command := exec.CommandContext(ctx, o.Lab, arguments...)
	command.Stdout, command.Stderr = &printed, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	if err := command.Run(); err != nil {
		return measurement{}, fmt.Errorf("%s: %w", strings.Join(command.Args, " "), err)
	}
	var m measurement
	if err := json.Unmarshal(printed.Bytes(), &m); err != nil {
		return measurement{}, fmt.Errorf("read the result %q: %w", printed.String(), err)
	}
	return m, nil
}
