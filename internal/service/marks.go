package service

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MarkRange are the packet marks, both ends included, that may be used to tell clients inside the cluster from those
// outside where externalTrafficPolicy is Local. Those that have the masquerade mark's bit are left out. Zero for
// DefaultMarks.
type MarkRange struct{ First, Last uint32 }

// DefaultMarks keeps clear of what others are known to use: small numbers (hand-made firewall marks), bit 13 (the CNI plugin
// portmap), bits 14 and 15 (masquerading, and dropping by the kubelet) and those above (network policies).
func DefaultMarks() MarkRange { return MarkRange{0x1000, 0x1fff} }

// String returns "FIRST-LAST" in hexadecimal.
func (r MarkRange) String() string { return fmt.Sprintf("%#x-%#x", r.First, r.Last) }

// Contains reports whether the mark is in the range.
func (r MarkRange) Contains(mark uint32) bool { return r.First <= mark && mark <= r.Last && mark != 0 }

// ParseMarkRange reads what String writes, in decimal, too. The range must have a mark without the bit to leave out.
func ParseMarkRange(text string, without uint32) (MarkRange, error) {
	first, last, _ := strings.Cut(text, "-")
	from, err := strconv.ParseUint(first, 0, 32)
	to, err2 := strconv.ParseUint(last, 0, 32)
	r := MarkRange{uint32(from), uint32(to)}
	switch {
	case err != nil || err2 != nil:
		return MarkRange{}, errors.New("give two numbers up to 32 bits, FIRST-LAST, for example " + DefaultMarks().String())
	case r.First == 0 || r.Last < r.First:
		return MarkRange{}, errors.New("give FIRST from 1 on, and LAST not below it")
	case r.First&without != 0 && r.Last&without != 0 && r.Last-r.First < without:
		return MarkRange{}, fmt.Errorf("all of them have the masquerade bit %#x; give others", without)
	}
	return r, nil
}
