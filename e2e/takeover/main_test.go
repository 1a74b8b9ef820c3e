package takeover

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kube-ipvs-proxy/e2e/cluster"
)

func TestMain(m *testing.M) {
	status := m.Run()
	left := os.Remove(copied())
	if errors.Is(left, os.ErrNotExist) {
		left = nil
	}
	if err := errors.Join(cluster.Clean(), left); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// copied is where kube-proxy is copied to, from where it starts faster than from what the lab's machine shares with its host.
func copied() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("kube-proxy-takeover-%d", os.Getpid()))
}
