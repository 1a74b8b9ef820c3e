package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/ipvs"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

const (
	showSummary = "Show virtual and real servers with their Services, nodes, connections and drains"
	showDetails = `status shows what the daemon wants of IPVS together with what IPVS has: for each Service its virtual servers, and their real
servers with node and zone, weight, active and inactive connections. Real servers that drain say so, and so does what is
missing or not wanted; kube-ipvs-proxy verify prints the commands that repair it. Names choose Services.

It asks the daemon of this network namespace; when none runs, it works out by itself from the flags, which are the daemon's, what
one would want. It needs root. On a terminal it uses colours, unless the environment variable NO_COLOR is set.

Exit status: 0 shown, 2 it could not tell.`
	showExamples = `  kube-ipvs-proxy status
  kube-ipvs-proxy status default/web kube-system/kube-dns --watch
  kube-ipvs-proxy status -o json | jq '.virtualServers[].realServers[] | select(.state == "draining")'`
)

// Exit statuses of status, apart from 0 for one that was shown.
const (
	statusNotShown = 2 // it could not tell, a Service is not served on this node, or the command line is wrong
)

const (
	// shownEvery is the pause between two looks of --watch, unless --interval says otherwise.
	shownEvery = 2 * time.Second
	// shownRest is how many times as long as a look took the pause after it is at least: to look at many Services costs the
	// daemon and the kernel something.
	shownRest = 4
)

// shown is what is to be shown, and how.
type shown struct {
	flags    *config.Flags
	format   string
	watch    bool
	interval time.Duration
	services []service.Name
}

func statusCommand() *cobra.Command {
	s := shown{flags: config.NewFlags(), format: "text", interval: shownEvery}
	command := &cobra.Command{
		Use:               "status [NAMESPACE/NAME…]",
		Short:             showSummary,
		Long:              showDetails,
		Example:           showExamples,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(command *cobra.Command, arguments []string) (err error) {
			if s.services, err = admin.ParseNames(arguments); err == nil {
				err = s.check()
			}
			if err == nil {
				err = s.run(command.Context(), command.OutOrStdout(), command.ErrOrStderr())
			}
			return withStatus(statusNotShown, err)
		},
	}
	s.flags.AddSettingsTo(command.Flags())
	command.Flags().BoolVarP(&s.watch, "watch", "w", s.watch, "show it again and again, until interrupted")
	command.Flags().DurationVar(&s.interval, "interval", s.interval, "pause between two looks of --watch; longer where a look takes long")
	addOutput(command, &s.format)
	return command
}

func (s shown) check() error {
	if s.interval < 100*time.Millisecond {
		return fmt.Errorf("--interval %v: give at least 100ms", s.interval)
	}
	return checkOutput(s.format)
}

// run shows the status once, or until the context ends.
func (s shown) run(ctx context.Context, out, warnings io.Writer) error {
	driver, err := ipvs.Open()
	if err != nil {
		return err
	}
	defer func() { _ = driver.Close() }() // nothing was written
	look := func(ctx context.Context) (admin.Status, error) { return s.look(ctx, driver) }
	if !s.watch {
		status, err := steady(ctx, look)
		if err != nil {
			return err
		}
		return s.print(status, out)
	}
	for {
		started := time.Now()
		status, err := steady(ctx, look)
		switch {
		case ctx.Err() != nil:
			return nil // it was watched until somebody had seen enough
		case err == nil:
			err = s.print(status, out)
		default: // a daemon that restarts, for example: it comes back
			err = complain(err, out, warnings)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(s.interval, shownRest*time.Since(started))):
		}
	}
}

// complain tells why there is nothing to show: in its place on a terminal, and elsewhere apart from what programs read.
func complain(about error, out, warnings io.Writer) error {
	to, text := warnings, printable(about.Error())+"\n"
	if _, is := terminal(out); is {
		to, text = out, clearScreen(out)+text
	}
	_, err := io.WriteString(to, text)
	return err
}

const (
	// steadyLooks is how often it is looked at most before what is missing or not wanted is told.
	steadyLooks = 3
	// steadyPause is what the daemon is given to finish what it is doing.
	steadyPause = 200 * time.Millisecond
)

