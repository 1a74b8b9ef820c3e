package app

import (
	"strings"
	"unicode"

	"kube-ipvs-proxy/internal/admin"
)

// printable returns text that does to a terminal nothing but to show itself and end lines. The API server takes any bytes for
// the zone of an endpoint, for example, and root looks at what others wrote there.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// careful paints only what is printable, all on the line it is on.
func careful(paint admin.Paint) admin.Paint {
	return func(style admin.Style, text string) string {
		return paint(style, strings.ReplaceAll(printable(text), "\n", string(unicode.ReplacementChar)))
	}
}
