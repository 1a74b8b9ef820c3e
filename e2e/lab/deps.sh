#!/bin/sh
# Installs the Debian or Ubuntu packages that the lab and the programs run in it need.
# Says nothing when everything is there. Run it as root: `make lab-deps`.
set -eu

wanted="qemu-system-x86 qemu-system-common kmod zstd xz-utils ipvsadm ipset iptables nftables conntrack
	iproute2 iputils-ping procps tcpdump strace curl ca-certificates git gcc libc6-dev chromium"

have() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

updated=""
install() {
	if ! command -v apt-get >/dev/null; then
		echo "lab-deps: no apt-get here; install these by other means: $*" >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		echo "lab-deps: missing: $*; run 'sudo make lab-deps'" >&2
		exit 1
	fi
	echo "lab-deps: installing $*" >&2
	export DEBIAN_FRONTEND=noninteractive
	if [ -z "$updated" ] && ! apt-get install -qq -y --no-install-recommends --dry-run "$@" >/dev/null 2>&1; then
		refresh
	fi
	get "$@" || { refresh && get "$@"; }
}

refresh() {
	[ -z "$updated" ] || return 1
	updated=yes
	echo "lab-deps: apt-get update" >&2
	apt-get update -qq
}

# The lock timeout lets two installations queue instead of one failing.
get() { apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=600 "$@" >&2; }

missing=""
for package in $wanted; do
	have "$package" || missing="$missing $package"
done
# shellcheck disable=SC2086 # a list of words on purpose
[ -z "$missing" ] || install $missing

# Newer releases ship virtiofsd in a package of its own.
if [ ! -x /usr/lib/qemu/virtiofsd ] && [ ! -x /usr/libexec/virtiofsd ]; then
	install virtiofsd
fi
