package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/host"
	"kube-ipvs-proxy/internal/kernel/netfilter"
	"kube-ipvs-proxy/internal/kernel/sysctl"
	"kube-ipvs-proxy/internal/plan"
	"kube-ipvs-proxy/internal/translate"
)

const (
	verifySummary = "Compare the kernel with what is wanted, and print what would repair it"
	verifyDetails = `verify compares kernel parameters, virtual and real servers, the addresses of kube-ipvs0, the sets and the rules with what is
wanted, and changes nothing. It prints each difference as the sysctl, ipvsadm, ip, ipset or iptables-restore command that would repair it, in the
order in which to do that; where no single command can, it says what is wrong in a comment.

It asks the daemon of this network namespace what that wants. Differences are looked at again after a moment, so that a change
under way is none. When no daemon runs, it works out by itself what one with the same flags would want: before a
migration, that is what it would change on this node.

Real servers that drain are no difference, nor is what belongs to others: other chains and sets, virtual servers in excludeCIDRs,
with direct routing, tunnels or other marks. Timeouts of IPVS and conntrack entries are not looked at.

Exit status: 0 equal, 1 different, 2 it could not tell. It needs root.`
	verifyExamples = `  kube-ipvs-proxy verify
  kube-ipvs-proxy verify -o json

  # a dry run: what would this node's kernel get?
  kube-ipvs-proxy verify --config /var/lib/kube-proxy/config.conf`
)

// Exit statuses of verify, apart from 0 for a kernel that is as wanted.
const (
	statusDifferent = 1 // the kernel differs from what is wanted
	statusUnknown   = 2 // it could not tell, or the command line is wrong
)

// secondLook is when differences from what a daemon wants are looked at again.
const secondLook = 2 * time.Second

func verifyCommand() *cobra.Command {
	flags, format := config.NewFlags(), "text"
	command := &cobra.Command{
		Use:     "verify",
		Short:   verifySummary,
		Long:    verifyDetails,
		Example: verifyExamples,
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			return verify(command.Context(), flags, format, command.OutOrStdout())
		},
	}
	flags.AddSettingsTo(command.Flags())
	command.Flags().StringVarP(&format, "output", "o", format, "text or json")
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return command
}

// verify prints the differences. They are an error, so that the exit status tells.
func verify(ctx context.Context, flags *config.Flags, format string, out io.Writer) error {
	if format != "text" && format != "json" {
		return withStatus(statusUnknown, fmt.Errorf("--output %q: give text or json", format))
	}
	result, err := findDifferences(ctx, flags)
	if err != nil {
		return withStatus(statusUnknown, fmt.Errorf("cannot tell whether the kernel is as wanted: %w", err))
	}
	if err := result.print(format, out); err != nil {
		return withStatus(statusUnknown, err)
	}
	if !result.Equal {
		return withStatus(statusDifferent, fmt.Errorf("the kernel differs from what is wanted in %d places", len(result.Differences)))
	}
	return nil
}

// verification is what verify prints as JSON.
type verification struct {
	Equal bool `json:"equal"`
	// Daemon says that a running daemon was asked; else it was worked out what one with these flags would want.
	Daemon      bool               `json:"daemon"`
	Differences []admin.Difference `json:"differences"`
}

func (v verification) print(format string, out io.Writer) error {
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	}
	for _, difference := range v.Differences {
		if _, err := fmt.Fprintln(out, difference); err != nil {
			return err
		}
	}
	return nil
}

// findDifferences compares once and, if it is a running daemon's business, those that differ once more.
func findDifferences(ctx context.Context, flags *config.Flags) (verification, error) {
	wanted, err := findWanted(ctx, flags)
	if err != nil {
		return verification{}, err
	}
	differences, err := compareKernel(ctx, wanted)
	if err != nil {
		return verification{}, err
	}
	if len(differences) > 0 && wanted.running {
		select {
		case <-time.After(secondLook):
		case <-ctx.Done():
			return verification{}, ctx.Err()
		}
		again, err := findWanted(ctx, flags)
		if err != nil {
			return verification{}, err
		}
		second, err := compareKernel(ctx, again)
		if err != nil {
			return verification{}, err
		}
		differences = admin.Lasting(differences, second)
	}
	return verification{Equal: len(differences) == 0, Daemon: wanted.running, Differences: append([]admin.Difference{}, differences...)}, nil
}

// compareKernel looks at the kernel anew, with drivers that know nothing of an earlier look.
func compareKernel(ctx context.Context, want wanted) (differences []admin.Difference, err error) {
	kernel, err := host.Open(ctx, host.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	found, err := kernel.Inspect(ctx, want.desired.Sets, compiledTables(want.view.Tables))
	if err != nil {
		return nil, err
	}
	has := admin.Found{Faults: found.Faults, Objects: found.Objects, InTheWay: found.InTheWay}
	others := admin.Compare(want.view, want.desired, has, plan.Options{Exceptions: translate.Exceptions(), Refusals: translate.Refusals()})
	return append(compareParameters(sysctl.System{}, want.view.Parameters), others...), nil
}

// compiledTables is the reverse of compileRules.
func compiledTables(tables []admin.Table) []netfilter.Table {
	compiled := make([]netfilter.Table, len(tables))
	for i, table := range tables {
		compiled[i] = netfilter.Table{Family: dataplane.IPv4, Name: dataplane.Table(table.Name)}
		if table.Family == dataplane.IPv6.String() {
			compiled[i].Family = dataplane.IPv6
		}
		for _, chain := range table.Chains {
			compiled[i].Chains = append(compiled[i].Chains, netfilter.CompiledChain(chain))
		}
		for _, jump := range table.Jumps {
			compiled[i].Jumps = append(compiled[i].Jumps, netfilter.CompiledJump(jump))
		}
	}
	return compiled
}
