//lint:file-ignore SA1019 the deprecated Endpoints are read on purpose: manifests of old still hold them

package manifests

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"kube-ipvs-proxy/internal/service"
)

// world is everything that the directory says at one moment.
type world struct {
	services map[service.Name]service.Service
	slices   map[service.Name]service.Slice
	nodes    map[string]service.Node      // the own one or none
	zones    map[string]string            // of all Nodes
	problems map[string][]service.Problem // by object
}

// newWorld joins the files of a directory. Only the Node of this name is taken.
func newWorld(files map[string]*file, node string) world {
	w := world{map[service.Name]service.Service{}, map[service.Name]service.Slice{}, map[string]service.Node{}, map[string]string{}, map[string][]service.Problem{}}
	first, understood := map[string]string{}, true // file by object
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w.report(files[name].problems...)
		understood = understood && files[name].good
		for i := range files[name].objects {
			w.add(name, &files[name].objects[i], first, node)
		}
	}
	if understood { // else the Service may be in what was not
		w.reportStray(files, first)
	}
	w.addHints()
	return w
}

// reportStray notes endpoints whose Service is in none of the files: nothing will ever be sent to them.
func (w *world) reportStray(files map[string]*file, first map[string]string) {
	for file := range files {
		for i := range files[file].objects {
			obj := &files[file].objects[i]
			id, owner, field := name(obj.value), "", ""
			switch in := obj.value.(type) {
			case *discoveryv1.EndpointSlice:
				owner, field = in.Labels[discoveryv1.LabelServiceName], "metadata.labels["+discoveryv1.LabelServiceName+"]"
			case *corev1.Endpoints:
				owner, field = in.Name, "metadata.name"
			}
			namespace := obj.value.(metav1.Object).GetNamespace()
			if _, known := first["Service "+namespace+"/"+owner]; owner == "" || first[id] != file || known {
				continue
			}
			w.report(service.Problem{Object: id, Field: place(file, obj.document.line(field), field), Value: owner,
				Reason: "none of the files has a Service of this name in namespace " + namespace + ", so nothing is sent here; add it, or correct the name"})
		}
	}
}

func (w *world) report(problems ...service.Problem) {
	for _, p := range problems {
		w.problems[p.Object] = append(w.problems[p.Object], p)
	}
}

// name is how problems name an object.
func name(obj runtime.Object) string {
	meta := obj.(metav1.Object)
	kind := reflect.TypeOf(obj).Elem().Name()
	if meta.GetNamespace() == "" {
		return kind + " " + meta.GetName()
	}
	return kind + " " + meta.GetNamespace() + "/" + meta.GetName()
}

func (w *world) add(file string, obj *object, first map[string]string, node string) {
	id := name(obj.value)
	if problem := badName(obj.value); problem != nil {
		problem.Object, problem.Field = id, place(file, obj.document.line(problem.Field), problem.Field)
		w.report(*problem)
		return
	}
	if other, taken := first[id]; taken {
		w.report(service.Problem{Object: id, Field: place(file, obj.document.line(""), ""), Reason: "also in " + other + ", which counts; remove one of them"})
		return
	}
	first[id] = file
	w.report(obj.unknown...)
	problems := w.convert(obj.value, node)
	for i := range problems {
		problems[i].Field = place(file, obj.document.line(problems[i].Field), problems[i].Field)
	}
	w.report(problems...)
}

const notAName = "not a name, and the object is left out; use lower-case letters, digits, '-' and, except in a namespace, '.'"

// badName says what is wrong with the name of an object, or nothing.
func badName(obj runtime.Object) *service.Problem {
	meta := obj.(metav1.Object)
	if errs := validation.IsDNS1123Subdomain(meta.GetName()); len(errs) > 0 {
		return &service.Problem{Field: "metadata.name", Value: meta.GetName(), Reason: notAName}
	}
	if meta.GetNamespace() == "" {
		return nil
	}
	if errs := validation.IsDNS1123Label(meta.GetNamespace()); len(errs) > 0 {
		return &service.Problem{Field: "metadata.namespace", Value: meta.GetNamespace(), Reason: notAName}
	}
	return nil
}

func (w *world) convert(obj runtime.Object, node string) []service.Problem {
	switch in := obj.(type) {
	case *corev1.Service:
		out, served, problems := service.FromUnallocatedService(in)
		if served {
			w.services[out.Name] = out
			problems = append(problems, unassigned(in)...)
		}
		return problems
	case *discoveryv1.EndpointSlice:
		out, served, problems := service.FromSlice(in)
		if served {
			w.slices[out.Name] = out
		}
		return problems
	case *corev1.Endpoints:
		out, problems := service.FromEndpoints(in)
		for _, slice := range out {
			w.slices[slice.Name] = slice
		}
		return problems
	case *corev1.Node:
		w.zones[in.Name] = in.Labels[corev1.LabelTopologyZone]
		if in.Name != node {
			return nil
		}
		out, problems := service.FromNode(in)
		w.nodes[out.Name] = out
		return problems
	}
	return nil
}

// unassigned names the ports of a NodePort Service that an API server would have given a node port.
func unassigned(in *corev1.Service) []service.Problem {
	if in.Spec.Type != corev1.ServiceTypeNodePort {
		return nil
	}
	var out []service.Problem
	for i, port := range in.Spec.Ports {
		if port.NodePort == 0 {
			out = append(out, service.Problem{Object: name(in), Field: fmt.Sprintf("spec.ports[%d].nodePort", i), Value: "0",
				Reason: "nothing here assigns node ports, so this port has none; write a free one, usually from 30000 to 32767"})
		}
	}
	return out
}

// deliver tells the sink what differs between two worlds: what came before what went, endpoints before their Service, and
// what went the other way round. The sink may act on each word of it; a Service that got another name, say, is to be served
// all the time.
func deliver(sink service.Sink, old, new world) {
	deliverNew(old.nodes, new.nodes, strings.Compare, func(a, b service.Node) bool { return reflect.DeepEqual(a, b) }, sink.SetNode)
	deliverNew(old.slices, new.slices, compareNames, service.Slice.Equal, sink.SetSlice)
	deliverNew(old.services, new.services, compareNames, service.Service.Equal, sink.SetService)
	deliverGone(old.services, new.services, compareNames, sink.DeleteService)
	deliverGone(old.slices, new.slices, compareNames, sink.DeleteSlice)
	deliverGone(old.nodes, new.nodes, strings.Compare, sink.DeleteNode)
	for _, object := range slices.Sorted(maps.Keys(new.problems)) {
		if !slices.Equal(old.problems[object], new.problems[object]) {
			sink.Report(object, new.problems[object])
		}
	}
	for _, object := range slices.Sorted(maps.Keys(old.problems)) {
		if _, still := new.problems[object]; !still {
			sink.Report(object, nil)
		}
	}
}

func deliverNew[K comparable, V any](old, new map[K]V, compare func(K, K) int, equal func(V, V) bool, set func(V)) {
	for _, key := range slices.SortedFunc(maps.Keys(new), compare) {
		if before, was := old[key]; !was || !equal(before, new[key]) {
			set(new[key])
		}
	}
}

func deliverGone[K comparable, V any](old, new map[K]V, compare func(K, K) int, remove func(K)) {
	for _, key := range slices.SortedFunc(maps.Keys(old), compare) {
		if _, still := new[key]; !still {
			remove(key)
		}
	}
}

func compareNames(a, b service.Name) int { return strings.Compare(a.String(), b.String()) }
