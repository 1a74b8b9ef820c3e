package page

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	mostPage = 1_000_000 // far beyond what a node can have
	// mostWords bounds the filter, in bytes: NAMESPACE/NAME is at most 63+1+63.
	mostWords = 200
	// Between these may be how often a browser asks again, in seconds.
	leastRefresh, mostRefresh = 2, 3600
)

// query is what the reader asks for.
type query struct {
	words   string        // what names and addresses have to contain
	page    int           // from 1
	refresh time.Duration // 0 for never
}

// parseQuery reads ?q=…&page=…&refresh=…. The error says what is wrong with them.
func parseQuery(raw string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, fmt.Errorf("the address's part after ? cannot be read: %w", err)
	}
	q := query{page: 1}
	for _, name := range []string{"q", "page", "refresh"} {
		if len(values[name]) > 1 {
			return query{}, fmt.Errorf("%s is given %d times: give it once", name, len(values[name]))
		}
	}
	q.words = strings.TrimSpace(values.Get("q"))
	switch {
	case len(q.words) > mostWords:
		return query{}, fmt.Errorf("q has %d bytes: no name or address has more than %d", len(q.words), mostWords)
	case !utf8.ValidString(q.words) || strings.ContainsFunc(q.words, func(r rune) bool { return !unicode.IsPrint(r) }):
		return query{}, fmt.Errorf("q is %q: give a part of a namespace, name or address", q.words)
	}
	if q.page, err = number(values, "page", 1, 1, mostPage); err != nil {
		return query{}, err
	}
	seconds, err := number(values, "refresh", 0, leastRefresh, mostRefresh)
	q.refresh = time.Duration(seconds) * time.Second
	return q, err
}

// number reads one of the values, which may be missing or empty.
func number(values url.Values, name string, absent, least, most int) (int, error) {
	text := values.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return absent, fmt.Errorf("%s is %q: give a number from %d to %d", name, text, least, most)
	}
	return n, nil
}

// with returns the address of another page with the same filter.
func (q query) with(page int, refresh time.Duration) string {
	values := url.Values{}
	if q.words != "" {
		values.Set("q", q.words)
	}
	if page > 1 {
		values.Set("page", strconv.Itoa(page))
	}
	if refresh > 0 {
		values.Set("refresh", strconv.Itoa(int(refresh/time.Second)))
	}
	return "?" + values.Encode()
}
