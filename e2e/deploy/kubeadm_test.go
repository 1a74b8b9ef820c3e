package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// kubeadmConfig is what kubeadm puts into the ConfigMap kube-proxy of a cluster with mode ipvs.
func kubeadmConfig(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"config.conf", "kubeconfig.conf"} {
		content, err := os.ReadFile(filepath.Join("testdata/kubeadm", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(content)
	}
	return files
}

// In a cluster of kubeadm the daemon runs with kube-proxy's ConfigMap and ServiceAccount, which kubeadm binds to the role
// system:node-proxier.
func TestKubeadm(t *testing.T) {
	t.Parallel()
	_, client := administrator(t)
	const namespace, name = "kube-system", "kube-proxy"
	_, errAccount := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	_, errBinding := client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kubeadm:node-proxier"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}}}, metav1.CreateOptions{})
	if err := errors.Join(errAccount, errBinding); err != nil {
		t.Fatal(err)
	}
	set := render(t, "overlays/kubeadm").daemonSet(t)
	if got := set.Spec.Template.Spec.ServiceAccountName; got != name {
		t.Fatalf("the account is %s, want %s", got, name)
	}
	pod := newPod(t, cluster.New(t, topology.Options{}), set, forTest(t, kubeadmConfig(t)), token(t, set.Namespace, name))
	pod.works(t, "oomScoreAdj") // by default less than what the kubelet gives, for which CAP_SYS_RESOURCE is missing
}
