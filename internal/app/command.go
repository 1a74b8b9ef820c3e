package app

import (
	"fmt"

	"github.com/spf13/cobra"

	"kube-ipvs-proxy/internal/config"
)

const (
	summary = "Serve Kubernetes Services on this node with the kernel's IPVS load balancer"
	details = `kube-ipvs-proxy takes over kube-proxy's job on a Kubernetes node. It watches Services and EndpointSlices and keeps the
kernel's IPVS virtual and real servers, the addresses of kube-ipvs0, the KUBE-* ipsets and the KUBE-* iptables rules equal
to what they say. Check what it does with ipvsadm -Ln, ip addr show kube-ipvs0, ipset list and iptables-save.

It needs CAP_NET_ADMIN, the kernel modules ip_vs (with the scheduler's, for example ip_vs_rr), ip_set and dummy, and the
iptables programs. It adopts what the kernel has when it starts, and leaves everything in place when it stops.`
	examples = `  # on a node, with kube-proxy's own configuration file
  kube-ipvs-proxy --config /var/lib/kube-proxy/config.conf

  # with a kubeconfig and another scheduler
  kube-ipvs-proxy --kubeconfig /etc/kubernetes/proxy.conf --ipvs-scheduler lc

  # without a cluster: Services and Endpoints from YAML files, watched
  kube-ipvs-proxy --manifests /etc/kube-ipvs-proxy/services`
)

// ignoreFlag has the daemon start although kube-proxy runs.
const ignoreFlag = "ignore-kube-proxy"

// NewCommand returns the daemon's command line.
func NewCommand() *cobra.Command {
	flags, ignoreRival := config.NewFlags(), false
	command := &cobra.Command{
		Use:           "kube-ipvs-proxy",
		Short:         summary,
		Long:          details,
		Example:       examples,
		Args:          noArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, _ []string) error {
			return run(command.Context(), flags, ignoreRival, command.OutOrStdout())
		},
	}
	command.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return withStatus(statusConfig, fmt.Errorf("%w; %s --help lists the flags", err, command.CommandPath()))
	})
	flags.AddTo(command.Flags())
	command.Flags().BoolVar(&ignoreRival, ignoreFlag, false,
		"start although kube-proxy answers on this node, for a take-over in which it is stopped right after; two proxies undo each other's work")
	command.Flags().SortFlags = true
	command.AddCommand(explainCommand(), renderCommand(), statusCommand(), verifyCommand())
	return command
}

func noArguments(_ *cobra.Command, arguments []string) error {
	if len(arguments) == 0 {
		return nil
	}
	return withStatus(statusConfig, fmt.Errorf("unexpected argument %q: everything is set by flags; kube-ipvs-proxy --help lists them", arguments[0]))
}
