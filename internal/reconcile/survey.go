package reconcile

import (
	"context"
	"fmt"
	"time"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel"
	"kube-ipvs-proxy/internal/translate"
)

// survey is the work on the whole node that takes so long that changes must not wait for it: ensuring the foundation and
// reading the kernel. One of the two at a time runs in a goroutine of its own, beside the rounds.
type survey struct {
	running Step // empty when none is
	since   time.Time
	founded bool // the foundation was ensured last: it is the reading's turn, so that neither keeps the other from its
	missed  bool // an address found no device, and none has been added since
	alone   bool // there are no rules of other proxies, or none any more
	// outcome carries what is left to do, on Run's goroutine, when the work ended.
	outcome chan func()
	// repaired is what was put right since the last report of an audit.
	repaired []string
	audited  time.Time // when the last snapshot was compared with what is wanted; zero before
}

// run does the work in a goroutine, and what the work returns on Run's.
func (s *survey) run(step Step, now time.Time, work func() (finish func())) {
	s.running, s.since, s.founded = step, now, step == StepFoundation
	go func() {
		finish := work()
		s.outcome <- func() {
			s.running = ""
			finish()
		}
	}()
}

// requestAudit asks for the next audit. When one is still under way after a whole period, that is a failure to be seen:
// what hangs reports nothing itself.
func (r *Reconciler) requestAudit() {
	now := r.options.Clock.Now()
	if step := r.survey.running; step != "" {
		r.observer.StepDone(step, fmt.Errorf("under way for %v", now.Sub(r.survey.since)))
		return
	}
	r.loop.status.foundation.request(now)
	r.loop.status.snapshot.request(now)
}

// startSurvey begins what is due, the foundation first.
func (r *Reconciler) startSurvey(ctx context.Context) {
	now, s, status := r.options.Clock.Now(), &r.survey, &r.loop.status
	switch {
	case s.running != "":
	case !s.founded && status.foundation.begin(now):
		r.ensureFoundation(ctx)
	case status.snapshot.begin(now):
		r.adoptSnapshot(ctx)
	case status.foundation.begin(now):
		r.ensureFoundation(ctx)
	}
}

// ensureFoundation makes device, sets and rules be there. A failure is reported and repeated; it does not keep IPVS from
// being programmed.
func (r *Reconciler) ensureFoundation(ctx context.Context) {
	wanted := r.foundation()
	wanted.Takeover = r.takeover()
	r.survey.run(StepFoundation, r.options.Clock.Now(), func() func() {
		repaired, err := r.kernel.EnsureFoundation(ctx, wanted)
		alone := err == nil && (wanted.Takeover == kernel.Succeed || wanted.Takeover == kernel.Spare && !r.kernel.Spared())
		return func() {
			now, status := r.options.Clock.Now(), &r.loop.status
			status.foundation.done(now, err)
			r.survey.alone = r.survey.alone || alone
			r.observer.StepDone(StepFoundation, err)
			r.survey.repaired = append(r.survey.repaired, repaired...)
			// A device that vanished took the addresses along.
			r.loop.planner.Unbound(r.loop.ledger, r.loop.pending)
			if len(repaired) > 0 && status.adopted {
				// A set that was made anew is empty, and a new device has no addresses: read what there is.
				status.snapshot.request(now)
			}
		}
	})
}

// takeover says what becomes of other proxies' rules. Those that stand where ours belong go with the entries that are in the
// sets: ours would find none, and let new connections pass by. So they are left until the first complete round has been
// carried out.
func (r *Reconciler) takeover() kernel.Takeover {
	switch {
	case !r.loop.status.complete:
		return kernel.Spare
	case !r.survey.alone:
		return kernel.Succeed
	}
	return kernel.Replace
}

// foundation describes the static part of the data plane.
func (r *Reconciler) foundation() kernel.Foundation {
	f := kernel.Foundation{Sets: translate.Sets(r.options.Families)}
	options := r.options.Service
	if options.Masquerade.Local.NodeCIDRs {
		options.Masquerade.Local.CIDRs = r.loop.facts.Node.PodCIDRs
	}
	for _, family := range r.options.Families {
		f.Rulesets = append(f.Rulesets, translate.Rules(family, options))
	}
	return f
}

// adoptSnapshot reads the kernel. When that fails, nothing changes: a failed read is not an empty world.
func (r *Reconciler) adoptSnapshot(ctx context.Context) {
	started, used := r.options.Clock.Now(), r.options.Audits.used()
	r.loop.planner.BeginSnapshot()
	r.survey.run(StepSnapshot, started, func() func() {
		snapshot, err := r.kernel.Snapshot(ctx)
		return func() {
			now, status := r.options.Clock.Now(), &r.loop.status
			status.snapshot.done(now, err)
			r.observer.StepDone(StepSnapshot, err)
			if err != nil {
				return
			}
			report := Audit{At: now, Duration: now.Sub(started), Repaired: r.survey.repaired, Drifted: r.adopt(snapshot)}
			r.survey.repaired, r.survey.audited = nil, now
			rest := r.options.Audits.Period
			if status.adopted {
				rest = r.options.Audits.after(r.options.Audits.used() - used)
			} else {
				report.Drifted = 0 // at the start everything is new to us
				status.adopted = true
				status.drain.at(now.Add(drainPeriod))
			}
			status.audit = now.Add(rest)
			r.observer.Audited(report)
		}
	})
}

// adopt takes a snapshot for the state of the kernel, and returns how many objects somebody else had changed. The next
// round looks at everything in it and everything desired.
func (r *Reconciler) adopt(snapshot *kernel.Snapshot) int {
	drifted := r.loop.planner.Adopt(snapshot.Objects)
	if !r.loop.status.adopted {
		r.marks.inherit(snapshot.Objects.Entries)
	}
	var foreign []dataplane.VirtualServerKey
	for _, pool := range snapshot.Objects.Pools {
		if pool.Key.Mark != 0 && r.loop.planner.Foreign(pool) {
			foreign = append(foreign, pool.Key)
		}
	}
	r.inbox.touch(r.marks.avoid(foreign))
	r.loop.pending.Merge(drifted)
	// Kernel and desired state are compared as a whole, rather than trusting that every change so far was noticed.
	r.loop.planner.Unsettled(r.loop.ledger, r.loop.pending)
	return drifted.Len()
}
