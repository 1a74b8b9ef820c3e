package link

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
)

// typed adds the kind of error and a way out to what the kernel answered.
func typed(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	switch errno {
	case unix.EPERM:
		return fmt.Errorf("%w: interfaces and addresses need CAP_NET_ADMIN (%w)", dataplane.ErrPermission, err)
	case unix.EACCES: // only IPv6 answers so
		return fmt.Errorf("IPv6 is %w: set net.ipv6.conf.%s.disable_ipv6 to 0 (%w)", dataplane.ErrUnavailable, dataplane.Device, err)
	case unix.EOPNOTSUPP, unix.EAFNOSUPPORT:
		return fmt.Errorf("%w (%w)", dataplane.ErrUnavailable, err)
	case unix.ENODEV, unix.ENXIO:
		return fmt.Errorf("device %s %w (%w)", dataplane.Device, dataplane.ErrNotExist, err)
	case unix.EINVAL, unix.EADDRNOTAVAIL, unix.ERANGE:
		return fmt.Errorf("the kernel %w (%w)", dataplane.ErrInvalid, err)
	}
	return err
}

// broken reports whether an error means that the library's socket is of no more use, or out of step with the kernel.
func broken(err error) bool {
	for _, sign := range []error{os.ErrClosed, unix.EBADF, unix.ENOTSOCK, unix.ENOTCONN, unix.ENETDOWN,
		unix.ECONNREFUSED, unix.ENOBUFS, unix.EAGAIN} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}