// steady looks again where something is missing or not wanted: a change between asking the daemon and asking IPVS looks like that.
func steady(ctx context.Context, look func(context.Context) (admin.Status, error)) (admin.Status, error) {
	for looks := 1; ; looks++ {
		status, err := look(ctx)
		if err != nil || !status.Daemon || !unsettled(status.Summary) || looks == steadyLooks {
			return status, err
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(steadyPause):
		}
	}
}

// unsettled reports whether something is not as wanted.
func unsettled(s admin.Summary) bool { return s.Missing+s.Stray+s.OtherWeight > 0 }

// print shows a status in the format that is asked for.
func (s shown) print(status admin.Status, out io.Writer) error {
	if s.format == "json" {
		return printJSON(out, status)
	}
	text := status.Text(paintFor(out))
	if s.watch {
		if lines := linesOf(out); lines > 0 {
			text = unwrapped + admin.Fit(text, lines) + wrapped
		}
		text = clearScreen(out) + text
	}
	_, err := io.WriteString(out, text)
	return err
}

// Between these a terminal cuts lines that are too long, instead of letting the first lines of a full screen go for their ends.
const (
	unwrapped = "\x1b[?7l"
	wrapped   = "\x1b[?7h"
)

// look asks the daemon what it wants, and IPVS what there is.
func (s shown) look(ctx context.Context, driver *ipvs.Driver) (admin.Status, error) {
	view, running, err := s.wanted(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	for _, name := range s.services {
		if !slices.ContainsFunc(view.VirtualServers, func(v admin.VirtualServer) bool {
			return v.Owner.Namespace == name.Namespace && v.Owner.Name == name.Name
		}) {
			if !view.State.Complete {
				return admin.Status{}, errIncomplete
			}
			return admin.Status{}, fmt.Errorf("no Service %s is served on this node", name)
		}
	}
	desired, err := view.Desired()
	if err != nil {
		return admin.Status{}, err
	}
	keys := make([]dataplane.VirtualServerKey, len(desired.Pools))
	for i, pool := range desired.Pools {
		keys[i] = pool.Key
	}
	usage := make(map[dataplane.VirtualServerKey]dataplane.Usage, len(keys))
	err = driver.Usage(ctx, keys, func(key dataplane.VirtualServerKey, used dataplane.Usage) {
		used.Servers = slices.Clone(used.Servers)
		usage[key] = used
	})
	status := admin.StatusOf(view, desired, usage, time.Now())
	status.Daemon = running
	return status, err
}

// wanted asks the daemon what it wants or, if none runs, works it out from the flags.
func (s shown) wanted(ctx context.Context) (view admin.View, running bool, err error) {
	query := url.Values{}
	for _, name := range s.services {
		query.Add("service", name.String())
	}
	err = askDaemon(ctx, lockName, "/servers?"+query.Encode(), &view)
	if errors.Is(err, errNoDaemon) {
		view, err = workOut(ctx, s.flags, func(ctx context.Context, answers admin.Answers) (admin.View, error) {
			view, err := answers.Servers(ctx, s.services)
			if err == nil && !view.State.Complete {
				err = errIncomplete
			}
			return view, err
		})
		return view, false, err
	}
	return view, true, err
}

// serversOf returns the function that tells of the virtual servers of Services.
func serversOf(reconciler *reconcile.Reconciler, cfg config.Config) func(context.Context, []service.Name) (admin.View, error) {
	settings := settingsOf(cfg)
	return func(ctx context.Context, names []service.Name) (admin.View, error) {
		view, err := reconciler.View(ctx)
		if err != nil {
			return admin.View{}, err
		}
		services := reconciler.Services(func(one service.View) bool { return admin.Chosen(names, one.Name) })
		return admin.ServersOf(view, services, settings, names), nil
	}
}

// terminal returns the descriptor of what is written to if that is a terminal, and how many lines it has.
func terminal(out io.Writer) (lines int, is bool) {
	file, ok := out.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Row), true
}

func linesOf(out io.Writer) int {
	lines, _ := terminal(out)
	return lines
}

// clearScreen returns what empties a terminal: nothing for others.
func clearScreen(out io.Writer) string {
	if _, is := terminal(out); is {
		return "\x1b[H\x1b[2J"
	}
	return ""
}

// paintFor returns colours for a terminal, unless they are not wanted (no-color.org).
func paintFor(out io.Writer) admin.Paint {
	if _, is := terminal(out); is && os.Getenv("NO_COLOR") == "" {
		return careful(admin.Colours)
	}
	return careful(admin.Colourless)
}
