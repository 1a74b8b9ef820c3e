package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
)

// lockName is an abstract Unix socket. Such sockets belong to a network namespace, as IPVS' tables do, and are gone with
// the process that has them, however that ends.
const lockName = "@kube-ipvs-proxy"

// lock is held by the one daemon of a network namespace. Its socket answers read-only questions, see package admin.
type lock struct {
	web     *http.Server // nil without a socket
	answers atomic.Pointer[admin.Answers]
}

// claim makes sure that nobody else works on the kernel, as far as the configuration has this process work on it.
func claim(ctx context.Context, cfg config.Config, ignoreRival bool, log *zap.Logger) (*lock, error) {
	if cfg.Run.InitOnly {
		return &lock{}, nil
	}
	held, err := takeLock(ctx, lockName, log)
	if err != nil {
		return nil, withStatus(statusTaken, err)
	}
	if ignoreRival || cfg.Run.Cleanup {
		return held, nil
	}
	if err := refuseRival(ctx, cfg.Serve); err != nil {
		held.close()
		return nil, withStatus(statusRival, err)
	}
	return held, nil
}

// takeLock takes the lock, or says who has it. If that is an unprivileged user's process, who must not be able to keep
// the node without Services, there is no lock, with a warning.
func takeLock(ctx context.Context, name string, log *zap.Logger) (*lock, error) {
	l := &lock{}
	listener, err := net.Listen("unix", name)
	if errors.Is(err, unix.EADDRINUSE) {
		holder, err := findHolder(ctx, name)
		if err == nil && !holder.trusted() {
			log.Warn("a process that may not change the kernel has the lock between daemons: this one runs without it, "+
				"and verify, explain and their like cannot ask it; end that process", zap.Stringer("process", holder))
			return l, nil
		}
		if err != nil {
			return nil, fmt.Errorf("another kube-ipvs-proxy runs in this network namespace (it has the socket %s, but cannot be asked: %w): "+
				"end it first", name, err)
		}
		return nil, fmt.Errorf("another kube-ipvs-proxy runs in this network namespace, and two undo each other's work: %s: end it first", holder)
	}
	if err != nil {
		return nil, fmt.Errorf("take the lock between daemons, the socket %s: %w", name, err)
	}
	identity := admin.Identity{PID: os.Getpid(), Started: time.Now(), Version: version(), Command: os.Args}
	l.web = &http.Server{Handler: forPrivileged(admin.Handler(identity, l.current)), ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, ConnContext: withPeer}
	go func() { _ = l.web.Serve(listener) }() // until close; it has no other reason to end
	return l, nil
}

// close gives the lock back.
func (l *lock) close() {
	if l.web != nil {
		_ = l.web.Close() // what is in use is closed, too
	}
}

// show has the socket give these answers from now on.
func (l *lock) show(answers admin.Answers) { l.answers.Store(&answers) }

func (l *lock) current() (admin.Answers, error) {
	answers := l.answers.Load()
	if answers == nil {
		return admin.Answers{}, errors.New("the daemon is starting, and does not know yet what it wants: try again")
	}
	return *answers, nil
}

// holder is the process that has the lock.
type holder struct {
	peer     unix.Ucred
	identity admin.Identity // zero if it did not say
}

// trusted reports whether the process may be one of ours: the superuser's, or of the same user as this one.
func (h holder) trusted() bool { return privileged(h.peer) }

// String names the process by all that helps to find it.
func (h holder) String() string {
	var parts []string
	if h.peer.Pid != 0 { // 0 if it is in a PID namespace that cannot be seen from here
		parts = append(parts, fmt.Sprintf("PID %d", h.peer.Pid))
	}
	parts = append(parts, fmt.Sprintf("user %d", h.peer.Uid))
	if h.identity.PID != 0 {
		parts = append(parts, h.identity.String())
	}
	return strings.Join(parts, ", ")
}

// holderPatience is how long the holder of the lock may take to say who it is.
const holderPatience = 5 * time.Second

// findHolder finds out who has the lock.
func findHolder(ctx context.Context, name string) (holder, error) {
	ctx, cancel := context.WithTimeout(ctx, holderPatience)
	defer cancel()
	connection, peer, err := dialDaemon(ctx, name)
	if err != nil {
		return holder{}, err
	}
	defer func() { _ = connection.Close() }() // asking may have closed it
	found := holder{peer: peer}
	if found.trusted() {
		// Who it is shows without its own words, too.
		_ = get(ctx, connection, "/identity", &found.identity)
	}
	return found, nil
}

// rivalModes are what kube-proxy answers to /proxyMode.
func rivalModes() []string { return []string{"iptables", "ipvs", "nftables", "userspace"} }

// rivalPatience is how long kube-proxy may take to answer.
const rivalPatience = 5 * time.Second

// refuseRival returns an error if kube-proxy runs on this node. The lock must be held, so that it is not another daemon of
// this kind that answers.
func refuseRival(ctx context.Context, serve config.Serve) error {
	for _, address := range rivalAddresses(serve.Metrics) {
		if mode := proxyMode(ctx, address); mode != "" {
			return fmt.Errorf("kube-proxy still runs on this node (http://%s/proxyMode says %s), and two proxies undo each other's work: "+
				"stop it, with kubectl -n kube-system delete daemonset kube-proxy or, so that it can come back, kubectl -n kube-system patch "+
				`daemonset kube-proxy -p '{"spec":{"template":{"spec":{"nodeSelector":{"kube-proxy":"off"}}}}}'`+
				"; --%s has this daemon start nevertheless", address, mode, ignoreFlag)
		}
	}
	return nil
}

// rivalAddresses are where kube-proxy answers if it has its default configuration, or the one of this daemon.
func rivalAddresses(metrics string) []string {
	addresses := []string{"127.0.0.1:10249"}
	configured, err := netip.ParseAddrPort(metrics)
	if err != nil {
		return addresses // none is configured
	}
	if configured.Addr().IsUnspecified() {
		configured = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), configured.Port())
	}
	if !slices.Contains(addresses, configured.String()) {
		addresses = append(addresses, configured.String())
	}
	return addresses
}

// proxyMode returns what kube-proxy answers at the address; empty if it does not.
func proxyMode(ctx context.Context, address string) string {
	ctx, cancel := context.WithTimeout(ctx, rivalPatience)
	defer cancel()
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return ""
	}
	defer func() { _ = connection.Close() }() // nothing is lost with it
	body, err := fetch(ctx, connection, "/proxyMode")
	mode := strings.TrimSpace(string(body))
	if err != nil || !slices.Contains(rivalModes(), mode) {
		return ""
	}
	return mode
}
