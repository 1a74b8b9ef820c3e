package deploy

import (
	"fmt"
	"os"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(containerVariable); spec != "" {
		fmt.Fprintln(os.Stderr, "container:", becomeContainer(spec)) // it returns only when it fails
		os.Exit(notStarted)
	}
	os.Exit(cluster.Main(m))
}
