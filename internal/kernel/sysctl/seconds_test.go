package sysctl

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSeconds(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "timeout"), []byte("180\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	system := System{ProcSys: root}
	if got := system.Seconds("timeout"); got != 3*time.Minute {
		t.Errorf("timeout of 180 read as %v", got)
	}
	if got := system.Seconds("missing"); got != 0 {
		t.Errorf("a missing parameter read as %v, want 0", got)
	}
}
