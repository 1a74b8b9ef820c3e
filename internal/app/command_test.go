package app

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A command line that cannot be understood ends with the status of a wrong configuration, and says where to look.
func TestWrongCommandLine(t *testing.T) {
	unknown := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(unknown, []byte("kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nmode: iptables\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ argument, says string }{
		{"--nonsense", "--help"},
		{"--ipvs-scheduler", "--help"},
		{"--ipvs-sync-period=often", "--help"},
		{"nonsense", `"nonsense"`},
		{"--proxy-mode=nftables", "kube-proxy"},
		{"--config=" + unknown, "kube-proxy"},
		{"--config=/does/not/exist", "/does/not/exist"},
	} {
		command := NewCommand()
		command.SetArgs([]string{tt.argument})
		command.SetOut(io.Discard)
		err := command.ExecuteContext(t.Context())
		if err == nil || ExitStatus(err) != statusConfig || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: status %d, error %v; want status %d and something about %s", tt.argument, ExitStatus(err), err, statusConfig, tt.says)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for err, want := range map[error]int{
		nil:                              0,
		errors.New("any"):                1,
		context.Canceled:                 1,
		withStatus(statusKernel, io.EOF): statusKernel,
		errors.Join(io.EOF, withStatus(statusListen, io.EOF)): statusListen,
	} {
		if got := ExitStatus(err); got != want {
			t.Errorf("%v: status %d, want %d", err, got, want)
		}
	}
	if withStatus(statusKernel, nil) != nil {
		t.Error("no error became one")
	}
}
