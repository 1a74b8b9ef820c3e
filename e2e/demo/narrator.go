package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"kube-ipvs-proxy/e2e/topology"
)

// narrator tells the story: numbered steps with the time since the beginning, what they found, and commands with their output.
type narrator struct {
	out   io.Writer
	began time.Time
}

func newNarrator(out io.Writer) *narrator { return &narrator{out: out, began: time.Now()} }

func (n *narrator) step(number, of int, what string) {
	fmt.Fprintf(n.out, "\n[%5.1f s] %d/%d %s\n", time.Since(n.began).Seconds(), number, of, what)
}

func (n *narrator) found(format string, args ...any) { n.indent(fmt.Sprintf("=> "+format, args...)) }

// command shows a command and its output.
func (n *narrator) command(in, command, output string) {
	n.indent(in + "# " + command + "\n" + output)
}

func (n *narrator) indent(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(n.out, "      %s\n", strings.TrimRight(line, " \n"))
	}
}

// show runs a shell command in a namespace, as an operator would there, and shows it.
func (n *narrator) show(ctx context.Context, in *topology.Netns, command string) error {
	output, err := shell(ctx, in, command)
	if err != nil {
		return err
	}
	n.command(in.Name, command, output)
	return nil
}

// shell runs a shell command in a namespace and returns what it printed.
func shell(ctx context.Context, in *topology.Netns, command string) (string, error) {
	output, err := in.Command(ctx, "sh", "-c", command).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s in %s: %w\n%s", command, in.Name, err, output)
	}
	return string(output), nil
}

const (
	// patience is far more than anything takes, for emulated machines that have other work too.
	patience = time.Minute
	// pause is the time between two looks at something that is waited for.
	pause = 50 * time.Millisecond
	// silence is how long a wait says nothing.
	silence = 5 * time.Second
)

// await tries again until try returns nil. Its error says what was waited for and how the last try ended.
func (n *narrator) await(ctx context.Context, what string, try func() error) error {
	limit, notice := time.NewTimer(patience), time.NewTicker(silence)
	defer limit.Stop()
	defer notice.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-limit.C:
			return fmt.Errorf("wait for %s: not within %v: %w", what, patience, err)
		case <-notice.C:
			n.indent(fmt.Sprintf("... %.1f s, waiting for %s", time.Since(n.began).Seconds(), what))
		case <-time.After(pause):
		}
	}
}
