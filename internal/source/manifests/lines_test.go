package manifests

import "testing"

func TestWithoutIndexes(t *testing.T) {
	for path, want := range map[string]string{
		"":                       "",
		"spec.type":              "spec.type",
		"spec.ports[0].port":     "spec.ports.port",
		"endpoints[12][3].a[4]":  "endpoints.a",
		"metadata.labels.a[b].c": "metadata.labels.a[b].c",
		"metadata.labels.a[1":    "metadata.labels.a[1",
		"metadata.labels.[":      "metadata.labels.[",
	} {
		if got := withoutIndexes(path); got != want {
			t.Errorf("%q without indexes is %q, want %q", path, got, want)
		}
	}
}
