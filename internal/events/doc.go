// Package events tells what is wrong with a Service where its owner looks: as Warning Events on the Service, which
// kubectl describe shows. Told are problems of Services of the API server: addresses and ports that another Service has,
// and fields that cannot be used.
//
// # How an Event storm is avoided
//
// Every node sees the same problem, and a cluster may have 5,000 of them. Therefore:
//
//   - A problem's Event has a name that is made of the Service's UID, the field and value, and the Service that has it
//     instead, so that all nodes want the same one. The API server lets the first of them create it and tells the others that
//     it exists: one write to etcd for each problem, whatever the number of nodes. (client-go's event broadcaster names Events
//     by the time, and so makes one for each node; that is why it is not used.) The words may differ from node to node, as in
//     "an interface of this node has it"; those of the first count, and its reporting instance is the node's name.
//     Field and value must not depend on the node, or only for few of them.
//   - A node waits for a random time before it asks, at most its spread: 30 s at first. The spread doubles, up to 5 min,
//     whenever others were quicker, and falls to 10 s when the node was the first; it then goes on with the next problem
//     after 1 s. So one node, or few, soon tell everything and do so quickly, and the others ask rarely.
//   - What has waited for an hour while others were quicker is left to them. (Events live for an hour by default.)
//   - A problem that has gone before its turn comes is not told at all.
//   - At most 8 problems of one report on a Service are told, and at most 1,000 wait on a node.
//
// With 5,000 nodes, all of them new, one problem costs 5,000 requests in 30 s, about 200 a second at most; a later one, when
// they have met others, 5,000 requests in a minute or more. A hundred problems at once cost up to 300 requests a second for
// half a minute and about 50 a second for an hour, and all are told within seconds (simulated; a test holds the bounds). All
// but the first for each problem are answered from a look into etcd. A node sends at most some 30 requests an hour besides
// those that create an Event. In a cluster of one node an Event comes within 30 s.
//
// An Event is told once. It is not repeated while the problem lasts: what is wrong now is in the log and in the metrics. The
// same problem coming again within the hour finds its Event there.
//
// # What it needs
//
// The verb create on events in the API group events.k8s.io, in all namespaces. Without it nothing is told: the refusal is
// logged once, and what was refused is not tried again. Nothing here holds up the reconciler.
//
// Out of scope: finding problems (whoever has an Observer reports them), Events on other objects than Services, Events
// about the node, and objects of manifests, which no API server knows.
package events
