package differential

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"
)

// Op is one write to the API server: it makes one object what it says, or deletes it. Exactly one of Service and Slice
// is set. Nodes are called Node1 and Node2 in it, and it has no namespace; both are filled in when it is written.
type Op struct {
	Service *corev1.Service
	Slice   *discoveryv1.EndpointSlice
	Delete  bool
}

// The names by which objects of a case refer to the node of the two proxies, and to another one.
const (
	Node1 = "node-1"
	Node2 = "node-2"
)

// Key names the object that an Op writes, for example "Service/s1".
func (o Op) Key() string {
	if o.Service != nil {
		return "Service/" + o.Service.Name
	}
	return "EndpointSlice/" + o.Slice.Name
}

// Owner is the name of the Service that an Op is about.
func (o Op) Owner() string {
	if o.Service != nil {
		return o.Service.Name
	}
	return o.Slice.Labels[discoveryv1.LabelServiceName]
}

// String prints the Op as YAML below a comment.
func (o Op) String() string {
	if o.Delete {
		return "# delete " + o.Key() + "\n"
	}
	object := any(o.Service)
	if o.Service == nil {
		object = o.Slice
	}
	text, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Sprintf("# %s cannot be printed: %v\n", o.Key(), err)
	}
	return "# " + o.Key() + "\n" + string(text)
}

// Settings are what both proxies are told, as their flags are.
type Settings struct {
	Scheduler         string   // empty for the default
	NodePortAddresses []string // empty for all
}

// Case is a history of the API: the writes of one step are made one after the other, then both proxies settle and are
// compared.
type Case struct {
	Settings Settings
	Steps    [][]Op
}

// String prints the settings and all writes.
func (c Case) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "# scheduler %q, nodePortAddresses %q\n", c.Settings.Scheduler, c.Settings.NodePortAddresses)
	for i, step := range c.Steps {
		fmt.Fprintf(&text, "#### step %d\n", i+1)
		for j, op := range step {
			if j > 0 {
				text.WriteString("---\n")
			}
			text.WriteString(op.String())
		}
	}
	return text.String()
}

// Len is how many writes there are.
func (c Case) Len() int {
	count := 0
	for _, step := range c.Steps {
		count += len(step)
	}
	return count
}
