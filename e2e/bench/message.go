package main

import (
	"regexp"
	"slices"
	"strings"
)

// message is a netlink message as strace shows it.
type message struct {
	kind    string // its type
	dump    bool   // asks for a table
	command string // the first byte of what strace does not decode, two hexadecimal digits
}

const ipvsFamily = "IPVS" // the type of its messages

// Commands of linux/ip_vs.h, version 1, that only read: GET_SERVICE, GET_DEST, GET_DAEMON, GET_CONFIG, SET_INFO, which only
// the kernel sends, and GET_INFO.
const (
	getDest = "08"
	getters = "04,08,0b,0d,0e,0f"
)

// dumpFlags is NLM_F_DUMP where strace does not know the subsystem's requests.
const dumpFlags = "0x300"

// netlinkMessages finds the messages in the arguments of a system call: a header in braces, and what follows it.
func netlinkMessages(arguments string) []message {
	header := regexp.MustCompile(`\{nlmsg_len=[1-9]\d*, nlmsg_type=([^,]*), nlmsg_flags=([^,]*), [^}]*\}(?:, "\\x([0-9a-f]{2}))?`)
	var all []message
	for _, found := range header.FindAllStringSubmatch(arguments, -1) {
		flags := strings.Split(found[2], "|")
		all = append(all, message{kind: found[1], command: found[3],
			dump: slices.Contains(flags, "NLM_F_DUMP") || slices.Contains(flags, dumpFlags)})
	}
	return all
}

// write says whether the message is one that changes something, by the names that the kernel's headers give.
func (m message) write() bool {
	if m.kind == ipvsFamily {
		return !slices.Contains(strings.Split(getters, ","), m.command)
	}
	return slices.ContainsFunc([]string{"_NEW", "_DEL", "_SET", "_ADD", "CREATE", "DESTROY", "FLUSH", "RENAME", "SWAP"},
		func(verb string) bool { return strings.Contains(m.kind, verb) })
}
