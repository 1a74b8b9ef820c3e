package ipset

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// refused is what becomes of the kernel's refusal with a code; 0 is success.
func refused(code int, bitmap bool, action string) error {
	if code == 0 {
		return failure(nil, bitmap, action)
	}
	return failure(&nlbatch.Refusal{Errno: unix.Errno(code)}, bitmap, action)
}

func TestCodesBecomeTypedErrors(t *testing.T) {
	for _, c := range []struct {
		code   int
		bitmap bool
		want   error
	}{
		{int(unix.ENOENT), false, dataplane.ErrNotExist},
		{int(unix.ENOENT), false, unix.ENOENT},
		{int(unix.EPERM), false, dataplane.ErrPermission},
		{int(unix.EINVAL), false, dataplane.ErrInvalid},
		{int(unix.EEXIST), false, dataplane.ErrConflict},
		{int(unix.EOPNOTSUPP), false, dataplane.ErrUnavailable},
		{int(unix.EBUSY), false, unix.EBUSY},
		{int(unix.ENOMEM), false, unix.ENOMEM},
		{codeProtocol, false, dataplane.ErrInvalid},
		{codeFindType, false, dataplane.ErrUnavailable},
		{codeBusy, false, unix.EBUSY},
		{codeExistSetName2, false, dataplane.ErrNotExist},
		{codeTypeMismatch, false, dataplane.ErrConflict},
		{codeInvalidCIDR, false, dataplane.ErrInvalid},
		{codeIPv4, false, dataplane.ErrInvalid},
		{codeSKBInfo, false, dataplane.ErrInvalid},
		{4200, false, dataplane.ErrInvalid},
		{codeTypeSpecific, false, dataplane.ErrSetFull},
		{codeTypeSpecific, true, dataplane.ErrInvalid},
		{codeBitmapRangeSize, true, dataplane.ErrInvalid},
		{codeHashElem, false, dataplane.ErrInvalid},
		{codeMissingProto, false, dataplane.ErrInvalid},
		{codeHashRange, false, dataplane.ErrInvalid},
		{4400, false, dataplane.ErrInvalid},
		{4400, true, dataplane.ErrInvalid},
	} {
		err := refused(c.code, c.bitmap, "do a thing")
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "do a thing") {
			t.Errorf("code %d: %v is not %v", c.code, err, c.want)
		}
	}
	for _, code := range []int{codeMaxSets, codeExist} {
		var typed *Error
		if err := refused(code, false, "create"); !errors.As(err, &typed) || typed.Code != code {
			t.Errorf("code %d: %v", code, err)
		}
	}
	if err := refused(0, false, "add"); err != nil {
		t.Errorf("success became %v", err)
	}
	if errors.Is(refused(codeTypeSpecific, true, "add"), dataplane.ErrSetFull) {
		t.Error("a port out of range passes for a full set")
	}
}

func TestMissingSubsystemComesWithARemedy(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EPROTONOSUPPORT} {
		err := openError(refused(int(errno), false, "agree"))
		if !errors.Is(err, dataplane.ErrUnavailable) || !strings.Contains(err.Error(), "modprobe ip_set") {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := openError(refused(int(unix.EPERM), false, "agree")); !errors.Is(err, dataplane.ErrPermission) {
		t.Errorf("a missing capability became %v", err)
	}
}

func TestErrorsNameTheObjectAndTheRemedy(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&ConflictError{Set: "S", Found: "hash:ip family inet", Wanted: "bitmap:port"},
			"ipset: set S exists as hash:ip family inet where bitmap:port is wanted: remove the rules that refer to it, then destroy it"},
		{refused(codeTypeSpecific, false, "add S 10.0.0.1"), "ipset: add S 10.0.0.1: the set is full (code 4352)"},
		{failure(nlbatch.ErrLost, false, "list set S"), "ipset: list set S: answers of the kernel were lost"},
		{failure(&nlbatch.Refusal{Errno: unix.EINVAL, Text: "no such attribute"}, false, "list set S"),
			"ipset: list set S: refused as invalid: invalid argument: no such attribute (code 22)"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestVersionsAndRevisions(t *testing.T) {
	for _, c := range []struct {
		newest, oldest, want uint8
		ok                   bool
	}{{6, 6, 6, true}, {7, 6, 6, true}, {7, 7, 7, true}, {9, 7, 7, true}, {9, 8, 0, false}, {5, 5, 0, false}} {
		got, err := chooseVersion(c.newest, c.oldest)
		if got != c.want || (err == nil) != c.ok || (err != nil && !errors.Is(err, dataplane.ErrUnavailable)) {
			t.Errorf("versions %d to %d: chose %d, %v", c.oldest, c.newest, got, err)
		}
	}
	for _, c := range [][4]uint8{{5, 7, 0, 5}, {5, 3, 0, 3}, {5, 9, 6, 6}} {
		if got := chooseRevision(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("of revisions %d to %d wanted %d, chose %d", c[2], c[1], c[0], got)
		}
	}
}
