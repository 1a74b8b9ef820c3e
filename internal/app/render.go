package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/host"
)

const (
	renderSummary = "Print what is wanted of the kernel as ipvsadm, ipset, iptables or ip would"
	renderDetails = `render prints what the daemon wants of the kernel, in the notation of the tool that shows what the kernel has. It asks the
daemon of this network namespace; when none runs, it works the same out by itself from the flags, which are the daemon's, and
needs root for that, as the daemon does.

  ipvs       as ipvsadm -Sn
  ipset      as ipset save, entries sorted; hashsize is the one that sets are made with
  iptables   as iptables-save: the chains of this proxy and the jumps to them
  ip6tables  the same for IPv6
  addresses  the commands that bind the addresses to kube-ipvs0

ipvsadm sorts by the difference of addresses in 32 bits, with which three of them can each come before the next. Its order then
depends on the kernel's, and so does render ipvs' own: it asks the kernel for the order of what is there, and puts the rest at
the end before it sorts. A real server that drains is in the kernel and not in this output.`
	renderExamples = `  # empty on a healthy node where nothing drains
  diff <(ipvsadm -Sn) <(kube-ipvs-proxy render ipvs)

  # the same for the entries of the sets
  diff <(ipset save | grep ^add.KUBE- | sort) <(kube-ipvs-proxy render ipset | grep ^add | sort)

  # what this node would have, before there is a daemon
  kube-ipvs-proxy render ipvs --config /var/lib/kube-proxy/config.conf`
)

// renderings are what render can be asked for.
func renderings() []string { return []string{"ipvs", "ipset", "iptables", "ip6tables", "addresses"} }

func renderCommand() *cobra.Command {
	flags := config.NewFlags()
	command := &cobra.Command{
		Use:                   "render ipvs|ipset|iptables|ip6tables|addresses",
		Short:                 renderSummary,
		Long:                  renderDetails,
		Example:               renderExamples,
		ValidArgs:             renderings(),
		Args:                  oneRendering,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, arguments []string) error {
			return render(command.Context(), flags, arguments[0], command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	flags.AddSettingsTo(command.Flags())
	return command
}

func oneRendering(command *cobra.Command, arguments []string) error {
	if err := cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)(command, arguments); err != nil {
		return withStatus(statusConfig, fmt.Errorf("%w; give one of %q", err, renderings()))
	}
	return nil
}

// render prints what is wanted.
func render(ctx context.Context, flags *config.Flags, what string, out, warnings io.Writer) error {
	wanted, err := findWanted(ctx, flags)
	if err != nil {
		return err
	}
	var text string
	switch what {
	case "ipvs":
		found, err := kernelOrder(ctx)
		if err != nil {
			fmt.Fprintf(warnings, "kube-ipvs-proxy: the order may not be ipvsadm's: %v\n", err)
		}
		text = wanted.desired.IPVS(found)
	case "ipset":
		text = wanted.desired.IPSet()
	case "iptables":
		text = wanted.view.IPTables(dataplane.IPv4)
	case "ip6tables":
		text = wanted.view.IPTables(dataplane.IPv6)
	case "addresses":
		text = wanted.desired.IPAddr()
	}
	_, err = io.WriteString(out, text)
	return err
}

// kernelOrder returns the kernel's virtual servers as it lists them.
func kernelOrder(ctx context.Context) (pools []dataplane.Pool, err error) {
	kernel, err := host.Open(ctx, host.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	return kernel.Pools(ctx)
}

// wanted is what somebody wants of the kernel.
type wanted struct {
	view    admin.View
	desired admin.Desired
	running bool // a daemon does, rather than would
}

// findWanted asks the daemon or, if none runs, works it out from the flags.
func findWanted(ctx context.Context, flags *config.Flags) (wanted, error) {
	found := wanted{running: true}
	var err error
	found.view, err = askView(ctx, lockName)
	if errors.Is(err, errNoDaemon) {
		found.running = false
		found.view, err = workOut(ctx, flags, completeView)
	}
	if err != nil {
		return wanted{}, err
	}
	if !found.view.State.Complete {
		return wanted{}, errIncomplete
	}
	found.desired, err = found.view.Desired()
	return found, err
}

// completeView returns the view once it has everything.
func completeView(ctx context.Context, answers admin.Answers) (admin.View, error) {
	view, err := answers.View(ctx)
	if err == nil && !view.State.Complete {
		err = errIncomplete
	}
	return view, err
}
