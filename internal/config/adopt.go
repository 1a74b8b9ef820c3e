package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// Changes are the fields of the file in which two configurations differ, by their paths, sorted.
type Changes struct {
	Live    []string // those that can be changed while the daemon runs
	Restart []string // those that need a new process
}

// Adopt returns the configuration of a running daemon that takes over what it can of another one, and which fields that
// concerns. Fields without effect are not among them.
func (c Config) Adopt(next Config) (Config, Changes, error) {
	out := c
	out.File = *c.File.DeepCopy()
	out.Warnings = next.Warnings
	out.Node.NodePorts, out.File.NodePortAddresses = next.Node.NodePorts, next.File.NodePortAddresses
	out.Masquerade.All, out.File.IPTables.MasqueradeAll = next.Masquerade.All, next.File.IPTables.MasqueradeAll
	out.Logging.Verbosity, out.File.Logging.Verbosity = next.Logging.Verbosity, next.File.Logging.Verbosity
	out.Logging.Modules, out.File.Logging.VModule = next.Logging.Modules, next.File.Logging.VModule
	out.IPVS.Scheduler, out.File.IPVS.Scheduler = next.IPVS.Scheduler, next.File.IPVS.Scheduler
	out.IPVS.Exclude, out.File.IPVS.ExcludeCIDRs = next.IPVS.Exclude, next.File.IPVS.ExcludeCIDRs
	out.IPVS.SyncPeriod, out.File.IPVS.SyncPeriod = next.IPVS.SyncPeriod, next.File.IPVS.SyncPeriod
	out.IPVS.MinSyncPeriod, out.File.IPVS.MinSyncPeriod = next.IPVS.MinSyncPeriod, next.File.IPVS.MinSyncPeriod
	live, err := differences(&c.File, &out.File)
	if err != nil {
		return c, Changes{}, err
	}
	restart, err := differences(&out.File, &next.File)
	if err != nil {
		return c, Changes{}, err
	}
	return out, Changes{Live: live, Restart: slices.DeleteFunc(restart, withoutEffect)}, nil
}

// withoutEffect reports whether a field does nothing here, whatever it is set to.
func withoutEffect(path string) bool {
	file := defaultFile()
	for _, idle := range []map[string]any{elsewhere(file), obsolete(file), {"featureGates": nil, "configSyncPeriod": nil}} {
		for field := range idle {
			if path == field || strings.HasPrefix(path, field+".") {
				return true
			}
		}
	}
	return false
}

// differences returns the sorted paths of the fields in which two files differ. A list is one field.
func differences(a, b *v1alpha1.KubeProxyConfiguration) ([]string, error) {
	before, err := fields(a)
	if err != nil {
		return nil, err
	}
	after, err := fields(b)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(before)
	maps.Copy(all, after)
	var paths []string
	for path := range all {
		if !reflect.DeepEqual(before[path], after[path]) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// fields returns the values of a file by their paths.
func fields(file *v1alpha1.KubeProxyConfiguration) (map[string]any, error) {
	data, err := json.Marshal(file)
	if err != nil {
		return nil, fmt.Errorf("print the configuration as JSON: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("read the configuration that was just printed: %w", err)
	}
	values := make(map[string]any)
	flatten("", tree, values)
	return values, nil
}

// flatten adds the leaves of a tree to values, by their paths. A list is a leaf, and what is empty is none.
func flatten(path string, tree map[string]any, values map[string]any) {
	for name, value := range tree {
		at := strings.TrimPrefix(path+"."+name, ".")
		switch v := value.(type) {
		case map[string]any:
			flatten(at, v, values)
		case nil:
		case []any:
			if len(v) > 0 {
				values[at] = v
			}
		default:
			values[at] = v
		}
	}
}
