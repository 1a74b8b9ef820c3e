package app

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is how long processors have worked for this process, in user and in kernel mode.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0 // not with these arguments
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
