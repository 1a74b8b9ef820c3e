package topology

import (
	"strings"
	"sync"
)

// tailLength is how much Tail returns at most, in bytes.
const tailLength = 32 << 10

// Output collects what a program writes while it is read. The zero value is ready.
type Output struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// String is everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Tail is the end of it, as much as a reader of a failed test can use.
func (o *Output) Tail() string {
	text := o.String()
	return text[max(0, len(text)-tailLength):]
}
