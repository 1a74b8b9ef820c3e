package cluster

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs-proxy/e2e/topology"
)

// PodObject is a pod's object in the API server. The test is its kubelet.
type PodObject struct {
	cluster *Cluster
	name    string
}

// AddPodObject creates the object of a pod that runs, with the labels and containers of a spec. It is not ready yet.
func (c *Cluster) AddPodObject(t testing.TB, pod *topology.Pod, labels map[string]string, spec corev1.PodSpec) *PodObject {
	t.Helper()
	spec.NodeName = c.NodeName(pod.Host)
	pods := c.env.client.CoreV1().Pods(c.Namespace)
	made, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: pod.Name + "-", Labels: labels}, Spec: spec,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create the object of pod %s: %v", pod.Name, err)
	}
	p := &PodObject{c, made.Name}
	c.cleanup(t, "pod "+made.Name, func(ctx context.Context) error { return p.remove(ctx) })
	p.updateStatus(t, func(status *corev1.PodStatus) {
		status.Phase, status.PodIP = corev1.PodRunning, pod.IPv4.String()
		status.PodIPs = []corev1.PodIP{{IP: pod.IPv4.String()}, {IP: pod.IPv6.String()}}
	})
	return p
}

// SetReady says whether the pod is ready.
func (p *PodObject) SetReady(t testing.TB, ready bool) {
	t.Helper()
	condition := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse}
	if ready {
		condition.Status = corev1.ConditionTrue
	}
	p.updateStatus(t, func(status *corev1.PodStatus) { status.Conditions = []corev1.PodCondition{condition} })
}

// Terminate has the pod shut down, as kubectl delete does: its object stays until Remove.
func (p *PodObject) Terminate(t testing.TB) {
	t.Helper()
	if err := p.cluster.env.client.CoreV1().Pods(p.cluster.Namespace).Delete(t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete pod %s: %v", p.name, err)
	}
}

// Remove takes the object away, as the kubelet does when the pod has shut down.
func (p *PodObject) Remove(t testing.TB) {
	t.Helper()
	if err := p.remove(t.Context()); err != nil {
		t.Fatalf("remove pod %s: %v", p.name, err)
	}
}

func (p *PodObject) remove(ctx context.Context) error {
	err := p.cluster.env.client.CoreV1().Pods(p.cluster.Namespace).Delete(ctx, p.name, *metav1.NewDeleteOptions(0))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (p *PodObject) updateStatus(t testing.TB, change func(*corev1.PodStatus)) {
	t.Helper()
	pods := p.cluster.env.client.CoreV1().Pods(p.cluster.Namespace)
	pod, err := pods.Get(t.Context(), p.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	change(&pod.Status)
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("update the status of pod %s: %v", p.name, err)
	}
}
