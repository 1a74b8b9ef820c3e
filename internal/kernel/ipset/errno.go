package ipset

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/nlbatch"
)

// Codes of ipset's own, include/uapi/linux/netfilter/ipset/ip_set.h enum ipset_errno. Those from codeTypeSpecific on mean
// different things for hash and bitmap types.
const (
	codePrivate         = 4096
	codeProtocol        = 4097
	codeFindType        = 4098
	codeMaxSets         = 4099
	codeBusy            = 4100
	codeExistSetName2   = 4101
	codeTypeMismatch    = 4102
	codeExist           = 4103
	codeInvalidCIDR     = 4104
	codeInvalidFamily   = 4106
	codeIPv4            = 4109
	codeIPv6            = 4110
	codeSKBInfo         = 4114
	codeTypeSpecific    = 4352
	codeHashElem        = codeTypeSpecific + 1
	codeInvalidProto    = codeTypeSpecific + 2
	codeMissingProto    = codeTypeSpecific + 3
	codeHashNetRange    = codeTypeSpecific + 4
	codeHashRange       = codeTypeSpecific + 5
	codeBitmapRangeSize = codeTypeSpecific + 1
)

// Error is the kernel's refusal of one request. It wraps one of package dataplane's errors where one fits, and the errno
// (EBUSY for the codes with which ipset says that a set is in use).
type Error struct {
	Action string // what was tried, with the object: "add KUBE-CLUSTER-IP 10.96.0.1,tcp:443"
	Code   int    // positive errno, or one of ipset's own from 4096 on

	reason reason
}

// reason is what a code means.
type reason struct {
	text string
	kind error // may be nil
}

// Error says what was tried, why it was refused and the kernel's number for it.
func (e *Error) Error() string {
	return fmt.Sprintf("ipset: %s: %s (code %d)", e.Action, e.reason.text, e.Code)
}

// Unwrap returns the typed error, if there is one, and the errno.
func (e *Error) Unwrap() []error {
	var wrapped []error
	if e.reason.kind != nil {
		wrapped = append(wrapped, e.reason.kind)
	}
	switch {
	case e.Code == codeBusy:
		wrapped = append(wrapped, unix.EBUSY)
	case e.Code < codePrivate:
		wrapped = append(wrapped, unix.Errno(e.Code))
	}
	return wrapped
}

// failure says what was tried with an error of package nlbatch: the kernel's refusal as an Error, others as they are.
func failure(err error, bitmap bool, action string) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*nlbatch.Refusal](err); ok {
		why := explain(int(refused.Errno), bitmap)
		if refused.Text != "" {
			why.text += ": " + refused.Text
		}
		return &Error{Action: action, Code: int(refused.Errno), reason: why}
	}
	return fmt.Errorf("ipset: %s: %w", action, err)
}

func explain(code int, bitmap bool) reason {
	switch {
	case code >= codeTypeSpecific && bitmap:
		return explainBitmap(code)
	case code >= codeTypeSpecific:
		return explainHash(code)
	case code >= codePrivate:
		return explainPrivate(code)
	}
	return explainErrno(unix.Errno(code))
}

func explainErrno(errno unix.Errno) reason {
	switch errno {
	case unix.ENOENT:
		return reason{"the set does not exist", dataplane.ErrNotExist}
	case unix.EPERM, unix.EACCES:
		return reason{"permission denied: the process needs CAP_NET_ADMIN", dataplane.ErrPermission}
	case unix.EEXIST:
		return reason{"a set of this name exists with other parameters", dataplane.ErrConflict}
	case unix.EBUSY:
		return reason{"the set is being read by another process: try again", nil}
	case unix.EINVAL, unix.ERANGE:
		return reason{"refused as invalid: " + errno.Error(), dataplane.ErrInvalid}
	case unix.EOPNOTSUPP, unix.EPROTONOSUPPORT:
		return reason{errno.Error(), dataplane.ErrUnavailable}
	}
	return reason{errno.Error(), nil}
}

func explainPrivate(code int) reason {
	switch code {
	case codeProtocol:
		return reason{"the message does not fit the type of the set", dataplane.ErrInvalid}
	case codeFindType:
		return reason{"the kernel has no such set type or revision", dataplane.ErrUnavailable}
	case codeMaxSets:
		return reason{"the kernel holds as many sets as it can", nil}
	case codeBusy:
		return reason{"the set is in use by a rule or another set: remove that reference first", nil}
	case codeExistSetName2:
		return reason{"the second set does not exist", dataplane.ErrNotExist}
	case codeTypeMismatch:
		return reason{"the two sets are of different types or families", dataplane.ErrConflict}
	case codeExist:
		return reason{"the entry exists already, or does not exist", nil}
	case codeInvalidCIDR:
		return reason{"prefix length not possible in the set", dataplane.ErrInvalid}
	case codeInvalidFamily, codeIPv4, codeIPv6:
		return reason{"address of another family than the set's", dataplane.ErrInvalid}
	case codeSKBInfo:
		return reason{"the set was created without skbinfo and cannot hold packet marks", dataplane.ErrInvalid}
	}
	return reason{"refused as invalid", dataplane.ErrInvalid}
}

func explainHash(code int) reason {
	switch code {
	case codeTypeSpecific:
		return reason{"the set is full", dataplane.ErrSetFull}
	case codeHashElem:
		return reason{"an address of only zeros cannot be stored", dataplane.ErrInvalid}
	case codeInvalidProto, codeMissingProto:
		return reason{"protocol not possible in the set", dataplane.ErrInvalid}
	case codeHashNetRange, codeHashRange:
		return reason{"range not possible in the set", dataplane.ErrInvalid}
	}
	return reason{"refused as invalid", dataplane.ErrInvalid}
}

func explainBitmap(code int) reason {
	switch code {
	case codeTypeSpecific:
		return reason{"port outside the range of the set", dataplane.ErrInvalid}
	case codeBitmapRangeSize:
		return reason{"range larger than the type can hold", dataplane.ErrInvalid}
	}
	return reason{"refused as invalid", dataplane.ErrInvalid}
}

// ConflictError says that a set of another type or family has the name of a wanted one. It wraps dataplane.ErrConflict.
// Such a set cannot be swapped, nor destroyed while a rule refers to it: move the rules away, then call Driver.Replace.
type ConflictError struct {
	Set    string
	Found  string // type and family as in `ipset create`
	Wanted string // likewise
}

// Error names the set, both types and what to do.
func (e *ConflictError) Error() string {
	return strings.Join([]string{"ipset: set ", e.Set, " exists as ", e.Found, " where ", e.Wanted,
		" is wanted: remove the rules that refer to it, then destroy it"}, "")
}

// Unwrap returns dataplane.ErrConflict.
func (e *ConflictError) Unwrap() error { return dataplane.ErrConflict }
