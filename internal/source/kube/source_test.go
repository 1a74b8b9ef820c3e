package kube

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
)

func aService(name, clusterIP string) corev1.Service {
	return corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: "11"},
		Spec:       corev1.ServiceSpec{ClusterIP: clusterIP, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func aSlice(name string) discoveryv1.EndpointSlice {
	return discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: "11",
			Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
}

func aNode(name string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "11"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}},
	}
}

func serviceList(items ...corev1.Service) runtime.Object {
	return &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "12"}, Items: items}
}

func before(lines []string, first, second string) bool {
	i, j := slices.Index(lines, first), slices.Index(lines, second)
	return i >= 0 && j >= 0 && i < j
}

// B08, B07: what becomes headless, ExternalName or another proxy's while it lives is taken back.
func TestLiveObjectsComeAndGo(t *testing.T) {
	web, slice, node := aService("web", "10.96.0.1"), aSlice("web-1"), aNode("node-1")
	client := fake.NewClientset(&web, &slice, &node)
	_, sink := start(t, clientset{client}, nil)
	awaitComplete(t, sink)
	for object, source := range map[string]string{
		"set service default/web [10.96.0.1]": Services, "set slice default/web-1 of web": EndpointSlices, "set node node-1 [192.0.2.1]": OwnNode,
	} {
		if !before(sink.log(), object, "complete "+source) {
			t.Errorf("%q did not come before %q", object, source)
		}
	}
	// The fake client forgets what happens between a list and its watch.
	eventually(t, "three watches", sink.log, func() bool {
		var n int
		for _, action := range client.Actions() {
			if action.GetVerb() == "watch" {
				n++
			}
		}
		return n >= 3
	})
	services := client.CoreV1().Services("default")
	step := func(change func(*corev1.Service), line string) {
		t.Helper()
		changed := aService("web", "10.96.0.1")
		change(&changed)
		if _, err := services.Update(t.Context(), &changed, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, line, sink.log, func() bool { return slices.Index(sink.log()[len(sink.log())-1:], line) == 0 })
	}
	step(func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.2" }, "set service default/web [10.96.0.2]")
	step(func(s *corev1.Service) { s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "x"} }, "delete service default/web")
	step(func(*corev1.Service) {}, "set service default/web [10.96.0.1]")
	step(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }, "delete service default/web")
	step(func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.3" }, "set service default/web [10.96.0.3]")
	if err := services.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "third delete", sink.log, func() bool { return strings.Count(strings.Join(sink.log(), "\n"), "delete service default/web") == 3 })
}

// The requests carry the selectors, speak protobuf, and prefer a streamed list where the server has it.
func TestRequests(t *testing.T) {
	for name, streamed := range map[string]bool{"plain list": false, "streamed list": true} {
		t.Run(name, func(t *testing.T) {
			api := newAPIServer(t)
			api.streamed = streamed
			api.lists["services"] = serviceList(aService("web", "10.96.0.1"))
			api.lists["nodes"] = &corev1.NodeList{Items: []corev1.Node{aNode("node-1")}}
			_, sink := start(t, api.client(), nil)
			awaitComplete(t, sink)
			if !before(sink.log(), "set service default/web [10.96.0.1]", "complete "+Services) {
				t.Errorf("not delivered before completion:\n%s", strings.Join(sink.log(), "\n"))
			}
			verb := map[bool]string{true: "watch", false: "list"}[streamed]
			for _, want := range []string{
				verb + " services labels=!service.kubernetes.io/service-proxy-name fields=spec.clusterIP!=None",
				verb + " endpointslices labels=!service.kubernetes.io/headless fields= ",
				verb + " nodes labels= fields=metadata.name=node-1 ",
			} {
				if !strings.Contains(api.seen(), want) {
					t.Errorf("no request %q among:\n%s", want, api.seen())
				}
			}
			if strings.Contains(api.seen(), "list ") == streamed || strings.Count(api.seen(), "accept="+protobuf) != strings.Count(api.seen(), "accept=") {
				t.Errorf("requests:\n%s", api.seen())
			}
			if p := sink.problem("Kubernetes API services"); p != "" {
				t.Errorf("nothing went wrong, but: %s", p)
			}
		})
	}
}

// A new list after a lost watch also delivers what vanished in between, problems included.
func TestRelistDeletes(t *testing.T) {
	api := newAPIServer(t)
	broken := aService("broken", "10.96.0.2")
	broken.Spec.Ports[0].Protocol = "ICMP"
	api.lists["services"] = serviceList(aService("web", "10.96.0.1"), broken)
	_, sink := start(t, api.client(), nil)
	sink.await(t, "complete "+Services)
	if p := sink.problem("Service default/broken"); !strings.Contains(p, "ICMP") {
		t.Errorf("problem %q", p)
	}
	added := aService("new", "10.96.0.3")
	api.streams["services"] <- watch.Event{Type: watch.Added, Object: &added}
	sink.await(t, "set service default/new [10.96.0.3]")
	api.set(func() { api.lists["services"] = serviceList(aService("web", "10.96.0.9")) })
	expired := apierrors.NewResourceExpired("too old").Status()
	api.streams["services"] <- watch.Event{Type: watch.Error, Object: &expired}
	for _, line := range []string{"delete service default/broken", "delete service default/new", "set service default/web [10.96.0.9]", "report Service default/broken: 0"} {
		sink.await(t, line)
	}
	if strings.Count(strings.Join(sink.log(), "\n"), "complete "+Services) != 1 {
		t.Error("completed more than once")
	}
	if p := sink.problem("Kubernetes API services"); p != "" {
		t.Errorf("an old resource version is no problem, but: %s", p)
	}
}

