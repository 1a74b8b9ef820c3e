package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/netfilter"
	"kube-ipvs-proxy/internal/reconcile"
)

// errNoDaemon: no daemon runs in this network namespace.
var errNoDaemon = errors.New("no kube-ipvs-proxy runs in this network namespace")

// settingsOf returns what of the configuration decides what is the daemon's own.
func settingsOf(cfg config.Config) admin.Settings {
	return admin.Settings{Node: cfg.Node.Name, ExcludeCIDRs: cfg.IPVS.Exclude,
		InternalMarks: admin.MarkRange(cfg.Masquerade.Marks), MasqueradeMark: cfg.Masquerade.Mark}
}

// viewOf returns the function that makes the view of a reconciler.
func viewOf(reconciler *reconcile.Reconciler, cfg config.Config) func(context.Context) (admin.View, error) {
	settings, parameters := settingsOf(cfg), parametersOf(cfg)
	return func(ctx context.Context) (admin.View, error) {
		view, err := reconciler.View(ctx)
		if err != nil {
			return admin.View{}, err
		}
		of, err := admin.Of(view, settings, compileRules)
		of.Parameters = parameters
		return of, err
	}
}

// answersOf returns what a daemon with a reconciler has to say.
func answersOf(reconciler *reconcile.Reconciler, cfg config.Config) admin.Answers {
	return admin.Answers{View: viewOf(reconciler, cfg), Explain: explainOf(reconciler, cfg), Servers: serversOf(reconciler, cfg)}
}

// compileRules puts rules into the words of iptables-save.
func compileRules(rules dataplane.Ruleset) ([]admin.Table, error) {
	compiled, err := netfilter.Compile(rules)
	tables := make([]admin.Table, len(compiled))
	for i, table := range compiled {
		tables[i] = admin.Table{Family: table.Family.String(), Name: string(table.Name)}
		for _, chain := range table.Chains {
			tables[i].Chains = append(tables[i].Chains, admin.Chain(chain))
		}
		for _, jump := range table.Jumps {
			tables[i].Jumps = append(tables[i].Jumps, admin.Jump(jump))
		}
	}
	return tables, err
}

// peerKey is under which a connection's context has the credentials of its other end.
type peerKey struct{}

func withPeer(ctx context.Context, connection net.Conn) context.Context {
	peer, err := peerOf(connection)
	if err != nil {
		return ctx // without them nothing is answered
	}
	return context.WithValue(ctx, peerKey{}, peer)
}

// forPrivileged answers the superuser and the daemon's own user only: what Services there are is not for everybody.
func forPrivileged(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, known := r.Context().Value(peerKey{}).(unix.Ucred)
		if !known || !privileged(peer) {
			http.Error(w, "only root may ask the daemon what it does", http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

func privileged(peer unix.Ucred) bool { return peer.Uid == 0 || int(peer.Uid) == os.Geteuid() }

// peerOf returns the credentials of the process at the other end of a Unix socket, or of the one that listens there.
func peerOf(connection net.Conn) (unix.Ucred, error) {
	socket, ok := connection.(*net.UnixConn)
	if !ok {
		return unix.Ucred{}, fmt.Errorf("%T has no credentials", connection)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return unix.Ucred{}, err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return unix.Ucred{}, err
	}
	if peerErr != nil {
		return unix.Ucred{}, fmt.Errorf("read the credentials of the other end: %w", peerErr)
	}
	return *peer, nil
}

// dialDaemon connects to the daemon of this network namespace, or whoever has its socket. ErrNoDaemon: there is none.
func dialDaemon(ctx context.Context, name string) (net.Conn, unix.Ucred, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, unix.Ucred{}, errNoDaemon
	}
	if err != nil {
		return nil, unix.Ucred{}, fmt.Errorf("connect to the daemon's socket %s: %w", name, err)
	}
	peer, err := peerOf(connection)
	if err != nil {
		return nil, unix.Ucred{}, errors.Join(err, connection.Close())
	}
	return connection, peer, nil
}

// askView asks the daemon what it wants. ErrNoDaemon: there is none.
func askView(ctx context.Context, name string) (admin.View, error) {
	var view admin.View
	err := askDaemon(ctx, name, "/view", &view)
	return view, err
}

// askDaemon asks the daemon for JSON. ErrNoDaemon: there is none.
func askDaemon(ctx context.Context, name, path string, into any) error {
	connection, peer, err := dialDaemon(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }() // asking may have closed it
	if !privileged(peer) {
		return fmt.Errorf("the socket %s is that of process %d of user %d, who is not to be trusted with what it says: end it",
			name, peer.Pid, peer.Uid)
	}
	return get(ctx, connection, path, into)
}

// get asks for JSON over a connection.
func get(ctx context.Context, connection net.Conn, path string, into any) error {
	body, err := fetch(ctx, connection, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("understand the daemon's answer to %s: %w", path, err)
	}
	return nil
}

// mostAnswer bounds what is read of an answer, in bytes: a view of many more Services than a node can have.
const mostAnswer = 1 << 30

// fetch asks for a path over a connection and returns the body.
func fetch(ctx context.Context, connection net.Conn, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return connection, nil }}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", path, err)
	}
	switch response.StatusCode {
	case http.StatusOK:
		return body, nil
	case http.StatusNotFound:
		return nil, fmt.Errorf("the daemon is of another version than this program and does not know %s: use the program that it runs", path)
	default:
		return nil, fmt.Errorf("%s answers %s: %s", path, response.Status, strings.TrimSpace(string(body)))
	}
}
