package translate

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/service"
)

// scene is one file of testdata: the node, the objects of the API, and what they are to become.
//
//	node.yaml      sceneNode
//	services.yaml  Services, separated by "---"
//	slices.yaml    EndpointSlices, likewise
//	want           Objects.Dump of everything, then for each virtual server what its slices say of other endpoints
//	problems       one a line
type scene struct {
	facts    service.Facts
	options  service.Options
	services []service.Service
	slices   []service.Slice
	want     string
	problems string
}

type sceneNode struct {
	Name, Zone        string
	Addresses         []string // of the Node object
	Local             []string
	OtherNodes        []string
	NodePortAddresses []string
	Families          []dataplane.Family
	Scheduler         string
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenes: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			s := readScene(t, file)
			for order, fill := range map[string]func(*service.Catalog){"services first": s.servicesFirst, "slices first": s.slicesFirst} {
				catalog := service.NewCatalog()
				fill(catalog)
				got, problems := s.dump(catalog)
				if diff := cmp.Diff(s.want, got); diff != "" {
					t.Errorf("%s: want (-) and got (+) differ:\n%s", order, diff)
				}
				if diff := cmp.Diff(s.problems, problems); diff != "" {
					t.Errorf("%s: problems: want (-) and got (+) differ:\n%s", order, diff)
				}
			}
		})
	}
}

func (s scene) servicesFirst(c *service.Catalog) {
	for _, x := range s.services {
		c.SetService(x)
	}
	for _, x := range s.slices {
		c.SetSlice(x)
	}
}

func (s scene) slicesFirst(c *service.Catalog) {
	for _, x := range slices.Backward(s.slices) {
		c.SetSlice(x)
	}
	for _, x := range slices.Backward(s.services) {
		c.SetService(x)
	}
}

// dump translates every Service and the node.
func (s scene) dump(c *service.Catalog) (dump, problemLines string) {
	all := Node(s.facts, s.options)
	var lines []string
	for name := range c.Names() {
		view, _ := c.View(name)
		objects, problems := Service(view, s.facts, s.options, portMark)
		all.Pools = append(all.Pools, objects.Pools...)
		all.Addresses = append(all.Addresses, objects.Addresses...)
		all.Entries = append(all.Entries, objects.Entries...)
		for _, p := range problems {
			lines = append(lines, p.Error()+"\n")
		}
	}
	slices.Sort(lines)
	return all.Dump() + remarks(all.Pools), strings.Join(lines, "")
}

// remarks prints the part of the pools that Dump leaves out.
func remarks(pools []dataplane.Pool) string {
	var b strings.Builder
	slices.SortFunc(pools, func(a, c dataplane.Pool) int { return a.Key.Compare(c.Key) })
	for _, p := range pools {
		if len(p.Listed)+len(p.Leaving) > 0 {
			fmt.Fprintf(&b, "# %s listed %v leaving %v\n", p.Key, p.Listed, p.Leaving)
		}
	}
	return b.String()
}

func readScene(t *testing.T, file string) scene {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s scene
	for _, f := range archive.Files {
		text := string(f.Data)
		switch f.Name {
		case "node.yaml":
			s.facts, s.options = readNode(t, text)
		case "services.yaml":
			for _, in := range decode[corev1.Service](t, text) {
				out, served, problems := service.FromService(&in)
				if !served || len(problems) > 0 {
					t.Fatalf("Service %s: served %v, %v", in.Name, served, problems)
				}
				s.services = append(s.services, out)
			}
		case "slices.yaml":
			for _, in := range decode[discoveryv1.EndpointSlice](t, text) {
				out, served, problems := service.FromSlice(&in)
				if !served || len(problems) > 0 {
					t.Fatalf("EndpointSlice %s: served %v, %v", in.Name, served, problems)
				}
				s.slices = append(s.slices, out)
			}
		case "want":
			s.want = text
		case "problems":
			s.problems = text
		default:
			t.Fatalf("unknown part %q", f.Name)
		}
	}
	return s
}

func readNode(t *testing.T, text string) (service.Facts, service.Options) {
	t.Helper()
	in := decode[sceneNode](t, text)[0]
	facts := service.Facts{
		Node:       service.Node{Name: in.Name, Zone: in.Zone, Addresses: parseAddrs(in.Addresses)},
		Local:      parseAddrs(in.Local),
		OtherNodes: parseAddrs(in.OtherNodes),
		Families:   in.Families,
	}
	setting, err := service.ParseNodePortAddresses(in.NodePortAddresses)
	if err != nil {
		t.Fatal(err)
	}
	facts.NodePortAddrs = setting.Select(facts)
	return facts, service.Options{Scheduler: in.Scheduler}
}

func parseAddrs(in []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range in {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func decode[T any](t *testing.T, text string) []T {
	t.Helper()
	var out []T
	for document := range strings.SplitSeq(text, "---\n") {
		var x T
		if err := yaml.UnmarshalStrict([]byte(document), &x); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		out = append(out, x)
	}
	return out
}

// portMark gives the packets to a port its number for a mark.
func portMark(port service.Port, _ []dataplane.VirtualServerKey) uint32 { return uint32(port.Port) }