func TestMissingNodeIsSaidAndNotWaitedFor(t *testing.T) {
	api := newAPIServer(t)
	_, sink := start(t, api.client(), nil)
	sink.await(t, "complete "+OwnNode)
	if p := sink.problem("Node node-1"); !strings.Contains(p, "--hostname-override") {
		t.Errorf("problem %q", p)
	}
	node := aNode("node-1")
	api.streams["nodes"] <- watch.Event{Type: watch.Added, Object: &node}
	sink.await(t, "set node node-1 [192.0.2.1]")
	if p := sink.problem("Node node-1"); p != "" {
		t.Errorf("the Node is there, but: %s", p)
	}
	api.streams["nodes"] <- watch.Event{Type: watch.Deleted, Object: &node}
	sink.await(t, "delete node node-1")
	eventually(t, "absence reported again", sink.log, func() bool { return sink.problem("Node node-1") != "" })
}

// RBAC denials name verb and resource; they go when the rights come.
func TestDenialsAreReported(t *testing.T) {
	api := newAPIServer(t)
	slicesOf := schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	api.refuse["list endpointslices"] = apierrors.NewForbidden(slicesOf, "", nil)
	api.refuse["watch services"] = apierrors.NewUnauthorized("who are you")
	_, sink := start(t, api.client(), nil)
	const ofSlices, ofServices = "Kubernetes API endpointslices", "Kubernetes API services"
	eventually(t, "denials", sink.log, func() bool { return sink.problem(ofSlices) != "" && sink.problem(ofServices) != "" })
	if p := sink.problem(ofSlices); !strings.Contains(p, "list") || !strings.Contains(p, "grant the verbs list and watch on endpointslices") {
		t.Errorf("problem %q", p)
	}
	if p := sink.problem(ofServices); !strings.Contains(p, ofServices+": watch ") || !strings.Contains(p, "credentials") {
		t.Errorf("problem %q", p)
	}
	sink.await(t, "complete "+Services) // the list was allowed
	if slices.Contains(sink.log(), "complete "+EndpointSlices) {
		t.Error("completed without a list")
	}
	api.set(func() { clear(api.refuse) })
	sink.await(t, "complete "+EndpointSlices)
	eventually(t, "denials gone", sink.log, func() bool { return sink.problem(ofSlices) == "" && sink.problem(ofServices) == "" })
}

// B35: while the API server is away nothing is taken back; the failure is said; then it catches up.
func TestB35ServerGoneAndBack(t *testing.T) {
	api := newAPIServer(t)
	api.lists["services"] = serviceList(aService("web", "10.96.0.1"))
	_, sink := start(t, api.client(), nil)
	awaitComplete(t, sink)
	api.stop()
	eventually(t, "the failure", sink.log, func() bool { return strings.Contains(sink.problem("Kubernetes API services"), "no answer") })
	api.start()
	other := aService("other", "10.96.0.2")
	api.streams["services"] <- watch.Event{Type: watch.Added, Object: &other}
	sink.await(t, "set service default/other [10.96.0.2]")
	eventually(t, "recovery", sink.log, func() bool { return sink.problem("Kubernetes API services") == "" })
	if slices.ContainsFunc(sink.log(), func(line string) bool {
		return strings.HasPrefix(line, "delete slice") || strings.HasPrefix(line, "delete node")
	}) {
		t.Errorf("something was taken back:\n%s", strings.Join(sink.log(), "\n"))
	}
}

// P30: how long ago the API server last said something, for each source apart.
func TestP30Ages(t *testing.T) {
	var clock atomic.Int64
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	api := newAPIServer(t)
	source, sink := start(t, api.client(), now)
	awaitComplete(t, sink)
	clock.Add(100)
	bookmark := corev1.Service{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "20"}}
	api.streams["services"] <- watch.Event{Type: watch.Bookmark, Object: &bookmark}
	eventually(t, "the bookmark", sink.log, func() bool { return source.Ages()[Services] == 0 })
	if ages := source.Ages(); ages[EndpointSlices] != 100*time.Second || ages[OwnNode] != 100*time.Second {
		t.Errorf("ages %v", ages)
	}
	if ages := New(api.client(), "node-1", sink, Options{}).Ages(); len(ages) != 0 {
		t.Errorf("ages before anything was heard: %v", ages)
	}
}
