package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
)

// socketFor returns the name of an abstract socket that no other test uses.
func socketFor(t *testing.T) string { return "@" + filepath.Base(t.TempDir()) + t.Name() }

// The second daemon is refused, and told who the first is; when that has gone, the lock is free.
func TestSecondDaemonIsRefused(t *testing.T) {
	name := socketFor(t)
	first, err := takeLock(t.Context(), name, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	_, err = takeLock(t.Context(), name, zap.NewNop())
	if err == nil {
		t.Fatal("the lock was taken twice")
	}
	for _, part := range []string{fmt.Sprint("PID ", os.Getpid()), fmt.Sprint("process ", os.Getpid()), "started " + time.Now().UTC().Format("2006-"), os.Args[0], "end it first"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the refusal %q lacks %q", err, part)
		}
	}
	first.close()
	again, err := takeLock(t.Context(), name, zap.NewNop())
	if err != nil {
		t.Fatalf("after the first one's end: %v", err)
	}
	again.close()
}

// A process that holds the socket and says nothing holds up the refusal for a moment only.
func TestSilentHolderIsNamed(t *testing.T) {
	name := socketFor(t)
	listener, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, err = takeLock(t.Context(), name, zap.NewNop())
	if want := fmt.Sprint("PID ", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("refusal %v, want one with %q", err, want)
	}
}

// The view is what the daemon has to show: nothing before it knows, then that, and to nobody whose user is not known.
func TestViewOverTheSocket(t *testing.T) {
	name := socketFor(t)
	if _, err := askView(t.Context(), name); !errors.Is(err, errNoDaemon) {
		t.Errorf("without a daemon: %v", err)
	}
	held, err := takeLock(t.Context(), name, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer held.close()
	if _, err := askView(t.Context(), name); err == nil || !strings.Contains(err.Error(), "starting") {
		t.Errorf("before there is a view: %v", err)
	}
	held.show(admin.Answers{View: func(context.Context) (admin.View, error) {
		return admin.View{Settings: admin.Settings{Node: "node-1"}}, nil
	}})
	view, err := askView(t.Context(), name)
	if err != nil || view.Settings.Node != "node-1" {
		t.Errorf("view %+v, error %v", view, err)
	}
	recorder := httptest.NewRecorder()
	held.web.Handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/view", nil))
	if recorder.Code != http.StatusForbidden {
		t.Errorf("somebody without credentials is answered %d", recorder.Code)
	}
}

// Kube-proxy is recognised by what it says at the default address or the configured one, and by nothing else.
func TestRivalIsRecognised(t *testing.T) {
	says := ""
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/proxyMode" {
			_, _ = w.Write([]byte(says)) // the test's own end would fail
			return
		}
		http.NotFound(w, r)
	}))
	defer web.Close()
	at := config.Serve{Metrics: web.Listener.Addr().String()}
	for _, word := range []string{"iptables", "ipvs", "nftables\n"} {
		says = word
		err := refuseRival(t.Context(), at)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(word)) || !strings.Contains(err.Error(), "--"+ignoreFlag) {
			t.Errorf("where %q is said: %v", word, err)
		}
	}
	says = "hello"
	if err := refuseRival(t.Context(), at); err != nil {
		t.Errorf("a stranger is taken for kube-proxy: %v", err)
	}
	web.Close()
	if err := refuseRival(t.Context(), at); err != nil {
		t.Errorf("nobody is taken for kube-proxy: %v", err)
	}
}

func TestRivalAddresses(t *testing.T) {
	const usual = "127.0.0.1:10249"
	for metrics, want := range map[string]string{
		"":                usual,
		usual:             usual,
		"0.0.0.0:10249":   usual,
		"0.0.0.0:9999":    usual + " 127.0.0.1:9999",
		"[::]:9999":       usual + " 127.0.0.1:9999",
		"[::1]:10249":     usual + " [::1]:10249",
		"192.0.2.1:10249": usual + " 192.0.2.1:10249",
	} {
		if got := strings.Join(rivalAddresses(metrics), " "); got != want {
			t.Errorf("with %q: %s, want %s", metrics, got, want)
		}
	}
}
