package deploy

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"kube-ipvs-proxy/e2e/cluster"
)

// manifests is the directory of what an operator deploys.
const manifests = "../../manifests"

// kubectl runs kubectl against the run's API server in a directory, and returns what it printed.
func kubectl(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	output, err := tryKubectl(t, input, arguments...)
	if err != nil {
		t.Fatalf("kubectl %s: %v", strings.Join(arguments, " "), err)
	}
	return output
}

// tryKubectl is kubectl for what may fail: the error holds what kubectl said.
func tryKubectl(t *testing.T, input string, arguments ...string) (string, error) {
	t.Helper()
	cluster.Require(t)
	program, err := filepath.Abs("../../.cache/bin/kubectl")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Fatalf("%v; run make controlplane", err)
	}
	var output, complaint bytes.Buffer
	command := exec.CommandContext(t.Context(), program, arguments...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &output, &complaint
	command.Env = append(os.Environ(), "KUBECACHEDIR="+t.TempDir())
	if err := command.Run(); err != nil {
		return output.String(), fmt.Errorf("%w: %s", err, complaint.String())
	}
	return output.String(), nil
}

// objects are what a kustomization renders to.
type objects []*unstructured.Unstructured

// render returns the objects of a directory below manifests.
func render(t *testing.T, directory string) objects {
	t.Helper()
	text := kubectl(t, "", "kustomize", filepath.Join(manifests, directory))
	var all objects
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("kubectl kustomize %s: %v", directory, err)
		}
		all = append(all, object)
	}
}

// kinds are the objects' kinds, in their order.
func (o objects) kinds() []string {
	var kinds []string
	for _, object := range o {
		kinds = append(kinds, object.GetKind())
	}
	return kinds
}

// one puts the only object of a kind into a typed one.
func (o objects) one(t *testing.T, kind string, into any) {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, object := range o {
		if object.GetKind() == kind {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d objects of kind %s, want 1", len(found), kind)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(found[0].Object, into, true); err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
}

func (o objects) daemonSet(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	out := &appsv1.DaemonSet{}
	o.one(t, "DaemonSet", out)
	return out
}

func (o objects) configMap(t *testing.T) *corev1.ConfigMap {
	t.Helper()
	out := &corev1.ConfigMap{}
	o.one(t, "ConfigMap", out)
	return out
}

// account is who the daemon is to the API server, and what it may do.
type account struct {
	corev1.ServiceAccount
	role    rbacv1.ClusterRole
	binding rbacv1.ClusterRoleBinding
}

func (o objects) account(t *testing.T) account {
	t.Helper()
	var a account
	o.one(t, "ServiceAccount", &a.ServiceAccount)
	o.one(t, "ClusterRole", &a.role)
	o.one(t, "ClusterRoleBinding", &a.binding)
	return a
}
