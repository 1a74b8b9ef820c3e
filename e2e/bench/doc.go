// Command bench measures the daemon at scale beside kube-proxy's ipvs and nftables modes: how long it takes to program a
// kernel from nothing, how soon a change of the API is in the kernel, what each spends on that, and what packets see of it.
//
//	controlplane bench [flags]            measures what is missing, and prints everything that was measured
//	bench -report [-state DIR -into DIR]  writes RESULTS.md and plots of everything that was measured
//
// It fills the API server of KUBECONFIG with Services and EndpointSlices, and then runs itself again inside the lab (package
// e2e/lab). The whole takes many hours, so it is made of pieces: each is stored as a file as soon as it is there, and a run
// with the same -state goes on with what is missing. To measure something again, remove its file.
//
// One kind of piece is a round of one contestant at one size: a kernel without modules, sets, rules or virtual servers, where
// the contestant is started cold; gets changes through the API one after the other, many at once, and many a second; is left
// alone for a while; is started again over what it left behind; and gets changes under strace(1). Changes end after a time
// as well, for kube-proxy may take seconds for each; the report says how many were made. One contestant is no proxy: the
// floor sends the kernel what a cold start ends with, encoded beforehand, and then lists the objects and reads the kernel once.
//
// The other kind is the data path with some number of Services: one kernel in which every contestant has a node and pods of
// its own (package e2e/topology), where connections and datagrams go from pod to pod, through a Service and past all of
// them. Besides the proxies there are a node with nothing installed, and the smallest rule sets that could do the job. A
// contestant that has not installed its Services after minutes is left out, and the report says so.
//
// What counts as "in the kernel" is asked of the kernel, never of the contestant: while it starts, numbers of objects and
// events that the kernel has anyway; while a change is on its way, the endpoints of one Service per try. That is cheap
// enough not to slow a contestant down, which may have only one CPU to share.
//
// Out of scope: drawing (package chart), packets over IPv6 or between nodes, and dual-stack Services.
package main
