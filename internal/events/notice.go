package events

import (
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kube-ipvs-proxy/internal/service"
)

// What Events say of themselves. The action is what was to be done.
const (
	controller = "kube-ipvs-proxy"
	action     = "Serve"
)

// The reasons, which are what to search for. The reference for operators has these comments, too.
const (
	reasonConflict = "ServiceConflict" // Service: another Service, which is named, has an address and port, or a NodePort, that this one wants
	reasonProblem  = "ServiceProblem"  // Service: a field, which is named, has a value that cannot be used; the rest of the Service is served
)

// mostNote is the longest note that the API takes, in bytes.
const mostNote = 1024

// notice is what an Event says.
type notice struct {
	event   string // its name: the same on all nodes that see the problem
	service service.Name
	uid     string
	rival   service.Name // the other Service of a conflict, if that is one of the API server, too
	reason  string
	note    string
}

// noticesOf returns what is to be told of the problems in one report, each once.
func noticesOf(problems []service.Problem) []notice {
	var out []notice
	for _, p := range problems {
		name, ok := serviceOf(p.Object)
		if !ok || p.UID == "" {
			continue
		}
		n := notice{service: name, uid: p.UID, reason: reasonProblem, note: strings.TrimPrefix(p.Error(), p.Object+": ")}
		if p.Rival != "" {
			n.reason = reasonConflict
			n.rival, _ = serviceOf(p.Rival)
		}
		if len(n.note) > mostNote {
			n.note = strings.ToValidUTF8(n.note[:mostNote], "")
		}
		n.event = eventName(n, p)
		if !slices.ContainsFunc(out, n.same) && len(out) < mostPerReport {
			out = append(out, n)
		}
	}
	return out
}

// serviceOf returns the name of a Service out of "Service namespace/name".
func serviceOf(object string) (service.Name, bool) {
	full, ok := strings.CutPrefix(object, "Service ")
	namespace, name, both := strings.Cut(full, "/")
	return service.Name{Namespace: namespace, Name: name}, ok && both && !strings.Contains(name, " ")
}

// eventName makes a name of whose problem it is and where: the Service, field and value, and who has it instead. The reason is
// left out, since nodes may see it differently, unless it is all there is.
func eventName(n notice, p service.Problem) string {
	parts := []string{p.UID, n.reason, p.Field, p.Value, p.Rival}
	if p.Field == "" {
		parts = append(parts, p.Reason)
	}
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, strings.Join(parts, "\x00")) // a hash takes everything
	return fmt.Sprintf("%s.%016x", n.service.Name, hash.Sum64())
}

// same reports whether two notices are one Event.
func (n notice) same(o notice) bool { return n.event == o.event && n.service == o.service }

// toEvent returns the Event that says it, as reported by a node.
func (n notice) toEvent(node string, at time.Time) *eventsv1.Event {
	event := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: n.service.Namespace, Name: n.event},
		EventTime:           metav1.NewMicroTime(at),
		ReportingController: controller,
		ReportingInstance:   node[:min(len(node), mostInstance)],
		Type:                corev1.EventTypeWarning,
		Reason:              n.reason,
		Action:              action,
		Note:                n.note,
		Regarding:           reference(n.service),
	}
	event.Regarding.UID = types.UID(n.uid)
	if n.rival != (service.Name{}) {
		related := reference(n.rival)
		event.Related = &related
	}
	return event
}

// mostInstance is the longest reporting instance that the API takes, in bytes.
const mostInstance = 128

func reference(name service.Name) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: name.Namespace, Name: name.Name}
}
