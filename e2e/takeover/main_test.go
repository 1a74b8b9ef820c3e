package takeover

import (
	"os"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }
