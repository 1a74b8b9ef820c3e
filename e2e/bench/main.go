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

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// guestCommand is the first argument of the process that runs inside the lab.
const guestCommand = "guest"

// options are the flags. They are the same inside the lab.
type options struct {
	Services  int
	Endpoints int // per Service
	Changes   int // of endpoints, measured one by one
	Traced    int // changes under strace
	Rounds    int
	Daemon    string // path
	Flags     string // more flags for the daemon
	Lab       string // path
	LabFlags  string // for the lab
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
	set.IntVar(&o.Services, "services", 1000, "Services to create")
	set.IntVar(&o.Endpoints, "endpoints", 10, "endpoints of each Service")
	set.IntVar(&o.Changes, "changes", 100, "changes of endpoints to measure in each round, at most one per Service")
	set.IntVar(&o.Traced, "traced", 20, "changes of endpoints under strace, at most one per Service")
	set.IntVar(&o.Rounds, "rounds", 3, "times to measure, each from a fresh kernel")
	set.StringVar(&o.Daemon, "daemon", ".cache/bin/kube-ipvs-proxy", "`path` of the daemon")
	set.StringVar(&o.Flags, "daemon-flags", "", "more flags for the daemon, separated by spaces")
	set.StringVar(&o.Lab, "lab", ".cache/bin/lab", "`path` of the lab")
	set.StringVar(&o.LabFlags, "lab-flags", "", "flags for the lab, separated by spaces; -preload loads the kernel modules beforehand,\n"+
		"of which each takes a few tenths of a second in an emulated machine")
	if err := set.Parse(arguments); err != nil {
		return err
	}
	client, err := newClient()
	if err != nil {
		return err
	}
	if inside {
		return runGuest(ctx, o, client)
	}
	return runHost(ctx, o, client)
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

// runHost fills the API server, runs the rounds and prints what they measured.
func runHost(ctx context.Context, o options, client kubernetes.Interface) error {
	var rounds []measurement
	for n := range o.Rounds {
		if err := populate(ctx, client, o); err != nil {
			return fmt.Errorf("fill the API server: %w", err)
		}
		fmt.Fprintf(os.Stderr, "bench: round %d of %d\n", n+1, o.Rounds)
		m, err := runInLab(ctx, o)
		if err != nil {
			return fmt.Errorf("round %d: %w", n+1, err)
		}
		rounds = append(rounds, m)
	}
	_, err := os.Stdout.WriteString(table(o, rounds))
	return err
}

// runInLab runs one round in the lab and returns what it printed.
func runInLab(ctx context.Context, o options) (measurement, error) {
	self, err := os.Executable()
	if err != nil {
		return measurement{}, err
	}
	var printed bytes.Buffer
	arguments := slices.Concat(strings.Fields(o.LabFlags), []string{self, guestCommand}, os.Args[1:])
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
