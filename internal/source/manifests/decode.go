//lint:file-ignore SA1019 the deprecated Endpoints are read on purpose: manifests of old still hold them

package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	strictjson "sigs.k8s.io/json"

	"kube-ipvs-proxy/internal/service"
)

// apiVersions are the kinds that are understood, with the API version of each.
func apiVersions() map[string]string {
	return map[string]string{
		"Service": "v1", "Endpoints": "v1", "Node": "v1", "List": "v1",
		"EndpointSlice": "discovery.k8s.io/v1",
	}
}

// content is what was found in one version of a file.
type content struct {
	objects  []object
	problems []service.Problem // of the file, rather than of an object
	bad      bool              // some of it could not be understood at all
}

// object is one object of a file.
type object struct {
	value    runtime.Object // *corev1.Service, *discoveryv1.EndpointSlice, *corev1.Endpoints or *corev1.Node
	document document
	unknown  []service.Problem // fields that the API does not have; the object is used without them
}

// decoder takes a file apart.
type decoder struct {
	file string // its name, for messages
	content
	ignored []string // kinds that are not for this source
}

// decode understands the documents of a file.
func decode(file string, data []byte) content {
	d := decoder{file: file}
	if strings.HasSuffix(file, ".json") {
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" ")) // JSON may be indented with tabs, YAML may not
	}
	stream := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		err := stream.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.syntaxError(err, bytes.Count(data, []byte("\n")))
			break
		}
		if len(node.Content) > 0 {
			d.document(node.Content[0], "", "")
		}
	}
	return d.content
}

// syntaxError notes an error of the YAML parser. The parser counts from 0 the lines of errors of structure, which all
// say what was expected, and from 1 those of spelling.
func (d *decoder) syntaxError(err error, lines int) {
	line, text := 0, strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, message, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			line, text = n, message
		}
		if strings.HasPrefix(text, "did not find expected") {
			line = max(line, min(line+1, lines))
		}
	}
	d.fail(line, "", "", "not YAML or JSON: "+text+"; correct the file")
}

// fail notes what makes the file bad.
func (d *decoder) fail(line int, path, value, reason string) {
	d.bad = true
	d.note(line, path, value, reason)
}

// note notes a problem of the file.
func (d *decoder) note(line int, path, value, reason string) {
	d.problems = append(d.problems, service.Problem{Object: fileObject(d.file), Field: place(d.file, line, path), Value: value, Reason: reason})
}

// fileObject is how problems name a file as their object.
func fileObject(file string) string { return "file " + file }

// place says where something is: "web.yaml:12: spec.ports[0].port".
func place(file string, line int, path string) string {
	out := file
	if line > 0 {
		out += ":" + strconv.Itoa(line)
	}
	if path != "" {
		out += ": " + path
	}
	return out
}

// document understands one object, or a list of objects whose items may leave out apiVersion and kind.
func (d *decoder) document(node *yaml.Node, apiVersion, kind string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.ShortTag() == "!!null" {
		return
	}
	if node.Kind != yaml.MappingNode {
		d.fail(node.Line, "", node.Value, "not an object; write apiVersion, kind and metadata")
		return
	}
	if v := field(node, "apiVersion"); v != nil {
		apiVersion = v.Value
	}
	if v := field(node, "kind"); v != nil {
		kind = v.Value
	}
	known := apiVersions()
	item, isList := strings.CutSuffix(kind, "List")
	switch {
	case kind == "":
		d.fail(node.Line, "kind", "", "an object without a kind; write apiVersion and kind")
	case isList && (item == "" || known[item] == apiVersion):
		d.list(node, apiVersion, item)
	case known[kind] == "":
		if !slices.Contains(d.ignored, kind) {
			d.ignored = append(d.ignored, kind)
			d.note(node.Line, "kind", kind, "ignored: only Service, EndpointSlice, Endpoints and Node are read; remove it")
		}
	case known[kind] != apiVersion:
		d.note(node.Line, "apiVersion", apiVersion, fmt.Sprintf("ignored: %s is read as %s; convert it", kind, known[kind]))
	default:
		d.object(node, kind)
	}
}

func (d *decoder) list(node *yaml.Node, apiVersion, kind string) {
	items := field(node, "items")
	if kind == "" {
		apiVersion = ""
	}
	switch {
	case items == nil:
		d.fail(node.Line, "items", "", "a list without items")
	case items.Kind != yaml.SequenceNode:
		d.fail(items.Line, "items", items.Value, "not a list")
	default:
		for _, item := range items.Content {
			d.document(item, apiVersion, kind)
		}
	}
}

// field returns the value of a field of a mapping, or nil.
func field(node *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

func (d *decoder) object(node *yaml.Node, kind string) {
	doc, err := newDocument(node)
	if err != nil {
		d.fail(doc.positions[len(doc.positions)-1].line, "", "", err.Error())
		return
	}
	out := object{value: newObject(kind), document: doc}
	strict, err := strictjson.UnmarshalStrict(doc.json, out.value)
	if err != nil {
		d.typeError(doc, err)
		return
	}
	complete(out.value)
	for _, err := range strict {
		out.unknown = append(out.unknown, d.strictProblem(&out, err))
	}
	out.document.json = nil // the object says it all
	d.objects = append(d.objects, out)
}

func newObject(kind string) runtime.Object {
	switch kind {
	case "Service":
		return &corev1.Service{}
	case "EndpointSlice":
		return &discoveryv1.EndpointSlice{}
	case "Endpoints":
		return &corev1.Endpoints{}
	}
	return &corev1.Node{}
}

// complete applies the defaults that are not values of fields, which package service knows.
func complete(obj runtime.Object) {
	if _, cluster := obj.(*corev1.Node); cluster {
		return
	}
	if meta := obj.(metav1.Object); meta.GetNamespace() == "" {
		meta.SetNamespace(metav1.NamespaceDefault)
	}
}

func (d *decoder) typeError(doc document, err error) {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		at := doc.typeError(wrong)
		d.fail(at.line, at.path, doc.text(at), fmt.Sprintf("must be of type %s; correct the value", wrong.Type))
		return
	}
	d.fail(doc.line(""), "", "", err.Error()+"; correct the value")
}

// strictProblem turns a complaint of strict decoding into a problem of the object.
func (d *decoder) strictProblem(out *object, err error) service.Problem {
	var path string
	if f, ok := err.(interface{ FieldPath() string }); ok {
		path = f.FieldPath()
	}
	reason := "no such field, so it has no effect; check its spelling and place"
	if strings.HasPrefix(err.Error(), "duplicate") {
		reason = "written more than once; keep one of them"
	}
	return service.Problem{Object: name(out.value), Field: place(d.file, out.document.line(path), path), Reason: reason}
}
