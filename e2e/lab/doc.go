// Command lab runs any program on a Linux kernel that has IPVS, and gets out of the way:
// arguments, environment, working directory, standard streams and exit status pass through.
//
// Where the host can load ip_vs and dummy, the program runs on the host's own kernel, in fresh
// network, mount, PID and UTS namespaces. Elsewhere it runs in a QEMU virtual machine under
// software emulation: a stock Debian kernel whose root is the host's own file system over
// virtiofs, with a tmpfs overlay on top, so that every program of the host is there and what the
// program writes outside its working directory disappears with the machine. Either way it starts as
// root in a network namespace that holds a loopback device and nothing else.
//
// It is made to be the -exec wrapper of go test: one boot for each package.
//
// Out of scope: building images, several machines (several nodes are several network namespaces),
// terminals inside the virtual machine, and architectures other than amd64 for it.
package main
