package service

import "testing"

func TestParseMarkRange(t *testing.T) {
	for text, want := range map[string]MarkRange{
		"1-16383": {1, 16383}, "0x100-0x1ff": {0x100, 0x1ff}, "7-7": {7, 7}, "0x4000-0x8000": {0x4000, 0x8000},
		"0x3fff-0x4000": {0x3fff, 0x4000}, "1-0xffffffff": {1, 0xffffffff},
	} {
		if got, err := ParseMarkRange(text, DefaultMark); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if again, err := ParseMarkRange(want.String(), DefaultMark); err != nil || again != want {
			t.Errorf("%s: written and read it is %v, %v", text, again, err)
		}
	}
	for _, text := range []string{"", "1", "-", "1-", "0-5", "5-4", "1-0x100000000", "a-b", "1-2-3", "0x4000-0x7fff", "0x4001-0x4001", " 1-2"} {
		if got, err := ParseMarkRange(text, DefaultMark); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}
