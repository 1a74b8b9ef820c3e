package plan_test

import (
	"testing"

	"kube-ipvs-proxy/internal/dataplane"
)

// What changed while a snapshot was read stays as confirmed, and nothing else does.
func TestAdoptKeepsWhatIsNewer(t *testing.T) {
	b := newBench(t)
	b.want(web(dataplane.TCP, 1, 2))
	b.run()
	b.planner.BeginSnapshot()
	b.want(web(dataplane.TCP, 1, 3)) // 2 begins to drain, 3 comes
	b.run()
	old := web(dataplane.TCP, 2) // what was read before that, and somebody has deleted 1
	changed := b.planner.Adopt(old)
	if changed.Len() != 1 || len(changed.VirtualServers) != 1 {
		t.Errorf("as changed by others are reported %v", changed)
	}
	b.changed.Merge(changed)
	b.expect("ipvsadm -a -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1\n", b.run())

	b.planner.BeginSnapshot()
	b.want(dataplane.Objects{})
	b.run()
	if changed := b.planner.Adopt(web(dataplane.TCP, 1, 3)); changed.Len() != 0 || b.planner.Keys().Len() != 0 {
		t.Errorf("what was deleted meanwhile came back: %v, %v", changed, b.planner.Keys())
	}
	if changed := b.planner.Adopt(web(dataplane.TCP, 1)); len(changed.VirtualServers) != 1 {
		t.Errorf("a later snapshot is not believed: %v", changed)
	}
}
