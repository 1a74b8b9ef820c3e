package policy

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "kube-ipvs-proxy/"

// mayImport lists, for each package below internal, which others of the project it may import directly. Data flows one
// way through them; a package that is missing here has to be given its place first.
func mayImport() map[string][]string {
	const dataplane, service, kernel = "dataplane", "service", "kernel"
	return map[string][]string{
		dataplane:           {},
		service:             {dataplane},
		"translate":         {service, dataplane},
		"ledger":            {dataplane},
		"plan":              {dataplane},
		"packet":            {dataplane},
		kernel:              {dataplane},
		"kernel/nlbatch":    {dataplane},
		"kernel/ipvs":       {dataplane, "kernel/nlbatch"},
		"kernel/link":       {dataplane, "kernel/nlbatch"},
		"kernel/ipset":      {dataplane, "kernel/nlbatch"},
		"kernel/netfilter":  {dataplane, "kernel/nlbatch"},
		"kernel/conntrack":  {dataplane, "kernel/nlbatch"},
		"kernel/sysctl":     {dataplane},
		"kernel/host":       {dataplane, kernel, "kernel/ipvs", "kernel/link", "kernel/ipset", "kernel/netfilter", "kernel/conntrack"},
		"kernel/kerneltest": {dataplane, kernel},
		"source/kube":       {service},
		"source/manifests":  {service},
		"reconcile":         {service, "translate", dataplane, "ledger", "plan", kernel},
		"health":            {"reconcile", service, dataplane},
		"metrics":           {"reconcile", service, dataplane},
		"events":            {"reconcile", service},
		"admin":             {"reconcile", service, dataplane, "ledger", "plan", "packet", kernel},
		"admin/page":        {"admin", "reconcile", service, dataplane},
		"config":            {service, dataplane},
		"policy":            {},
		"reference":         {},
	}
}

// mayUse lists the libraries that are kept to some packages, by the beginning of their import paths.
func mayUse() map[string][]string {
	return map[string][]string{
		"k8s.io/client-go":             {"source/kube", "events", "app"},
		"k8s.io/api/":                  {"source/kube", "source/manifests", "service", "events", "app"},
		"k8s.io/kube-proxy":            {"config"},
		"gonum.org/":                   {}, // draws what the benchmark measured
		"github.com/vishvananda/":      {"kernel/link", "kernel/conntrack", "kernel/ipset", "kernel/ipvs", "kernel/kerneltest"},
		"github.com/mdlayher/":         {"kernel/ipvs", "kernel/ipset", "kernel/link"},
		"github.com/prometheus/":       {"metrics", "app"},
		"go.uber.org/zap":              {"app"},
		"github.com/spf13/":            {"config", "app"},
		"github.com/fsnotify/fsnotify": {"source/manifests"},
		"os/exec":                      {"kernel/netfilter"},
		"golang.org/x/sys/unix":        {"kernel/", "app"},
		"github.com/moby/ipvs":         {},
	}
}

// pure packages import the standard library and the project only.
func pure() []string { return []string{"dataplane", "ledger", "packet", "plan", "translate"} }

func imports(s source) []string {
	var paths []string
	for _, spec := range s.file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

func TestImportsFollowTheDesign(t *testing.T) {
	allowed := mayImport()
	for _, s := range sources(t) {
		name, internal := strings.CutPrefix(s.folder(), "internal/")
		if s.test() || !internal || name == "app" {
			continue
		}
		list, known := allowed[name]
		if !known {
			t.Errorf("package %s has no place in the design: give it one in mayImport", s.folder())
			continue
		}
		for _, path := range imports(s) {
			if other, ours := strings.CutPrefix(path, module+"internal/"); ours && !slices.Contains(list, other) {
				t.Errorf("%s: package %s must not import %s", s.path, name, other)
			}
			if !strings.HasPrefix(path, module) && strings.Contains(path, ".") && slices.Contains(pure(), name) {
				t.Errorf("%s: package %s is pure and must not import %s", s.path, name, path)
			}
		}
	}
}

func TestLibrariesStayInTheirPackages(t *testing.T) {
	for _, s := range sources(t) {
		name, internal := strings.CutPrefix(s.folder(), "internal/")
		if s.test() || !internal {
			continue
		}
		for _, path := range imports(s) {
			for library, packages := range mayUse() {
				if strings.HasPrefix(path, library) && !slices.ContainsFunc(packages, func(p string) bool { return strings.HasPrefix(name, p) }) {
					t.Errorf("%s: %s is for %v, not for %s", s.path, path, packages, name)
				}
			}
		}
	}
}

func TestMainStaysSmall(t *testing.T) {
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.path, "cmd/") {
			continue
		}
		if lines := s.set.File(s.file.Pos()).LineCount(); lines > 60 {
			t.Errorf("%s has %d lines, more than 60: move code into internal/app", s.path, lines)
		}
	}
}
