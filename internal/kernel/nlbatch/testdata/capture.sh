#!/bin/sh
# capture.sh PROGRAM COMMAND...: runs the command and prints "PROGRAM | COMMAND | hex" for each netlink request that it
# sends: the whole message, with sequence number and port number set to 0. Needs strace; run it on a little-endian machine.
set -eu
program=$1
shift
trace=$(mktemp)
trap 'rm -f "$trace"' EXIT
strace -f -qq -e signal=none -e trace=sendto,sendmsg -e write=all -o "$trace" "$@" >/dev/null
awk -v head="$program | $(printf '%s ' "$@")| " '
function flush() { if (hex != "") print head substr(hex, 1, 16) "0000000000000000" substr(hex, 33) }
/AF_NETLINK|sendmsg\(|sendto\(/ { flush(); hex = ""; netlink = /AF_NETLINK|nlmsg_len/ }
/^ \| / && netlink { line = substr($0, 11, 48); gsub(/ /, "", line); hex = hex line }
END { flush() }' "$trace"
