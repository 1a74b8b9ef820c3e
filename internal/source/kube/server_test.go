package kube

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// apiServer speaks the part of the API that a reflector uses, in protobuf only. Its objects are those of the next list.
type apiServer struct {
	t      *testing.T
	server *httptest.Server

	mutex    sync.Mutex
	lists    map[string]runtime.Object // by plural
	refuse   map[string]error          // by "verb plural"
	requests []string
	streams  map[string]chan watch.Event
	streamed bool // whether streamed lists are known
}

func newAPIServer(t *testing.T) *apiServer {
	a := &apiServer{t: t, refuse: map[string]error{}, streams: map[string]chan watch.Event{}, lists: map[string]runtime.Object{
		"services":       &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "10"}},
		"endpointslices": &discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: "10"}},
		"nodes":          &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: "10"}},
	}}
	for plural := range a.lists {
		a.streams[plural] = make(chan watch.Event)
	}
	a.server = httptest.NewServer(a)
	t.Cleanup(func() { a.stop() })
	return a
}

// stop ends the server: connections break, and new ones are refused.
func (a *apiServer) stop() {
	a.server.CloseClientConnections()
	a.server.Close()
}

// start brings a stopped server back at the same address.
func (a *apiServer) start() {
	listener, err := net.Listen("tcp", a.server.Listener.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	a.server = httptest.NewUnstartedServer(a)
	if err := a.server.Listener.Close(); err != nil {
		a.t.Fatal(err)
	}
	a.server.Listener = listener
	a.server.Start()
}

func (a *apiServer) client() API {
	config, err := configOf(a.t.Context(), Connection{Master: a.server.URL, QPS: -1}, notInPod)
	if err != nil {
		a.t.Fatal(err)
	}
	client, err := NewClient(rest.CopyConfig(config))
	if err != nil {
		a.t.Fatal(err)
	}
	return client
}

// set changes what the next list answers and what is refused.
func (a *apiServer) set(change func()) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	change()
}

func (a *apiServer) seen() string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return strings.Join(a.requests, "\n")
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	plural := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	query := r.URL.Query()
	verb := "list"
	if query.Get("watch") == "true" {
		verb = "watch"
	}
	a.mutex.Lock()
	a.requests = append(a.requests, fmt.Sprintf("%s %s labels=%s fields=%s initial=%s accept=%s", verb, plural,
		query.Get("labelSelector"), query.Get("fieldSelector"), query.Get("sendInitialEvents"), r.Header.Get("Accept")))
	refused, list, stream := a.refuse[verb+" "+plural], a.lists[plural].DeepCopyObject(), a.streams[plural]
	if refused == nil && query.Get("sendInitialEvents") == "true" && !a.streamed {
		refused = apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", nil)
	}
	a.mutex.Unlock()
	switch {
	case refused != nil:
		status := refused.(apierrors.APIStatus).Status()
		a.write(w, int(status.Code), &status)
	case verb == "list":
		a.write(w, http.StatusOK, list)
	default:
		a.serveWatch(w, r, list, stream, query.Get("sendInitialEvents") == "true")
	}
}

func (a *apiServer) write(w http.ResponseWriter, code int, obj runtime.Object) {
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), protobuf)
	w.Header().Set("Content-Type", protobuf)
	w.WriteHeader(code)
	encoder := scheme.Codecs.EncoderForVersion(info.Serializer, runtime.InternalGroupVersioner)
	switch obj.(type) {
	case *corev1.ServiceList, *corev1.NodeList:
		encoder = scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion)
	case *discoveryv1.EndpointSliceList:
		encoder = scheme.Codecs.EncoderForVersion(info.Serializer, discoveryv1.SchemeGroupVersion)
	case *metav1.Status:
		encoder = scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion)
	}
	if err := encoder.Encode(obj, w); err != nil {
		a.t.Errorf("encoding %T: %v", obj, err)
	}
}

// serveWatch streams the events that a test sends, after those of a streamed list.
func (a *apiServer) serveWatch(w http.ResponseWriter, r *http.Request, list runtime.Object, stream chan watch.Event, initial bool) {
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), protobuf)
	w.Header().Set("Content-Type", protobuf+";stream=watch")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	frames := streaming.NewEncoder(info.StreamSerializer.Framer.NewFrameWriter(w), info.StreamSerializer.Serializer)
	send := func(event watch.Event) {
		var raw []byte
		gv := corev1.SchemeGroupVersion
		if _, ok := event.Object.(*discoveryv1.EndpointSlice); ok {
			gv = discoveryv1.SchemeGroupVersion
		}
		raw, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, gv), event.Object)
		if err == nil {
			err = frames.Encode(&metav1.WatchEvent{Type: string(event.Type), Object: runtime.RawExtension{Raw: raw}})
		}
		if err != nil && r.Context().Err() == nil {
			a.t.Errorf("encoding an event: %v", err)
		}
		w.(http.Flusher).Flush()
	}
	if initial {
		for _, event := range initialEvents(list) {
			send(event)
		}
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case event, ok := <-stream:
			if !ok {
				return
			}
			send(event)
		}
	}
}

// initialEvents is a list as a stream: its objects, and the bookmark that ends it.
func initialEvents(list runtime.Object) []watch.Event {
	meta := metav1.ObjectMeta{ResourceVersion: "10", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}
	var out []watch.Event
	switch l := list.(type) {
	case *corev1.ServiceList:
		for i := range l.Items {
			out = append(out, watch.Event{Type: watch.Added, Object: &l.Items[i]})
		}
		return append(out, watch.Event{Type: watch.Bookmark, Object: &corev1.Service{ObjectMeta: meta}})
	case *corev1.NodeList:
		for i := range l.Items {
			out = append(out, watch.Event{Type: watch.Added, Object: &l.Items[i]})
		}
		return append(out, watch.Event{Type: watch.Bookmark, Object: &corev1.Node{ObjectMeta: meta}})
	case *discoveryv1.EndpointSliceList:
		for i := range l.Items {
			out = append(out, watch.Event{Type: watch.Added, Object: &l.Items[i]})
		}
		return append(out, watch.Event{Type: watch.Bookmark, Object: &discoveryv1.EndpointSlice{ObjectMeta: meta}})
	}
	return nil
}
