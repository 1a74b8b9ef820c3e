package dataplane

import "errors"

// Errors of operations that callers act on. Drivers wrap them with the object and the errno; test with errors.Is.
var (
	// ErrNotExist: the object, or the one it belongs to, is not there (ENOENT, ESRCH).
	ErrNotExist = errors.New("does not exist")
	// ErrNoScheduler: the running kernel has no such IPVS scheduler and could not load its module.
	ErrNoScheduler = errors.New("scheduler not available")
	// ErrSetFull: the set holds as many entries as it can (IPSET_ERR_HASH_FULL).
	ErrSetFull = errors.New("set is full")
	// ErrConflict: something of another kind is in the way, such as a set of another type or a device of another kind.
	ErrConflict = errors.New("something else is in the way")
	// ErrPermission: the process lacks a capability (EPERM, EACCES).
	ErrPermission = errors.New("permission denied")
	// ErrUnavailable: the kernel lacks the subsystem, or its module is not loaded.
	ErrUnavailable = errors.New("not available in this kernel")
	// ErrInvalid: the kernel refused the object's values (EINVAL and the like); repeating will not help.
	ErrInvalid = errors.New("refused as invalid")
	// ErrUnknown: the kernel's answer was lost, at every try. It may have carried the operation out, or not: only a new
	// snapshot tells.
	ErrUnknown = errors.New("outcome unknown")
)
