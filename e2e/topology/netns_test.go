package topology

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// limit bounds what these tests wait for.
const limit = time.Minute

// namespace makes a namespace for a test.
func namespace(t *testing.T) *Netns {
	t.Helper()
	n, err := newNetns("alone")
	if err != nil {
		t.Fatal(err)
	}
	n.closeAfter(t)
	return n
}

// current is the namespace of the calling thread.
func current(t *testing.T) string {
	t.Helper()
	handle, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	return handle.UniqueId()
}

func TestDoEntersAndReturns(t *testing.T) {
	n := namespace(t)
	outside := current(t)
	failure := errors.New("f's own")
	var inside, nested, after string
	other := namespace(t)
	err := n.Do(func() error {
		inside = current(t)
		if err := other.Do(func() error { nested = current(t); return nil }); err != nil {
			return err
		}
		after = current(t)
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v, want f's error", err)
	}
	if inside == outside || nested == inside || nested == outside || after != inside {
		t.Errorf("outside %s, inside %s, nested %s, after that %s", outside, inside, nested, after)
	}
	if got := current(t); got != outside {
		t.Errorf("afterwards in %s, want %s", got, outside)
	}
}

func TestDoReturnsWhenItsGoroutineEnds(t *testing.T) {
	n := namespace(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Do(func() error { runtime.Goexit(); return nil }) // what t.FailNow does
	}()
	<-done
	// Threads are reused: none may be left in the namespace.
	outside := current(t)
	for range 50 {
		seen := make(chan string)
		go func() {
			handle, err := netns.Get()
			if err != nil {
				seen <- err.Error()
				return
			}
			defer handle.Close()
			seen <- handle.UniqueId()
		}()
		if got := <-seen; got != outside {
			t.Fatalf("a goroutine runs in %s, want %s", got, outside)
		}
	}
}

func TestSysctlsAreTheNamespacesOwn(t *testing.T) {
	n, other := namespace(t), namespace(t)
	const key = "net/ipv4/ip_forward"
	if err := n.SetSysctl(key, "1"); err != nil {
		t.Fatal(err)
	}
	for namespace, want := range map[*Netns]string{n: "1", other: "0"} {
		if got, err := namespace.Sysctl(key); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %s", key, got, err, want)
		}
	}
	if _, err := n.Sysctl("net/no/such"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a setting that does not exist: %v, want %v", err, os.ErrNotExist)
	}
}

func TestCommandRunsInside(t *testing.T) {
	n := namespace(t)
	var want string
	if err := n.Do(func() error { link, err := os.Readlink("/proc/thread-self/ns/net"); want = link; return err }); err != nil {
		t.Fatal(err)
	}
	byOutput, err := n.Command(t.Context(), "readlink", "/proc/self/ns/net").Output()
	if err != nil || strings.TrimSpace(string(byOutput)) != want {
		t.Errorf("Output: %s, %v, want %s", byOutput, err, want)
	}
	combined, err := n.Command(t.Context(), "sh", "-c", "readlink /proc/self/ns/net >&2").CombinedOutput()
	if err != nil || strings.TrimSpace(string(combined)) != want {
		t.Errorf("CombinedOutput: %s, %v, want %s", combined, err, want)
	}
	var written strings.Builder
	run := n.Command(t.Context(), "readlink", "/proc/self/ns/net")
	run.Stdout = &written
	if err := run.Run(); err != nil || strings.TrimSpace(written.String()) != want {
		t.Errorf("Run: %s, %v, want %s", written.String(), err, want)
	}
	if entered, err := os.Readlink(n.Path()); err != nil || entered != want {
		t.Errorf("Path leads to %s, %v, want %s", entered, err, want)
	}
}

func TestNoCommandOutlivesItsNamespace(t *testing.T) {
	n, err := newNetns("alone")
	if err != nil {
		t.Fatal(err)
	}
	command := n.Command(t.Context(), "sh", "-c", "sleep 1000 & echo $!; wait")
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.close(), n.close()); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); command.ProcessState == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the command ended with %v, want it killed", err)
	}
	deadline := time.Now().Add(limit)
	for !ended(t, child) {
		if time.Now().After(deadline) {
			t.Fatalf("the command's child %d still runs", child)
		}
	}
	if err := n.Command(t.Context(), "true").Run(); err == nil {
		t.Error("a command starts in a closed namespace")
	}
}

// ended reports whether a process is gone, or only waits for its parent to notice.
func ended(t *testing.T, pid int) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(status), "\nState:\tZ")
}

func TestSocketsBelongToTheirNamespace(t *testing.T) {
	n, other := namespace(t), namespace(t)
	listener, err := n.Listen(TCP, netip.MustParseAddrPort("127.0.0.1:8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	at := netip.MustParseAddrPort("127.0.0.1:8080")
	connection, err := n.Dial(ctx, TCP, netip.MustParseAddrPort("127.0.0.5:4000"), at)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if got := connection.LocalAddr().String(); got != "127.0.0.5:4000" {
		t.Errorf("connected from %s, want what was asked for", got)
	}
	if _, err := other.Dial(ctx, TCP, netip.AddrPort{}, at); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("from another namespace: %v, want %v", err, syscall.ECONNREFUSED)
	}
	if _, err := n.Listen(UDP, at); err == nil {
		t.Error("UDP can be listened on")
	}
	if _, err := n.Dial(ctx, "ICMP", netip.AddrPort{}, at); err == nil {
		t.Error("an unknown protocol can be dialled")
	}
}

func TestForwardCanBeInterrupted(t *testing.T) {
	outside, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: limit, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	go func() { _ = server.Serve(outside) }()
	defer server.Close()
	n := namespace(t)
	forward := n.ForwardTCP(t, uint16(outside.Addr().(*net.TCPAddr).Port))
	client, url := n.HTTPClient(limit), "http://"+outside.Addr().String()
	expectTeapot(t, client, url)

	held, err := n.Dial(t.Context(), TCP, netip.AddrPort{}, netip.MustParseAddrPort(outside.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	forward.Stop()
	if err := held.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := held.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection from before: %v, want it cut", err)
	}
	if response, err := client.Get(url); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("while stopped: %v, %v, want %v", response, err, syscall.ECONNREFUSED)
	}
	for range 2 { // the second does nothing
		if err := forward.Start(); err != nil {
			t.Fatal(err)
		}
	}
	expectTeapot(t, client, url)
}

func expectTeapot(t *testing.T, client *http.Client, url string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusTeapot {
		t.Errorf("status %d, want %d", response.StatusCode, http.StatusTeapot)
	}
}
