package deploy

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"kube-ipvs-proxy/e2e/cluster"
	"kube-ipvs-proxy/e2e/topology"
)

// patience is for Events, with which a daemon waits half a minute or more for other nodes to be quicker.
const patience = 4 * time.Minute

// served is the line of the log from which on all that the API server has is in the kernel.
const served = "every source is complete"

// administrator is the way to the run's API server that tests have.
func administrator(t *testing.T) (*rest.Config, kubernetes.Interface) {
	t.Helper()
	cluster.Require(t)
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 100, 100
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return config, client
}

// authority is the certificate of the API server's authority.
func authority(t *testing.T) string {
	t.Helper()
	config, _ := administrator(t)
	return string(config.CAData)
}

// create makes the account, its role and its binding, under another name if one is given, and returns a token of it.
func (a account) create(t *testing.T, name string) string {
	t.Helper()
	_, client := administrator(t)
	accounts, roles, bindings := client.CoreV1().ServiceAccounts(a.Namespace), client.RbacV1().ClusterRoles(), client.RbacV1().ClusterRoleBindings()
	if name != "" {
		a.Name, a.role.Name, a.binding.Name, a.binding.RoleRef.Name = name, name, name, name
		a.binding.Subjects = []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: a.Namespace}}
	}
	_, errAccount := accounts.Create(t.Context(), &a.ServiceAccount, metav1.CreateOptions{})
	_, errRole := roles.Create(t.Context(), &a.role, metav1.CreateOptions{})
	_, errBinding := bindings.Create(t.Context(), &a.binding, metav1.CreateOptions{})
	if err := errors.Join(errAccount, errRole, errBinding); err != nil {
		t.Fatal(err)
	}
	return token(t, a.Namespace, a.Name)
}

// token asks for a token of a ServiceAccount, as the kubelet does for a Pod.
func token(t *testing.T, namespace, name string) string {
	t.Helper()
	_, client := administrator(t)
	request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("ask for a token of %s/%s: %v", namespace, name, err)
	}
	return request.Status.Token
}

// forTest is a rendered configuration with the address of the run's API server, as an operator has to put in, and without the
// limit of tracked connections: that is the whole machine's, and a node here is not.
func forTest(t *testing.T, config map[string]string) map[string]string {
	t.Helper()
	connection, _ := administrator(t)
	const placeholder = "https://control-plane.example:6443"
	if !strings.Contains(config["kubeconfig.conf"], placeholder) {
		t.Fatalf("kubeconfig.conf does not name %s", placeholder)
	}
	return map[string]string{
		"kubeconfig.conf": strings.ReplaceAll(config["kubeconfig.conf"], placeholder, connection.Host),
		"config.conf":     withoutLimit(t, config["config.conf"]),
	}
}

// withoutLimit is a KubeProxyConfiguration with maxPerCore 0.
func withoutLimit(t *testing.T, config string) string {
	t.Helper()
	var parsed map[string]any
	err := yaml.Unmarshal([]byte(config), &parsed)
	if err == nil {
		err = unstructured.SetNestedField(parsed, int64(0), "conntrack", "maxPerCore")
	}
	text, errBack := yaml.Marshal(parsed)
	if err := errors.Join(err, errBack); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The daemon of the base, with its own account and role.
func TestRoleIsEnough(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, topology.Options{})
	base := render(t, "base")
	pod := newPod(t, c, base.daemonSet(t), forTest(t, base.configMap(t).Data), base.account(t).create(t, ""))
	pod.works(t, "")
}

// works runs the Pod: Services are programmed, an Event is written, and nothing is forbidden but what is expected to be.
func (p *pod) works(t *testing.T, expected string) {
	t.Helper()
	c := p.cluster
	p.initialise(t)
	daemon := p.start(t, p.daemon(t))
	daemon.says(t, served)
	service, loser := addRivals(t, c)
	service.SetEndpoints(t, c.Endpoint(c.AddServer(t, c.Node, "web")))
	client := c.Node.AddPod(t, "client")
	for _, way := range cluster.Of(cluster.Ways(cluster.ClusterIP, cluster.ExternalIP), topology.TCP) {
		cluster.AwaitAnswer(t, client.Netns, service.Target(way), "web")
	}
	cluster.AwaitFor(t, patience, "an Event about the conflict", func() error {
		if len(loser.Events(t))+len(service.Events(t)) == 0 { // of the same second, the names decide
			return errors.New("there is none")
		}
		return nil
	})
	daemon.stop(t)
	for line := range strings.Lines(daemon.text()) {
		if expected != "" && strings.Contains(line, expected) {
			continue
		}
		for _, word := range []string{"forbidden", "not allowed", "permission denied", "read-only"} {
			if strings.Contains(line, word) {
				t.Errorf("the daemon's log has: %s", line)
			}
		}
	}
}

// addRivals adds a Service, and one that wants an external IP of it.
func addRivals(t *testing.T, c *cluster.Cluster) (service, loser *cluster.Service) {
	t.Helper()
	service = c.AddService(t, "web")
	service.Expose(t) // external IPs have the addresses of the other nodes listed
	taken := service.Address(cluster.ExternalIP, topology.IPv4).String()
	loser = c.AddService(t, "zzz", func(s *corev1.Service) {
		s.Spec.Ports = cluster.Ports(cluster.ServicePort, topology.TCP)
		s.Spec.ExternalIPs = []string{taken}
	})
	return service, loser
}

// denial is a verb that is taken away.
type denial struct{ group, resource, verb string }

func (d denial) String() string { return d.verb + " " + d.resource }

// denials are all verbs of a role, one at a time.
func denials(role rbacv1.ClusterRole) []denial {
	var all []denial
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all = append(all, denial{group, resource, verb})
				}
			}
		}
	}
	return all
}

// without is an account whose role lacks a verb.
func (a account) without(d denial) account {
	a.role = *a.role.DeepCopy()
	for i, rule := range a.role.Rules {
		if slices.Contains(rule.Resources, d.resource) && slices.Contains(rule.APIGroups, d.group) {
			a.role.Rules[i].Verbs = slices.DeleteFunc(rule.Verbs, func(verb string) bool { return verb == d.verb })
		}
	}
	// The API server takes no rule without verbs.
	a.role.Rules = slices.DeleteFunc(a.role.Rules, func(rule rbacv1.PolicyRule) bool { return len(rule.Verbs) == 0 })
	return a
}

// Every verb of the role is needed: without it the daemon says which one is denied, on which resource, and what to grant.
func TestEveryVerbIsNeeded(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, topology.Options{})
	base := render(t, "base")
	addRivals(t, c)
	newPod(t, c, base.daemonSet(t), forTest(t, base.configMap(t).Data), "").initialise(t)
	all := denials(base.account(t).role)
	if len(all) < 7 {
		t.Fatalf("the role has only %v", all)
	}
	for i, d := range all {
		t.Run(d.String(), func(t *testing.T) {
			token := base.account(t).without(d).create(t, fmt.Sprintf("without-%d", i))
			pod := newPod(t, c, base.daemonSet(t), forTest(t, base.configMap(t).Data), token)
			container := pod.daemon(t)
			if d.verb == "list" {
				// Lists come as watches from newer API servers. Older ones have to be asked for them.
				container.Env = append(container.Env, "KUBE_FEATURE_WatchListClient=false")
			}
			daemon := pod.start(t, container)
			daemon.says(t, fmt.Sprintf("cannot %s resource %q in API group %q", d.verb, d.resource, d.group), "grant the verb")
			daemon.stop(t)
		})
	}
}
