package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// Conditions are logged when they begin, change and end; stopping is none.
func TestLogTellsOfChanges(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	l := newLogObserver(zap.New(core))
	stopping := fmt.Errorf("snapshot: %w", context.Canceled)
	problem := service.Problem{Object: "Service a/b", Field: "spec.ports", Reason: "no ports; add one"}
	l.StepDone(reconcile.StepFoundation, errors.New("first"))
	l.StepDone(reconcile.StepFoundation, errors.New("first"))
	l.RoundDone(reconcile.Round{Complete: true})
	l.StepDone(reconcile.StepFoundation, errors.New("second"))
	l.Problems(problem.Object, []service.Problem{problem})
	l.Problems(problem.Object, []service.Problem{problem})
	l.StepDone(reconcile.StepFoundation, nil)
	l.StepDone(reconcile.StepFoundation, nil)
	l.Problems(problem.Object, nil)
	unbound := reconcile.Failure{Operation: dataplane.Operation{Verb: dataplane.Add, Object: dataplane.Address{}}, Err: errors.New("third")}
	for range 3 {
		l.RoundDone(reconcile.Round{Operations: []dataplane.Operation{unbound.Operation}, Failures: []reconcile.Failure{unbound}, Waiting: 1})
	}
	l.RoundDone(reconcile.Round{Operations: []dataplane.Operation{unbound.Operation}})
	l.RoundDone(reconcile.Round{Operations: []dataplane.Operation{unbound.Operation}})
	l.StepDone(reconcile.StepSnapshot, stopping)
	l.RoundDone(reconcile.Round{Operations: []dataplane.Operation{unbound.Operation}, Failures: []reconcile.Failure{{Operation: unbound.Operation, Err: stopping}}})
	var got []string
	for _, entry := range logs.All() {
		line := entry.Message
		for _, field := range []string{"step", "error", "object"} {
			if value, ok := entry.ContextMap()[field]; ok {
				line += fmt.Sprintf(" %v", value)
			}
		}
		got = append(got, line)
	}
	want := []string{
		"step failed and will be tried again foundation first",
		"every source is complete: the kernel now has what they say, except for what failed and will be tried again",
		"step failed and will be tried again foundation second",
		problem.Error(),
		"step works again foundation",
		"no problem left Service a/b",
		"operation failed and will be tried again third",
		"every operation that had failed has succeeded since, or is not wanted any more",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestFirstSync(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	newLogObserver(zap.New(core)).RoundDone(reconcile.Round{Complete: true})
	if all := logs.All(); len(all) != 1 || !strings.HasSuffix(all[0].Message, "and nothing else of ours") {
		t.Errorf("log %v", all)
	}
}
