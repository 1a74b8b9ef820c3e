package netfilter

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"kube-ipvs-proxy/internal/dataplane"
)

// lacking says that programs are missing, which for the caller is the same as a kernel without the feature.
type lacking string

func (l lacking) Error() string { return string(l) }

func (l lacking) Is(target error) bool { return target == dataplane.ErrUnavailable }

// cause maps what the iptables programs say to what callers act on.
type cause struct {
	text   string
	means  error
	remedy string
}

// causes returns the known messages, most specific first. The texts are those of iptables 1.8; LC_ALL=C keeps libc's
// part of them in English.
func causes() []cause {
	return []cause{
		{"holding the xtables lock", dataplane.ErrConflict, "another program holds the lock; it is tried again"},
		{"Can't open socket to ipset", dataplane.ErrPermission, "the container needs CAP_NET_RAW, too"},
		{"ermission denied", dataplane.ErrPermission, "the container needs CAP_NET_ADMIN and CAP_NET_RAW"},
		{"peration not permitted", dataplane.ErrPermission, "the container needs CAP_NET_ADMIN and CAP_NET_RAW"},
		{"do you need to insmod", dataplane.ErrUnavailable, "load the kernel module that the message names on the host"},
		{"missing kernel module", dataplane.ErrUnavailable, "load the module of the extension on the host: for set, modprobe xt_set"},
		{"No chain/target/match by that name", dataplane.ErrUnavailable, "load the kernel module of the rule's match or target on the host"},
		{"Couldn't load", dataplane.ErrUnavailable, "install an iptables package that has this match or target"},
		{"Could not fetch rule set generation", dataplane.ErrUnavailable, "the kernel lacks nf_tables: load it, or use iptables-legacy"},
		{"No such file or directory", dataplane.ErrUnavailable, "load the kernel module of the rule's match or target on the host"},
		{"doesn't exist", dataplane.ErrNotExist, "the set must exist before the rule that uses it"},
		{"does not exist", dataplane.ErrNotExist, "the chain must exist before the rule that leads to it"},
		{"does a matching rule exist", dataplane.ErrConflict, "somebody changed the rules meanwhile; it is tried again"},
		{"Device or resource busy", dataplane.ErrConflict, "something else still uses it"},
	}
}

// explain turns the failure of a program into an error that says which line of its input was refused and what to do.
func explain(command Command, err error) error {
	exit := (*ExitError)(nil)
	switch {
	case errors.As(err, &exit):
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w: %w", command, err, dataplane.ErrPermission)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: %w: %w", command, err, dataplane.ErrUnavailable)
	default:
		return fmt.Errorf("%s: %w", command, err)
	}
	where, line := "", refusedLine(exit.Stderr, command.Stdin)
	if line != "" {
		where = fmt.Sprintf(" (refused line: %q)", line)
	}
	for _, cause := range causes() {
		if strings.Contains(exit.Stderr, cause.text) {
			return fmt.Errorf("%s%s: %w: %w; %s", command, where, exit, cause.means, cause.remedy)
		}
	}
	return fmt.Errorf("%s%s: %w: %w", command, where, exit, unexplained(line))
}

// unexplained types a refusal without a reason, which is all that iptables-legacy has to say of a rule to be deleted.
// That one was there when the rules were read, so somebody else was faster, and the next reading will tell.
func unexplained(line string) error {
	if strings.HasPrefix(line, "-D ") {
		return dataplane.ErrConflict
	}
	return dataplane.ErrInvalid
}

// refusedLine finds the line of the input that the message is about. iptables-legacy can only tell that the kernel
// refused a whole table; its line is then COMMIT.
func refusedLine(stderr, input string) string {
	match := regexp.MustCompile(`line:? (\d+)`).FindStringSubmatch(stderr)
	if match == nil {
		return ""
	}
	number, err := strconv.Atoi(match[1])
	lines := strings.Split(input, "\n")
	if err != nil || number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}
