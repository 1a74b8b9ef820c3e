// Package service knows what Services, EndpointSlices and Nodes mean: which addresses and ports a Service answers on,
// which endpoints serve whom under its traffic policies, and what of all that concerns this node.
//
// Objects of the Kubernetes API are turned into compact values as they arrive (FromService, FromSlice, FromNode), with
// a Problem for each thing that cannot be used; a Catalog joins Services with their slices. Everything here is pure: no
// I/O, no clock.
//
// Out of scope: where the objects come from (package source) and what they look like in the kernel (package translate).
package service
