package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asLab makes the test binary behave as lab itself.
const asLab = "LAB_TEST_AS_LAB"

func TestMain(m *testing.M) {
	if os.Args[0] == nativeInitName || os.Getenv(asLab) != "" {
		main()
	}
	os.Exit(m.Run())
}

// labResult is what a run of lab left.
type labResult struct {
	stdout, stderr string
	status         int
}

func nativeLab(t *testing.T, args ...string) labResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"-native"}, args...)...)
	cmd.Env = append(os.Environ(), asLab+"=1")
	cmd.Stdin = strings.NewReader("input\n")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run lab: %v", err)
	}
	return labResult{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// withoutRoot checks what lab can do for other users: say that it needs root.
func withoutRoot(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() == 0 {
		return false
	}
	if got := nativeLab(t, "true"); got.status != exitLabFailed || !strings.Contains(got.stderr, "root") {
		t.Errorf("%+v, want status %d and advice to be root", got, exitLabFailed)
	}
	return true
}

func TestNativePassesEverythingThrough(t *testing.T) {
	if withoutRoot(t) {
		return
	}
	t.Setenv("WEIRD", "a\nb\xff")
	got := nativeLab(t, "sh", "-c", `cat; printf '%s|' "$KUBE_IPVS_PROXY_LAB" "$WEIRD" "$PWD" "$@"; echo err >&2; exit 7`, "sh", "a b", "")
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := labResult{"input\nnative|a\nb\xff|" + dir + "|a b||", "err\n", 7}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestNativeExitStatuses(t *testing.T) {
	if withoutRoot(t) {
		return
	}
	cases := []struct {
		command []string
		want    int
	}{
		{[]string{"true"}, 0},
		{[]string{"no-such-command"}, exitNotFound},
		{[]string{"/etc/passwd"}, exitCannotExec},
		{[]string{"sh", "-c", "kill -9 $$"}, exitSignalShift + int(syscall.SIGKILL)},
		{[]string{"-timeout", "100ms", "sleep", "1000"}, exitTimeout},
	}
	for _, c := range cases {
		if got := nativeLab(t, c.command...); got.status != c.want {
			t.Errorf("%q: status %d, want %d; %s", c.command, got.status, c.want, got.stderr)
		}
	}
}

func TestNativeIsAlone(t *testing.T) {
	if withoutRoot(t) {
		return
	}
	got := nativeLab(t, "sh", "-c", "echo $$; ls /sys/class/net; ip link add leak0 type bridge; hostname")
	if !strings.HasSuffix(got.stdout, "\n"+labHostname+"\n") || !strings.Contains(got.stdout, "\nlo\n") || got.stderr != "" {
		t.Errorf("%+v, want a network namespace with lo only and hostname %s", got, labHostname)
	}
	if _, err := net.InterfaceByName("leak0"); err == nil {
		t.Error("a link made in the lab is on the host")
	}
}

func TestNativeForwardsLoopback(t *testing.T) {
	if withoutRoot(t) {
		return
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "from the host") // the client checks what arrives
	}))
	defer server.Close()
	port := server.Listener.Addr().(*net.TCPAddr).Port
	script := fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/%d; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3`, port)
	if got := nativeLab(t, "-forward", fmt.Sprint(port), "bash", "-c", script); !strings.HasSuffix(got.stdout, "from the host") {
		t.Errorf("%+v, want the host's answer", got)
	}
	if got := nativeLab(t, "bash", "-c", script); got.status == 0 {
		t.Errorf("%+v: reached the host without -forward", got)
	}
}
