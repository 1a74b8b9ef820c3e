package sysctl

import (
	"fmt"
	"strconv"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// reuseMode decides what IPVS does with a client port that is used again while its old connection is still known.
const reuseMode = "net/ipv4/vs/conn_reuse_mode"

// version is a kernel release's first two numbers.
type version struct{ major, minor int }

// parseVersion reads a release as uname -r prints it, such as "5.4.0-150-generic" or "6.1-rc3".
func parseVersion(release string) (version, error) {
	major, rest, found := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	a, errMajor := strconv.Atoi(major)
	b, errMinor := strconv.Atoi(rest[:end])
	if !found || errMajor != nil || errMinor != nil || a < 0 {
		return version{}, fmt.Errorf("kernel release %q is not understood: %w", release, dataplane.ErrInvalid)
	}
	return version{a, b}, nil
}

func (v version) atLeast(o version) bool {
	return v.major > o.major || v.major == o.major && v.minor >= o.minor
}

// reusesPortsSlowly reports whether the kernel drops the first packet on a reused port, which costs the client a second
// (P07). conn_reuse_mode came with 4.1; since 5.9 the kernel schedules such a connection anew without the drop, and
// mode 0 would only send new connections to drained real servers.
func (v version) reusesPortsSlowly() bool {
	return v.atLeast(version{4, 1}) && !v.atLeast(version{5, 9})
}
