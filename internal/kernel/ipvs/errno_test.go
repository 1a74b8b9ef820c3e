package ipvs

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

func TestOperationErrors(t *testing.T) {
	service := op(dataplane.Add, vs(tcp("192.0.2.1:80")))
	member := op(dataplane.Edit, rs(tcp("192.0.2.1:80"), "198.51.100.1:80", 1))
	all := []error{dataplane.ErrNotExist, dataplane.ErrNoScheduler, dataplane.ErrConflict, dataplane.ErrPermission, dataplane.ErrUnavailable, dataplane.ErrInvalid}
	for _, test := range []struct {
		op    dataplane.Operation
		errno unix.Errno
		want  error // of all, the only one
	}{
		{service, unix.ENOENT, dataplane.ErrNoScheduler},
		{service, unix.ESRCH, dataplane.ErrNotExist},
		{member, unix.ENOENT, dataplane.ErrNotExist},
		{member, unix.ESRCH, dataplane.ErrNotExist},
		{member, unix.EPERM, dataplane.ErrPermission},
		{service, unix.EACCES, dataplane.ErrPermission},
		{service, unix.EINVAL, dataplane.ErrInvalid},
		{member, unix.ERANGE, dataplane.ErrInvalid},
		{service, unix.EAFNOSUPPORT, dataplane.ErrInvalid},
		{service, unix.EOPNOTSUPP, dataplane.ErrUnavailable},
		{service, unix.ENOMEM, nil},
	} {
		err := operationError(test.op, &nlbatch.Refusal{Errno: test.errno})
		if !errors.Is(err, test.errno) {
			t.Errorf("%v: the errno is lost in %v", test.errno, err)
		}
		for _, sentinel := range all {
			if errors.Is(err, sentinel) != (sentinel == test.want) {
				t.Errorf("%s, %v: %v", test.op, test.errno, err)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	key := tcp("192.0.2.1:80")
	both := dataplane.MarkKeyOf(dataplane.IPv4, 5)
	both.Addr = key.Addr
	wrongFamily := key
	wrongFamily.Family = dataplane.IPv6
	noProtocol := key
	noProtocol.Protocol = 0
	wide := vs(key)
	wide.MaskBits = 33
	long := vs(key)
	long.Scheduler = "sixteen-letters-"
	for _, test := range []struct {
		object dataplane.Object
		want   error
	}{
		{vs(key), nil},
		{vs(dataplane.MarkKeyOf(dataplane.IPv6, 5)), nil},
		{vs(dataplane.KeyOf(dataplane.UDP, netip.MustParseAddr("::ffff:192.0.2.1"), 53)), nil},
		{rs(key, "198.51.100.1:80", 1), nil},
		{vs(both), dataplane.ErrInvalid},
		{vs(wrongFamily), dataplane.ErrInvalid},
		{vs(noProtocol), dataplane.ErrInvalid},
		{vs(dataplane.VirtualServerKey{}), dataplane.ErrInvalid},
		{vs(dataplane.MarkKeyOf(dataplane.IPv4, 0)), dataplane.ErrInvalid},
		{wide, dataplane.ErrInvalid},
		{long, dataplane.ErrNoScheduler},
		{dataplane.Member{VirtualServer: key}, dataplane.ErrInvalid},
		{rs(noProtocol, "198.51.100.1:80", 1), dataplane.ErrInvalid},
		{dataplane.Flows{}, dataplane.ErrInvalid},
		{nil, dataplane.ErrInvalid},
	} {
		if err := validate(test.object); !errors.Is(err, test.want) {
			t.Errorf("%v: %v", test.object, err)
		}
	}
}
