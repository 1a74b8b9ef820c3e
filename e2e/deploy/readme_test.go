package deploy

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// blocks returns the code of a language in a Markdown text, one string for each block.
func blocks(text, language string) []string {
	var found []string
	for {
		_, rest, there := strings.Cut(text, "\n```"+language+"\n")
		if !there {
			return found
		}
		code, after, _ := strings.Cut(rest, "\n```")
		found, text = append(found, code), after
	}
}

// addKubeProxy makes what kubeadm has in the API server for kube-proxy, and a node.
func addKubeProxy(t *testing.T) {
	t.Helper()
	_, client := administrator(t)
	labels := map[string]string{"k8s-app": "kube-proxy"}
	_, errConfig := client.CoreV1().ConfigMaps("kube-system").Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Labels: labels}, Data: kubeadmConfig(t)}, metav1.CreateOptions{})
	_, errSet := client.AppsV1().DaemonSets("kube-system").Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Labels: labels},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{NodeSelector: map[string]string{"kubernetes.io/os": "linux"},
					Containers: []corev1.Container{{Name: "kube-proxy", Image: "registry.k8s.io/kube-proxy:v1.37.2"}}}}}}, metav1.CreateOptions{})
	_, errNode := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{})
	if err := errors.Join(errConfig, errSet, errNode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended.
		if err := client.CoreV1().Nodes().Delete(context.WithoutCancel(t.Context()), "node-1", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// The README's commands work, one after the other, as far as the API server is concerned.
func TestReadme(t *testing.T) { // not parallel: some commands are about all nodes, and other tests' come and go
	kubectl(t, "", "version", "--client") // it is there
	addKubeProxy(t)
	text, err := os.ReadFile(filepath.Join(manifests, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Abs("../../.cache/bin")
	if err != nil {
		t.Fatal(err)
	}
	commands := strings.Split(strings.Join(blocks(string(text), "sh"), "\n"), "\n")
	if len(commands) < 15 {
		t.Fatalf("the README has only the commands %q", commands)
	}
	cache := t.TempDir()
	for _, line := range commands {
		command := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-ec", line)
		command.Dir = "../.."
		command.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "KUBECACHEDIR="+cache)
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, output)
		}
		t.Logf("$ %s\n%s", line, output)
	}
}
