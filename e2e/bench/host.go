package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
)

// labTimeout bounds one run of the lab; -lab-flags may say otherwise. Kube-proxy in ipvs mode starts twice in it.
const labTimeout = "-timeout=2h"

// runHost measures what is missing, piece by piece, and prints what there is. A piece that fails is reported in the end, and
// missing still.
func runHost(ctx context.Context, o options, sizes, counts []size, client kubernetes.Interface) error {
	all, err := chosen(o.Contestants)
	if err != nil {
		return err
	}
	var failures []error
	for _, size := range sizes {
		o.size = size
		failures = append(failures, runSize(ctx, o, taking(all, scaling), client))
	}
	for _, count := range counts {
		o.size = count
		failures = append(failures, runPaths(ctx, o, taking(all, direct|throughVIP), client))
	}
	records, err := store{o.State}.all()
	if err == nil {
		fmt.Println(markdown(records))
	}
	return errors.Join(append(failures, err)...)
}

// runSize measures the contestants by turns, each in a kernel of its own.
func runSize(ctx context.Context, o options, all []contestant, client kubernetes.Interface) error {
	var failures []error
	for round := 1; round <= o.Rounds; round++ {
		for _, c := range all {
			r := record{size: o.size, Contestant: c.name, Round: round}
			if round > c.rounds(o.size, o.Rounds) {
				continue
			}
			old, found, err := store{o.State}.read(r.name())
			if found {
				old.mention()
			} else if err == nil {
				err = runPiece(ctx, o, []contestant{c}, r, client)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// runPaths measures the data path of all contestants together, in one kernel each round.
func runPaths(ctx context.Context, o options, all []contestant, client kubernetes.Interface) error {
	var failures []error
	for round := 1; round <= o.Rounds; round++ {
		r := record{size: o.size, Round: round}
		old, found, err := store{o.State}.read(r.name())
		if found && old.Path.covers(all) {
			old.mention()
		} else if err == nil {
			err = runPiece(ctx, o, all, r, client)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// mention says that the record is not made again.
func (r record) mention() {
	fmt.Fprintf(os.Stderr, "bench: %s is there already, of %s\n", r.name(), r.Origin.Begun.Format(time.DateTime))
}

// covers says whether of each contestant it is known how it does, or why not.
func (d *dataPath) covers(all []contestant) bool {
	return !slices.ContainsFunc(all, func(c contestant) bool {
		return d.LeftOut[c.name] == "" && !slices.ContainsFunc(d.Flows, func(f flow) bool { return f.Contestant == c.name })
	})
}

// runPiece fills the API server, has a record filled in the lab, and stores it.
func runPiece(ctx context.Context, o options, all []contestant, r record, client kubernetes.Interface) error {
	if err := populate(ctx, client, o); err != nil {
		return fmt.Errorf("fill the API server: %w", err)
	}
	if r.Contestant == "" {
		if err := createTarget(ctx, client); err != nil {
			return fmt.Errorf("create the Service that packets go to: %w", err)
		}
	}
	fmt.Fprintf(os.Stderr, "bench: %s %s\n", time.Now().Format(time.TimeOnly), r.name())
	at := originOf(o, all)
	if err := runInLab(ctx, o, all, &r); err != nil {
		return fmt.Errorf("%s: %w", r.name(), err)
	}
	at.Kernel, at.Took = r.Origin.Kernel, time.Since(at.Begun)
	r.Origin = at
	return store{o.State}.write(r)
}

// runInLab has a guest fill a record.
func runInLab(ctx context.Context, o options, all []contestant, r *record) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	what := []string{"-sizes=" + o.size.String(), "-paths="}
	if r.Contestant == "" {
		what = []string{"-sizes=", fmt.Sprintf("-paths=%d", o.Services)}
	}
	var printed bytes.Buffer
	arguments := slices.Concat([]string{labTimeout}, strings.Fields(o.LabFlags), []string{self, guestCommand}, os.Args[1:], what,
		[]string{"-contestants=" + namesOf(all)}) // the last ones hold
	command := exec.CommandContext(ctx, o.Lab, arguments...)
	command.Stdout, command.Stderr = &printed, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(command.Args, " "), err)
	}
	var filled record
	if err := json.Unmarshal(printed.Bytes(), &filled); err != nil {
		return fmt.Errorf("read the result %q: %w", printed.String(), err)
	}
	r.Result, r.Path, r.Origin.Kernel = filled.Result, filled.Path, filled.Origin.Kernel
	return nil
}
