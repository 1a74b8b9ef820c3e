// Command bench measures the daemon at scale beside kube-proxy's ipvs and nftables modes: how long it takes to program a
// kernel from nothing, how soon a change of the API is in the kernel, and what each spends on that.
//
//	controlplane bench [flags]
//
// It fills the API server of KUBECONFIG with Services and EndpointSlices, and then runs itself again inside the lab
// (package e2e/lab), once per contestant and round: each starts from a kernel without modules, sets, rules or virtual
// servers. There the contestant is started cold; it gets changes through the API one after the other, many at once, and
// many a second; it is left alone for a while; and it is started again over what it left behind. The daemon gets
// changes under strace(1) as well. One contestant is no proxy: the floor sends the kernel what a cold start ends with,
// encoded beforehand. The medians of all rounds are printed as a table in Markdown.
//
// What counts as "in the kernel" is asked of the kernel, never of the contestant: while it starts, numbers of objects and
// events that the kernel has anyway; while a change is on its way, the endpoints of one Service per try. That is cheap
// enough not to slow a contestant down, which may have only one CPU to share.
//
// Out of scope: packets, and dual-stack Services.
package main
