package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// serviceMonitors is as much of Prometheus Operator's definition as the API server needs to check a ServiceMonitor: the
// fields used here, of the types of monitoring.coreos.com/v1, and no others.
const serviceMonitors = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: ServiceMonitor, listKind: ServiceMonitorList, plural: servicemonitors, singular: servicemonitor}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [endpoints, selector]
            properties:
              jobLabel: {type: string}
              namespaceSelector:
                type: object
                properties: {any: {type: boolean}, matchNames: {type: array, items: {type: string}}}
              selector:
                type: object
                properties: {matchLabels: {type: object, additionalProperties: {type: string}}}
              endpoints:
                type: array
                items:
                  type: object
                  properties:
                    port: {type: string}
                    interval: {type: string}
                    relabelings:
                      type: array
                      items:
                        type: object
                        properties:
                          sourceLabels: {type: array, items: {type: string}}
                          targetLabel: {type: string}
`

// What each directory renders to.
func rendered() map[string][]string {
	account := []string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding"}
	whole := append(account, "ConfigMap", "DaemonSet")
	return map[string][]string{
		"base":             whole,
		"overlays/kubeadm": {"DaemonSet"},
		"overlays/canary":  {"DaemonSet"},
		"overlays/metallb": whole,
		"overlays/metrics": append(slices.Clone(account), "ConfigMap", "Service", "DaemonSet", "ServiceMonitor"),
	}
}

// Every kustomization renders to what it should, and the API server would take it: no unknown field, no invalid value.
func TestManifests(t *testing.T) {
	t.Parallel()
	kubectl(t, serviceMonitors, "apply", "-f", "-")
	kubectl(t, "", "wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com", "--timeout=60s")
	for directory, want := range rendered() {
		t.Run(directory, func(t *testing.T) {
			t.Parallel()
			if got := render(t, directory).kinds(); !slices.Equal(got, want) {
				t.Errorf("it renders to %v, want %v", got, want)
			}
			said := kubectl(t, "", "apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", filepath.Join(manifests, directory))
			if got := strings.Count(said, "serverside-applied (server dry run)"); got != len(want) {
				t.Errorf("the API server took %d of %d objects:\n%s", got, len(want), said)
			}
		})
	}
	t.Run("wrong ones are refused", func(t *testing.T) {
		t.Parallel()
		text := kubectl(t, "", "kustomize", filepath.Join(manifests, "overlays/metrics"))
		for _, c := range []struct{ right, wrong, says string }{
			{"hostNetwork: true", "hostNetwrok: true", `field not declared in schema`},
			{"dnsPolicy: Default", "dnsPolicy: Nonsense", `Unsupported value: "Nonsense"`},
			{"jobLabel: k8s-app", "jobLabels: k8s-app", `field not declared in schema`},
		} {
			changed := strings.ReplaceAll(text, c.right, c.wrong)
			if changed == text {
				t.Fatalf("there is no %q", c.right)
			}
			_, err := tryKubectl(t, changed, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: kubectl says %v, want %q", c.wrong, err, c.says)
			}
		}
	})
}

// No kustomization is without a test.
func TestEveryKustomizationIsTested(t *testing.T) {
	for _, pattern := range []string{"base", "overlays/*"} {
		found, err := filepath.Glob(filepath.Join(manifests, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, directory := range found {
			name, err := filepath.Rel(manifests, directory)
			if err != nil {
				t.Fatal(err)
			}
			if _, tested := rendered()[name]; !tested {
				t.Errorf("%s is not tested", name)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(manifests, "base/kustomization.yaml")); err != nil {
		t.Error(err)
	}
}

// The DaemonSet reaches every node, before anything that needs Services, and asks for no more than it needs.
func TestDaemonSet(t *testing.T) {
	t.Parallel()
	for directory, service := range map[string]string{"base": "kube-ipvs-proxy", "overlays/kubeadm": "kube-proxy"} {
		spec := render(t, directory).daemonSet(t).Spec.Template.Spec
		if !slices.Equal(spec.Tolerations, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}) {
			t.Errorf("%s: tolerations are %v, want any", directory, spec.Tolerations)
		}
		if spec.PriorityClassName != "system-node-critical" || !spec.HostNetwork || spec.DNSPolicy != corev1.DNSDefault {
			t.Errorf("%s: priority %q, host network %t, DNS %q", directory, spec.PriorityClassName, spec.HostNetwork, spec.DNSPolicy)
		}
		if spec.ServiceAccountName != service {
			t.Errorf("%s: the account is %s, want %s", directory, spec.ServiceAccountName, service)
		}
		if spec.HostPID || spec.HostIPC || len(spec.Containers) != 1 || len(spec.InitContainers) != 1 {
			t.Fatalf("%s: host PIDs %t, host IPC %t, %d containers, %d before them",
				directory, spec.HostPID, spec.HostIPC, len(spec.Containers), len(spec.InitContainers))
		}
		checkDaemon(t, directory, spec.Containers[0])
	}
	if selector := render(t, "overlays/canary").daemonSet(t).Spec.Template.Spec.NodeSelector; selector["service-proxy"] != "kube-ipvs-proxy" {
		t.Errorf("overlays/canary selects %v", selector)
	}
}

// checkDaemon checks that the container that goes on running is locked in.
func checkDaemon(t *testing.T, directory string, container corev1.Container) {
	t.Helper()
	locked := container.SecurityContext
	if ptr.Deref(locked.Privileged, false) || ptr.Deref(locked.AllowPrivilegeEscalation, true) || !ptr.Deref(locked.ReadOnlyRootFilesystem, false) {
		t.Errorf("%s: the daemon's container is not locked in: %v", directory, locked)
	}
	if !slices.Equal(locked.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%s: dropped are %v", directory, locked.Capabilities.Drop)
	}
	if locked.SeccompProfile == nil || locked.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: the seccomp profile is %v", directory, locked.SeccompProfile)
	}
	for name, probe := range map[string]*corev1.Probe{"/livez": container.LivenessProbe, "/healthz": container.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != name {
			t.Errorf("%s: the probe is %v, want %s", directory, probe, name)
		}
	}
	if len(container.Resources.Requests) == 0 || len(container.Resources.Limits) > 0 {
		t.Errorf("%s: resources are %v", directory, container.Resources)
	}
}
