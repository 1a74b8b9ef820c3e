// Package kube delivers Services, EndpointSlices and the node's own Node from the Kubernetes API as the compact types of
// package service.
//
// An object is converted the moment it arrives and is not kept: what stays here is the names of the objects that were
// delivered, so that a new list also yields the deletes that happened unseen. What cannot be used in an object, and
// what the API server refuses, is reported to the sink. While the API server is away nothing is delivered, and nothing
// is taken back.
//
// Out of scope: watching other Nodes (their addresses are listed, rarely, and only when a Service could name one), writing to the API, and what objects mean (package service).
package kube
