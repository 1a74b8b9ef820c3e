package netfilter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
)

// planner decides what to do to one table. It may return a change and an error.
type planner func(want table, have savedTable) (change, error)

// job is what is done to one family.
type job struct {
	family dataplane.Family
	tables []table
	edits  edits
	err    error // why nothing is done
}

// forEach reads each family once and carries out what the planner decides for each of its tables. The programs of both
// families run side by side: starting and ending them takes longer than what they do.
func (d *Driver) forEach(ctx context.Context, rulesets []dataplane.Ruleset, plan planner) ([]string, error) {
	d.settle()
	jobs := d.jobs(rulesets)
	d.draft(ctx, jobs, plan)
	d.write(ctx, jobs, plan)
	var done []string
	var errs []error
	for _, j := range jobs {
		if j.err != nil {
			errs = append(errs, j.err)
			continue
		}
		lines, err := j.edits.report(j.family)
		done = append(done, lines...)
		errs = append(errs, err)
	}
	return done, errors.Join(errs...)
}

// jobs prepares one job for each rule set.
func (d *Driver) jobs(rulesets []dataplane.Ruleset) []*job {
	jobs := make([]*job, len(rulesets))
	for i, rules := range rulesets {
		j := &job{family: rules.Family, err: d.Available(rules.Family)}
		if j.err == nil {
			j.tables, j.err = compile(rules)
		}
		jobs[i] = j
	}
	return jobs
}

// draft reads the families and has the planner decide about each of their tables.
func (d *Driver) draft(ctx context.Context, jobs []*job, plan planner) {
	reads := make([]func() (saved, error), len(jobs))
	for i, j := range jobs {
		if j.err == nil {
			reads[i] = d.save(ctx, j.family)
		}
	}
	for i, j := range jobs {
		if j.err != nil {
			continue
		}
		have, err := reads[i]()
		if err != nil {
			j.err = err
			continue
		}
		j.edits = draftOf(j.tables, have, plan)
	}
}

// draftOf has the planner decide about tables.
func draftOf(tables []table, have saved, plan planner) edits {
	all := make(edits, len(tables))
	for i, want := range tables {
		all[i].table = want.name
		if have[want.name].foreign {
			all[i].objection = fmt.Errorf("it holds rules made with nft(8) that iptables cannot show: %w; move those to a table of their own",
				dataplane.ErrConflict)
			continue
		}
		all[i].change, all[i].objection = plan(want, have[want.name])
	}
	return all
}

// write writes all tables of a family with one program. One that fails may have committed the first tables, so they are
// read again before each gets a program of its own.
func (d *Driver) write(ctx context.Context, jobs []*job, plan planner) {
	failures := make([]func() error, len(jobs))
	for i, j := range jobs {
		text := j.edits.text()
		if j.err != nil || text == "" {
			continue
		}
		failures[i] = d.restore(ctx, j.family, text)
		if d.variant == Legacy { // its programs wait for each other's lock, and not for long
			err := failures[i]()
			failures[i] = func() error { return err }
		}
	}
	for i, j := range jobs {
		if failures[i] == nil {
			continue
		}
		switch err := failures[i](); {
		case err == nil:
		case j.edits.several():
			d.writeEach(ctx, j, plan)
		default:
			j.edits.fail(err)
		}
	}
}

// writeEach reads a family again and writes each of its tables with a program of its own.
func (d *Driver) writeEach(ctx context.Context, j *job, plan planner) {
	have, err := d.save(ctx, j.family)()
	if err != nil {
		j.err = err
		return
	}
	again := draftOf(j.tables, have, plan)
	again.recall(j.edits)
	j.edits = again
	for i := range j.edits {
		if text := j.edits[i : i+1].text(); text != "" {
			j.edits[i].failed = d.restore(ctx, j.family, text)()
		}
	}
}

// save begins to read all tables of a family, unless that was just done, and returns what waits for the result.
func (d *Driver) save(ctx context.Context, family dataplane.Family) func() (saved, error) {
	command := Command{Path: d.tools[family].save}
	var wait func() (string, error)
	if text, ok := d.recent(family); ok {
		d.last.elsewhere = true // it may be older than the generation
		wait = func() (string, error) { return text, nil }
	} else {
		wait = d.start(ctx, command)
	}
	return func() (saved, error) {
		text, err := wait()
		if err != nil {
			return nil, explain(command, err)
		}
		d.last.look(text)
		have, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", family, err)
		}
		return have, nil
	}
}

// restore begins to commit changes, for each table all of them or none, and returns what waits for the outcome.
func (d *Driver) restore(ctx context.Context, family dataplane.Family, input string) func() error {
	command := Command{
		Path:  d.tools[family].restore,
		Args:  []string{"-w", fmt.Sprint(int(d.options.LockWait / time.Second)), "--noflush"},
		Stdin: input,
	}
	wait := d.start(ctx, command)
	return func() error {
		if _, err := wait(); err != nil {
			return explain(command, err)
		}
		return nil
	}
}

// start starts a program and returns what waits for its end.
func (d *Driver) start(ctx context.Context, command Command) func() (string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.options.Timeout)
	command.Env = []string{"LC_ALL=C", "XTABLES_LOCKFILE=" + d.options.LockFile}
	d.runs.Add(1)
	wait := d.options.Runner.Start(ctx, command)
	return func() (string, error) {
		defer cancel()
		return wait()
	}
}
