package admin

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs-proxy/internal/dataplane"
	"kube-ipvs-proxy/internal/reconcile"
	"kube-ipvs-proxy/internal/service"
)

// asked returns the answer to a question "ADDRESS:PORT/PROTOCOL [CLIENT]", after a way through JSON.
func asked(t *testing.T, c Case, question string) Explanation {
	t.Helper()
	to, from, _ := strings.Cut(question, " ")
	q, err := ParseQuestion(to, from)
	if err != nil {
		t.Fatal(err)
	}
	c.Services = slices.DeleteFunc(slices.Clone(c.Services), func(d reconcile.Delivered) bool { return !q.Concerns(d.View) })
	said, err := Explain(c, q)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	var again Explanation
	if err := json.Unmarshal(text, &again); err != nil || again.String() != said.String() {
		t.Errorf("after JSON (%v) it says\n%s\nbefore\n%s", err, again, said)
	}
	again.Daemon = true
	return again
}

// What a client gets, in the words of the API's documents about each policy.
func TestOutcomes(t *testing.T) {
	const pod, outside, node = "10.244.1.9", "192.0.2.1", "192.168.0.1"
	here, both, there := "10.244.1.2:8080", "10.244.1.2:8080 10.244.2.2:8080", "10.244.2.2:8080"
	for question, want := range map[string]string{
		// A pod keeps its address on the way to a ClusterIP; others do not.
		"10.96.0.1:80 " + pod:         "served " + both,
		"10.96.0.1:80 " + outside:     "served masqueraded " + both,
		"10.96.0.1:80 10.96.0.1":      "served masqueraded " + both, // the node itself
		"10.96.0.1:53/udp " + pod:     "served 10.244.1.2:5353 10.244.2.2:5353",
		"203.0.113.1:80 " + pod:       "served masqueraded " + both,
		"192.168.0.1:30080 " + node:   "served masqueraded " + both,
		"192.168.0.1:30080 " + pod:    "served masqueraded " + both,
		"10.96.0.8:80 " + pod:         "served 10.244.2.4:8080",
		"10.96.0.5:80 " + pod:         "served " + here,
		"10.96.0.6:80 " + pod:         "served " + here,
		"10.96.0.3:80 " + pod:         "refused",
		"10.96.0.3:80 " + outside:     "refused",
		"10.96.0.3:80 10.96.0.3":      "refused",
		"10.96.0.3:53/udp " + pod:     "refused",
		"10.96.0.1:81 " + pod:         "refused", // on kube-ipvs0, but no such port
		"10.96.0.1:81 10.96.0.1":      "refused",
		"203.0.113.2:80 " + outside:   "dropped", // policy Local, and no endpoint here
		"203.0.113.2:80 " + pod:       "served " + there,
		"203.0.113.2:80 203.0.113.2":  "served masqueraded " + there,
		"192.168.0.1:30082 " + pod:    "served masqueraded " + there,
		"203.0.113.7:80 " + outside:   "served " + here,
		"203.0.113.7:80 " + pod:       "served " + both,
		"192.168.0.1:30087 " + node:   "served masqueraded " + both,
		"203.0.113.4:80 198.51.100.9": "served masqueraded " + here,
		"203.0.113.4:80 " + outside:   "dropped",
		"203.0.113.4:80 " + pod:       "dropped",
		"203.0.113.4:80 203.0.113.4":  "dropped", // the node itself
	} {
		said := asked(t, town(t), question)
		if len(said.Clients) != 1 {
			t.Errorf("%s: %d clients:\n%s", question, len(said.Clients), said)
			continue
		}
		got := string(said.Clients[0].Verdict)
		if said.Clients[0].Masqueraded {
			got += " masqueraded"
		}
		for _, candidate := range said.Clients[0].Endpoints {
			if candidate.Chosen {
				got += " " + candidate.Address.String()
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s; it says\n%s", question, got, want, said)
		}
	}
}

// The whole text, for a Service with endpoints in every state and for one with nobody here.
func TestExplanationText(t *testing.T) {
	for question, want := range map[string]string{
		"10.96.0.1:80": `10.96.0.1:80/tcp is a ClusterIP of Service town/web, port http (80).

A pod of this node (10.244.1.254): SERVED by 2 of 6 endpoints
  the endpoint sees the client's address
  virtual server: -t 10.96.0.1:80 -s rr
  ENDPOINT                 NODE  ZONE  CHOSEN
  10.244.1.2:8080          n1    a     yes
  10.244.2.2:8080          n2    b     yes
  10.244.2.3:8080          n2    b     no: not ready
  10.244.2.4:8080          n2    b     no: terminating, and others are ready
  10.244.2.5:8080          -     -     no: terminating, and serves no more
  [fd00:10:244:1::2]:8080  n1    a     no: its address is of IPv6
  draining, with old connections only: 10.244.2.4:8080
  nat KUBE-SERVICES "leave to IPVS" accepts it: KUBE-CLUSTER-IP 10.96.0.1,tcp:80
  filter KUBE-IPVS-FILTER "served ClusterIPs" lets it go on: KUBE-CLUSTER-IP 10.96.0.1,tcp:80

A client outside (192.0.2.1): SERVED by 2 of 6 endpoints
  masqueraded: the endpoint sees an address of this node; rule "masquerade to ClusterIPs what is not from pods" in KUBE-SERVICES of table nat, by the entry KUBE-CLUSTER-IP 10.96.0.1,tcp:80
  virtual server: -t 10.96.0.1:80 -s rr
  the same endpoints as above
  draining, with old connections only: 10.244.2.4:8080
  nat KUBE-SERVICES "masquerade to ClusterIPs what is not from pods" sends it to KUBE-MARK-MASQ: KUBE-CLUSTER-IP 10.96.0.1,tcp:80
  nat KUBE-SERVICES "leave to IPVS" accepts it: KUBE-CLUSTER-IP 10.96.0.1,tcp:80
  filter KUBE-IPVS-FILTER "served ClusterIPs" lets it go on: KUBE-CLUSTER-IP 10.96.0.1,tcp:80
`,
		"192.168.0.1:30082": `192.168.0.1:30082/tcp is a NodePort of Service town/away, port http (80).
  externalTrafficPolicy: Local

A pod of this node (10.244.1.254): SERVED by 1 of 1 endpoints
  masqueraded: the endpoint sees an address of this node; rule "from pods" in KUBE-INTERNAL-MARK of table mangle, by the entry KUBE-INTERNAL-MARK 192.168.0.1,tcp:30082 skbmark 0x5000
  virtual server: -f 20480 -s rr
  ENDPOINT         NODE  ZONE  CHOSEN
  10.244.2.2:8080  n2    b     yes
  nat KUBE-SERVICES "node ports" sends it to KUBE-NODE-PORT: KUBE-NODE-PORT-IPS 192.168.0.1
  nat KUBE-NODE-PORT "keep the source address" lets it go on: KUBE-NODE-PORT-LOCAL-TCP 30082
  mangle KUBE-INTERNAL-MARK "from pods" sets the entry's mark: KUBE-INTERNAL-MARK 192.168.0.1,tcp:30082 skbmark 0x5000
  filter KUBE-IPVS-FILTER "pods are served by every node" lets it go on: KUBE-INTERNAL-MARK 192.168.0.1,tcp:30082 skbmark 0x5000

A client outside (192.0.2.1): DROPPED without an answer; a rule drops it: rule "no endpoints on this node" in KUBE-IPVS-FILTER of table filter, by the entry KUBE-NO-LOCAL 192.168.0.1,tcp:30082
  ENDPOINT         NODE  ZONE  CHOSEN
  10.244.2.2:8080  n2    b     no: not on this node; policy Local
  nat KUBE-SERVICES "node ports" sends it to KUBE-NODE-PORT: KUBE-NODE-PORT-IPS 192.168.0.1
  nat KUBE-NODE-PORT "keep the source address" lets it go on: KUBE-NODE-PORT-LOCAL-TCP 30082
  filter KUBE-IPVS-FILTER "no endpoints on this node" drops it: KUBE-NO-LOCAL 192.168.0.1,tcp:30082
`,
	} {
		if diff := cmp.Diff(want, asked(t, town(t), question).String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", question, diff)
		}
	}
}

// What else the text has to say, and what is at an address where nobody is served.
func TestExplanationSays(t *testing.T) {
	for question, want := range map[string][]string{
		"10.96.0.5:80":              {"hints give it to zone b"},
		"10.96.0.6:80":              {"internalTrafficPolicy: Local", "sessionAffinity: ClientIP, for 1m0s", "-p 60", "not on this node; policy Local"},
		"10.96.0.8:80":              {"terminating, in place of ready ones"},
		"10.96.0.3:80":              {`refuses it with a TCP reset: rule "no endpoints"`, "KUBE-NO-ENDPOINTS 10.96.0.3,tcp:80", "no EndpointSlice of the Service has an endpoint"},
		"10.96.0.1:80 10.244.1.2":   {`except from what comes back to itself: rule "masquerade hairpin traffic"`, "KUBE-LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2"},
		"203.0.113.4:80":            {"loadBalancerSourceRanges: 198.51.100.0/24", "A client in loadBalancerSourceRanges (198.51.100.1): SERVED", "Another client outside (192.0.2.1): DROPPED", "KUBE-LOAD-BALANCER-FW 203.0.113.4,tcp:80", "good, but not for this client"},
		"10.96.0.1:81":              {"No Service is served at 10.96.0.1:81/tcp", "Service town/web has the address as its ClusterIP, with the ports 80/tcp (http), 53/udp (dns)", `"not a service port"`, "on kube-ipvs0"},
		"192.168.0.1:30080/udp":     {"Service town/web has the NodePort 30080 of another protocol: tcp", "an address of this node"},
		"192.168.7.1:30080":         {"Service town/web has the NodePort 30080/tcp, which nodePortAddresses keeps to 192.168.0.1"},
		"192.168.0.1:30999":         {"healthCheckNodePort of Service town/away"},
		"192.168.0.2:30080":         {"an address of another node"},
		"127.0.0.1:30080":           {"loopback"},
		"192.0.2.77:80":             {"ipvs.excludeCIDRs"},
		"10.244.1.2:8080":           {"endpoint of Service town/web", "a range of pods' addresses"},
		"198.18.0.1:80":             {"No Service that this node knows has the address"},
		"[fd00:10:244:1::2]:80/udp": {"endpoint of Service town/web"},
	} {
		said := asked(t, town(t), question)
		if said.Found != (said.Service != nil) || said.Found == strings.Contains(said.String(), "No Service is served") {
			t.Errorf("%s: found %v, Service %v", question, said.Found, said.Service)
		}
		for _, part := range want {
			if !strings.Contains(said.String(), part) {
				t.Errorf("%s: it lacks %q:\n%s", question, part, said)
			}
		}
	}
}

// Of two Services that want the same, the one that gets it is explained, and the other named.
func TestContestedAddress(t *testing.T) {
	c := town(t)
	rival := residents()[2].view()
	rival.Name.Name, rival.VIPs.External = "rival", c.Services[0].VIPs.Cluster
	c.Services = append(c.Services, reconcile.Delivered{Source: "manifests", View: rival})
	said := asked(t, c, "10.96.0.1:80")
	if said.Service.Name != "web" || !strings.Contains(said.String(), "Service town/rival of the manifests wants it, too, and does not get it") {
		t.Errorf("it says\n%s", said)
	}
}

// Every endpoint that Select leaves out has a reason, and those that it chooses are the chosen ones.
func TestReasonsAgreeWithSelect(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	flip := func() bool { return random.IntN(2) == 0 }
	for range 5000 {
		policy := service.Policy{InternalLocal: flip(), PublishNotReady: random.IntN(8) == 0}
		node := service.Node{Name: "n1", Zone: "a"}
		slice := service.Slice{Ports: []service.SlicePort{{Protocol: dataplane.TCP, Port: 8080}}}
		hints := random.IntN(3)
		for i := range random.IntN(6) {
			e := at(fmt.Sprint("10.0.0.", i+1), fmt.Sprint("n", random.IntN(3)+1), "")
			e.Ready, e.Serving, e.Terminating = flip(), flip(), flip()
			if hints > 0 && random.IntN(8) > 0 {
				e.ForZones = []string{string(rune('a' + random.IntN(2)))}
			}
			if hints > 1 && random.IntN(8) > 0 {
				e.ForNodes = []string{fmt.Sprint("n", random.IntN(2)+1)}
			}
			slice.Endpoints = append(slice.Endpoints, e)
		}
		view := service.NewView(service.Service{Ports: []service.Port{{Protocol: dataplane.TCP, Port: 80}}}, slice)
		endpoints := view.Endpoints(view.Ports[0])
		selected := service.Select(endpoints, policy, node).Internal
		for i, candidate := range (choice{dataplane.IPv4, policy, policy.InternalLocal, node}).candidates(endpoints) {
			chosen := slices.Contains(selected, endpoints[i])
			if candidate.Chosen != chosen || !chosen && (candidate.Because == "" || strings.HasSuffix(candidate.Because, " ")) {
				t.Fatalf("%+v is %+v, selected are %v", *endpoints[i].Endpoint, candidate, selected)
			}
		}
	}
}

// What a daemon of another version leaves out, or says in words of its own, is printed as far as it goes.
func TestExplanationOfAnotherVersion(t *testing.T) {
	for verdict, want := range map[Verdict]string{VerdictServed: "SERVED by 0 of 0", "mirrored": `UNKNOWN: the daemon is of another version, and says "mirrored"`} {
		said := Explanation{Daemon: true, Clients: []Outcome{{Verdict: verdict}}}.String()
		if !strings.Contains(said, want) {
			t.Errorf("%s lacks %q:\n%s", verdict, want, said)
		}
	}
}

func TestQuestions(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1:80": "10.0.0.1:80/tcp", "10.0.0.1:53/UDP": "10.0.0.1:53/udp", "[fd00::1]:9/sctp": "[fd00::1]:9/sctp",
		"[::ffff:10.0.0.1]:80": "10.0.0.1:80/tcp",
		"10.0.0.1":             "no unicast address with a port", "10.0.0.1:0": "no unicast address with a port", "web:80": "no unicast address with a port",
		"224.0.0.1:80": "no unicast address with a port", "10.0.0.1:80/icmp": "give tcp, udp or sctp",
		"10.0.0.1:80 web": "the client", "10.0.0.1:80 fd00::1": "different IP families",
	} {
		to, from, _ := strings.Cut(text, " ")
		q, err := ParseQuestion(to, from)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && q.String() != want {
			t.Errorf("%s: %v, error %v; want %s", text, q, err, want)
		}
	}
}
