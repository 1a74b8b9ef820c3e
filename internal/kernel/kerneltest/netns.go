package kerneltest

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// LabVariable is set in the environment of programs that e2e/lab runs on a kernel with IPVS, to "vm" or "native".
const LabVariable = "KUBE_IPVS_PROXY_LAB"

// NeedLab skips the test unless it runs on a kernel known to have IPVS, and says how to run it there.
func NeedLab(t testing.TB) {
	t.Helper()
	if os.Getenv(LabVariable) == "" {
		t.Skip("needs a kernel with IPVS: run `make kernel-test`")
	}
}

// Netns moves the test's goroutine into a fresh network namespace with the loopback interface up, and back when the test
// ends. The goroutine stays locked to its thread; sockets must be opened, and processes started, on it.
func Netns(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatalf("read the current network namespace: %v", err)
	}
	fresh, err := netns.New()
	if err != nil {
		t.Fatalf("create a network namespace (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := netns.Set(before); err != nil {
			t.Errorf("return to the former network namespace: %v", err) // the thread stays locked and dies with the goroutine
			return
		}
		runtime.UnlockOSThread()
		_ = before.Close()
		_ = fresh.Close()
	})
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatalf("find lo: %v", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatalf("set lo up: %v", err)
	}
}
