package ipvs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// operationError gives a failed operation's error its name, its kind and a way out. IPVS answers ESRCH when the virtual
// server is not there, and ENOENT when the real server or the scheduler is not.
func operationError(op dataplane.Operation, err error) error {
	errno := nlbatch.RefusedWith(err)
	v, onService := op.Object.(dataplane.VirtualServer)
	switch {
	case errno == 0:
		return fmt.Errorf("%s: %w", op, err)
	case errno == unix.ENOENT && onService:
		return fmt.Errorf("%s: %w (%w)", op, noScheduler(v.Scheduler), err)
	case errno == unix.ESRCH && !onService:
		return fmt.Errorf("%s: the virtual server %w (%w)", op, dataplane.ErrNotExist, err)
	case errno == unix.ESRCH || errno == unix.ENOENT:
		return fmt.Errorf("%s: it %w (%w)", op, dataplane.ErrNotExist, err)
	}
	return fmt.Errorf("%s: %w", op, requestError(err))
}

// requestError adds the kind of error and a way out to refusals that mean the same for every request.
func requestError(err error) error {
	switch nlbatch.RefusedWith(err) {
	case unix.EPERM, unix.EACCES:
		return fmt.Errorf("%w: IPVS needs CAP_NET_ADMIN (%w)", dataplane.ErrPermission, err)
	case unix.EINVAL, unix.ERANGE, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EMSGSIZE, unix.E2BIG:
		return fmt.Errorf("the kernel %w (%w)", dataplane.ErrInvalid, err)
	case unix.EOPNOTSUPP:
		return fmt.Errorf("%w (%w)", dataplane.ErrUnavailable, err)
	}
	return err
}

func noScheduler(name string) error {
	return fmt.Errorf("IPVS %w: %q; load its module: modprobe ip_vs_%s", dataplane.ErrNoScheduler, name, name)
}

// validate refuses what cannot be encoded. What can be, the kernel judges.
func validate(object dataplane.Object) error {
	switch x := object.(type) {
	case dataplane.VirtualServer:
		switch {
		case len(x.Scheduler) > schedulerMax:
			return noScheduler(x.Scheduler)
		case int(x.MaskBits) > x.Key.Family.Bits():
			return fmt.Errorf("%w: prefix length %d of an %s client", dataplane.ErrInvalid, x.MaskBits, x.Key.Family)
		}
		return validateKey(x.Key)
	case dataplane.Member:
		if !x.Addr.IsValid() {
			return fmt.Errorf("%w: a real server without an address", dataplane.ErrInvalid)
		}
		return validateKey(x.VirtualServer)
	}
	return fmt.Errorf("%w: %T is no object of IPVS", dataplane.ErrInvalid, object)
}

func validateKey(key dataplane.VirtualServerKey) error {
	switch {
	case key.Family != dataplane.IPv4 && key.Family != dataplane.IPv6:
		return fmt.Errorf("%w: a virtual server of no family", dataplane.ErrInvalid)
	case key.Mark != 0 && key == dataplane.MarkKeyOf(key.Family, key.Mark):
		return nil
	case key.Mark != 0:
		return fmt.Errorf("%w: a virtual server with both a firewall mark and an address", dataplane.ErrInvalid)
	case !key.Addr.IsValid() || dataplane.FamilyOf(key.Addr) != key.Family:
		return fmt.Errorf("%w: a virtual server without an address of its family", dataplane.ErrInvalid)
	case key.Protocol == 0:
		return fmt.Errorf("%w: a virtual server without a protocol", dataplane.ErrInvalid)
	}
	return nil
}
