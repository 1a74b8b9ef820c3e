package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"kube-ipvs-proxy/internal/admin"
)

// What changes while it is looked at is no alarm; what stays missing is, and an error is told at once.
func TestStatusLooksAgain(t *testing.T) {
	missing, stray, none := admin.Summary{Missing: 1}, admin.Summary{Stray: 1}, admin.Summary{Draining: 1}
	failure := errors.New("no answer")
	for name, c := range map[string]struct {
		daemon bool
		found  []admin.Summary // look by look
		err    error
		looks  int
	}{
		"as wanted":           {true, []admin.Summary{none}, nil, 1},
		"a change under way":  {true, []admin.Summary{missing, none}, nil, 2},
		"two of them":         {true, []admin.Summary{missing, stray, none}, nil, 3},
		"drained no longer":   {true, []admin.Summary{{OtherWeight: 1}, none}, nil, 2},
		"missing":             {true, []admin.Summary{missing, missing, missing, missing}, nil, 3},
		"without a daemon":    {false, []admin.Summary{missing}, nil, 1},
		"no answer":           {true, []admin.Summary{missing}, failure, 1},
		"changes and no more": {true, []admin.Summary{stray, missing, missing, none}, nil, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looks := 0
				status, err := steady(t.Context(), func(context.Context) (admin.Status, error) {
					looks++
					return admin.Status{Daemon: c.daemon, Summary: c.found[looks-1]}, c.err
				})
				if looks != c.looks || status.Summary != c.found[looks-1] || !errors.Is(err, c.err) {
					t.Errorf("%d looks, %+v, %v; want %d looks and %v", looks, status.Summary, err, c.looks, c.err)
				}
			})
		})
	}
}

// Who has seen enough does not wait for a second look.
func TestStatusStopsLooking(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := steady(ctx, func(context.Context) (admin.Status, error) {
		cancel()
		return admin.Status{Daemon: true, Summary: admin.Summary{Missing: 1}}, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A program that reads the statuses of --watch -o json does not stumble over a daemon that restarts.
func TestComplaintsAreApart(t *testing.T) {
	var out, warnings strings.Builder
	if err := complain(errors.New("a zone \x1b[2J"), &out, &warnings); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 || warnings.String() != "a zone \uFFFD[2J\n" {
		t.Errorf("printed %q and %q", out.String(), warnings.String())
	}
}

// A daemon from before a question was thought of does not know it; who asks is told so.
func TestDaemonOfAnotherVersion(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "daemon")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NewServeMux()}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	var said admin.Explanation
	if err := askDaemon(t.Context(), socket, "/explain?to=10.0.0.1:80", &said); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("error %v", err)
	}
}
