package metrics_test

import (
	"strings"
	"testing"

	"kube-ipvs-proxy/internal/reference"
)

// The reference for operators has every metric, with what it counts.
func TestReferenceHasTheMetrics(t *testing.T) {
	families, err := everything(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][][]string{}
	for _, family := range families {
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, reference.Code(label.GetName()))
		}
		prefix, _, _ := strings.Cut(family.GetName(), "_")
		rows[prefix] = append(rows[prefix], []string{reference.Code(family.GetName()),
			strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp()})
	}
	if len(rows) != 3 || len(rows["kube"]) < 15 || len(rows["kubeproxy"]) < 14 || len(rows["rest"]) != 14 {
		t.Fatalf("metrics are missing, or belong to nobody: %v", rows)
	}
	head := []string{"metric", "type", "labels", "what"}
	reference.Check(t, "own metrics", reference.Table(head, rows["kube"]))
	reference.Check(t, "metrics of kube-proxy", reference.Table(head, rows["kubeproxy"]))
	reference.Check(t, "metrics of requests", reference.Table(head, rows["rest"]))
}
