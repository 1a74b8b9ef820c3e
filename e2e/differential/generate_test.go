package differential

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

var usual = Size{Objects: 60, Changes: 40, Steps: 3}

func generate(t *testing.T, seed uint64, size Size) Case {
	t.Helper()
	c, err := Generate(seed, size)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGenerateIsDeterministic(t *testing.T) {
	for seed := range uint64(3) {
		first, second := generate(t, seed, usual), generate(t, seed, usual)
		if first.String() != second.String() {
			t.Errorf("seed %d gives two cases", seed)
		}
	}
	if generate(t, 1, usual).String() == generate(t, 2, usual).String() {
		t.Error("two seeds give the same case")
	}
}

func TestGenerateHeedsTheSize(t *testing.T) {
	for seed := range uint64(20) {
		c := generate(t, seed, usual)
		if len(c.Steps) != 1+usual.Steps {
			t.Errorf("seed %d has %d steps", seed, len(c.Steps))
		}
		if got := len(c.Steps[0]); got < usual.Objects || got > usual.Objects+3 {
			t.Errorf("seed %d begins with %d objects", seed, got)
		}
	}
	for _, size := range []Size{{}, {Objects: 1, Changes: -1, Steps: 1}, {Objects: mostServices, Changes: 1, Steps: 1}} {
		if _, err := Generate(1, size); err == nil {
			t.Errorf("a case of %+v is made", size)
		}
	}
}

// Two Services that want the same would differ by chance.
func TestGeneratedServicesDoNotMeet(t *testing.T) {
	for seed := range uint64(15) {
		present := map[string]*corev1.Service{}
		for _, step := range generate(t, seed, usual).Steps {
			for _, op := range step {
				switch {
				case op.Service == nil:
				case op.Delete:
					delete(present, op.Service.Name)
				default:
					present[op.Service.Name] = op.Service
				}
			}
			wanted := map[string]string{}
			for name, service := range present {
				for _, server := range wants(service) {
					if other, taken := wanted[server]; taken && other != name {
						t.Errorf("seed %d: %s and %s want %s", seed, name, other, server)
					}
					wanted[server] = name
				}
			}
		}
	}
}

// wants are the virtual servers of a Service.
func wants(s *corev1.Service) []string {
	var out []string
	for _, name := range names(s) {
		for _, port := range s.Spec.Ports {
			if strings.Contains(name, " port ") || strings.HasPrefix(name, "port ") {
				out = append(out, string(port.Protocol)+" "+name)
			}
		}
	}
	return out
}

// What kube-proxy decides by chance must not come up: an address that is not the same in all slices of a Service.
func TestGeneratedSlicesAgree(t *testing.T) {
	for seed := range uint64(15) {
		present := map[string]*discoveryv1.EndpointSlice{}
		for i, step := range generate(t, seed, usual).Steps {
			for _, op := range step {
				switch {
				case op.Slice == nil:
				case op.Delete:
					delete(present, op.Slice.Name)
				default:
					present[op.Slice.Name] = op.Slice
				}
			}
			said := map[string]string{}
			for _, slice := range present {
				for _, e := range slice.Endpoints {
					key := slice.Labels[discoveryv1.LabelServiceName] + " " + e.Addresses[0]
					text := e.String()
					if said[key] != "" && said[key] != text {
						t.Errorf("seed %d, step %d: slices of %s do not agree", seed, i+1, key)
					}
					said[key] = text
				}
			}
		}
	}
}

// A generator that never makes what it is meant to make would find nothing.
func TestGeneratorReachesEverything(t *testing.T) {
	missing := map[string]bool{}
	for _, text := range []string{
		"type: ExternalName", "clusterIP: None", "type: NodePort", "type: LoadBalancer", "ipMode: Proxy", "hostname: ", "service-proxy-name",
		"externalTrafficPolicy: Local", "internalTrafficPolicy: Local", "sessionAffinity: ClientIP", "publishNotReadyAddresses: true",
		"0.0.0.0/0", "::/0", "protocol: SCTP", "protocol: UDP", "- 172.18.0.11", "- 172.18.0.12", "- 198.18.255.1", "headless", "forZones", "forNodes",
		"terminating: true", "allocateLoadBalancerNodePorts: false", "# delete Service", "# delete EndpointSlice", "addressType: IPv6",
	} {
		missing[text] = true
	}
	for seed := range uint64(20) {
		if len(missing) == 0 {
			break
		}
		text := generate(t, seed, usual).String()
		for want := range missing {
			if strings.Contains(text, want) {
				delete(missing, want)
			}
		}
	}
	for text := range missing {
		t.Errorf("20 cases have no %q", text)
	}
}
