package app

import (
	"fmt"
	"strings"

	"kube-ipvs-proxy/internal/admin"
	"kube-ipvs-proxy/internal/config"
	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/kernel/sysctl"
)

// parameterSettings returns what kernel parameters are to be set to.
func parameterSettings(cfg config.Config, families []dataplane.Family) sysctl.Settings {
	return sysctl.Settings{Families: families, StrictARP: cfg.IPVS.StrictARP, Conntrack: sysctl.Conntrack(cfg.Conntrack)}
}

// parametersOf returns the kernel parameters that a daemon sets; none of them goes by the families that it serves.
func parametersOf(cfg config.Config) []admin.Parameter {
	var list []admin.Parameter
	for _, p := range (sysctl.System{}).Wanted(parameterSettings(cfg, nil)) {
		list = append(list, admin.Parameter(p))
	}
	return list
}

// compareParameters returns the differences between kernel parameters and what is wanted.
func compareParameters(system sysctl.System, wanted []admin.Parameter) []admin.Difference {
	list := make([]sysctl.Parameter, len(wanted))
	for i, p := range wanted {
		list[i] = sysctl.Parameter(p)
	}
	var differences []admin.Difference
	for _, d := range system.Compare(list) {
		if d.Err != nil {
			differences = append(differences, admin.Difference{What: "kernel parameter: " + d.Err.Error()})
			continue
		}
		differences = append(differences, admin.Difference{What: fmt.Sprintf("kernel parameter is %d", d.Have),
			Command: fmt.Sprintf("sysctl -w %s=%d", strings.ReplaceAll(d.Name, "/", "."), d.Value)})
	}
	return differences
}
